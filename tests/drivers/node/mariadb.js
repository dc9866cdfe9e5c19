// MariaDB Connector/Node.js by its own defaults, but for the option without which it does not ask for an RSA key.
import assert from "node:assert/strict";
import mariadb from "mariadb";
import { account, done, oversized, wait } from "./steps.js";

const connection = await mariadb.createConnection({ ...account, allowPublicKeyRetrieval: true });
const parcel = (n) => connection.execute("SELECT n FROM parcels WHERE n = ?", [n]);

assert.equal(Number((await connection.query("SELECT 6 * 7 AS answer"))[0].answer), 42);
done("text");

assert.equal((await parcel(42))[0].n, 42);
done("prepared");

assert.equal((await connection.query("SELECT n, filler FROM parcels")).length, 20_000);
done("large");

await connection.beginTransaction();
await connection.query("INSERT INTO entries VALUES (1)");
await connection.rollback();
await connection.beginTransaction();
await connection.query("INSERT INTO entries VALUES (1)");
await connection.commit();
assert.equal((await connection.query("SELECT n FROM entries")).length, 1);
done("transaction");

await assert.rejects(connection.query(oversized), { errno: 1153 });
await connection.query("SET @mine = 'kept'");
done("oversized");

done("idle");
await wait();
assert.equal((await connection.query("SELECT @mine AS mine"))[0].mine, "kept");
assert.equal((await parcel(43))[0].n, 43);
done("survived");
await connection.end();
