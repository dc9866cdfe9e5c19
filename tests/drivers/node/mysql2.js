// mysql2 by its own defaults.
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { account, done, oversized, wait } from "./steps.js";

const connection = await mysql.createConnection(account);
const query = async (sql) => (await connection.query(sql))[0];
const parcel = async (n) => (await connection.execute("SELECT n FROM parcels WHERE n = ?", [n]))[0];

assert.equal((await query("SELECT 6 * 7 AS answer"))[0].answer, 42);
done("text");

assert.equal((await parcel(42))[0].n, 42);
done("prepared");

assert.equal((await query("SELECT n, filler FROM parcels")).length, 20_000);
done("large");

await connection.beginTransaction();
await query("INSERT INTO entries VALUES (1)");
await connection.rollback();
await connection.beginTransaction();
await query("INSERT INTO entries VALUES (1)");
await connection.commit();
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
await connection.end();
