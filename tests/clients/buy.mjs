// Buys with Node's https: see tests/clients/run.

import assert from "node:assert";
import fs from "node:fs";
import https from "node:https";

const [port, trusted, version, user] = process.argv.slice(2);
const agent = new https.Agent({
  keepAlive: true,
  maxSockets: 1,
  ca: fs.readFileSync(trusted),
  minVersion: `TLSv${version}`,
  maxVersion: `TLSv${version}`,
});

function ask(method, path, headers = {}, body = "") {
  const options = { host: "localhost", port, method, path, headers, agent, timeout: 20_000 };
  return new Promise((resolve, reject) => {
    const request = https.request(options, async (response) => {
      const { socket } = response;
      let text = "";
      for await (const piece of response) text += piece;
      resolve({
        status: response.statusCode,
        json: JSON.parse(text),
        kept: request.reusedSocket,
        version: socket.getProtocol(),
        resumed: socket.isSessionReused(),
      });
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
    request.end(body);
  });
}

const body = JSON.stringify({ user });
const headers = {
  "Content-Type": "application/json",
  "Content-Length": Buffer.byteLength(body),
  "Idempotency-Key": "key",
};
const post = () => ask("POST", "/v1/sales/ticket/reservations", headers, body);

const first = await ask("GET", "/buy/ticket");
assert.deepEqual([first.status, first.json.code], [200, 1]);
const made = await post();
assert.deepEqual([made.status, made.json.user, made.kept], [201, user, true]);
const same = await post();
assert.deepEqual([same.status, same.json, same.kept], [200, made.json, true]);

// Closes the connection, so that the last purchase opens a new one.
const { status, json } = await ask("GET", "/v1/sales/ticket", { Connection: "close" });
assert.deepEqual([status, json.state], [200, "open"]);
const last = await ask("GET", "/buy/ticket");
assert.deepEqual([last.status, last.json.code, last.kept], [200, 1, false]);
console.log(`${last.version}, then ${last.resumed ? "resumed" : "a full handshake"}`);
agent.destroy();
