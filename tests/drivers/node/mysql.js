// mysql by its own defaults. It knows neither TLS by itself nor authentication plugins, and prepares no statements.
import assert from "node:assert/strict";
import { promisify } from "node:util";
import mysql from "mysql";
import { account, done, oversized, wait } from "./steps.js";

const connection = mysql.createConnection(account);
const query = promisify(connection.query.bind(connection));
const parcel = (n) => query("SELECT n FROM parcels WHERE n = ?", [n]);

assert.equal((await query("SELECT 6 * 7 AS answer"))[0].answer, 42);
done("text");

assert.equal((await parcel(42))[0].n, 42);
done("prepared");

assert.equal((await query("SELECT n, filler FROM parcels")).length, 20_000);
done("large");

await query("BEGIN");
await query("INSERT INTO entries VALUES (1)");
await query("ROLLBACK");
await query("BEGIN");
await query("INSERT INTO entries VALUES (1)");
await query("COMMIT");
assert.equal((await query("SELECT n FROM entries")).length, 1);
done("transaction");

await assert.rejects(query(oversized), { errno: 1153 });
await query("SET @mine = 'kept'");
done("oversized");

done("idle");
await wait();
assert.equal((await query("SELECT @mine AS mine"))[0].mine, "kept");
assert.equal((await parcel(43))[0].n, 43);
done("survived");
connection.end();
