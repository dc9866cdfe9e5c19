// What the scripts have in common: their arguments, and how they talk to the test.
import { once } from "node:events";

const [host, port, user, password, database] = process.argv.slice(2);
export const account = { host, port: Number(port), user, password, database };

export const oversized = `SELECT LENGTH('${"x".repeat(2 << 20)}')`; // twice what the server takes

export function done(step) {
  console.log(step);
}

// Wait until the test has started the server anew.
export async function wait() {
  await once(process.stdin, "data");
  process.stdin.pause();
}
