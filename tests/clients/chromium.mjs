// Buys in a page of Chromium: see tests/clients/run. The CA is in the NSS database of HOME. The page
// is controlled through the browser's debugging pipe: descriptors 3 and 4, messages that end with a NUL.

import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";

const [port, version, user] = process.argv.slice(2);
const site = `https://localhost:${port}`;
const options = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--no-first-run",
  `--user-data-dir=${process.env.HOME}/profile`,
  `--ssl-version-min=tls${version}`,
  `--ssl-version-max=tls${version}`,
  "--remote-debugging-pipe",
];
const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
const browser = spawn("chromium", options, { stdio });
const ended = once(browser, "exit");
const late = setTimeout(() => {
  console.error("no answer from the browser");
  browser.kill("SIGKILL");
  process.exit(1);
}, 60_000);

const waiting = new Map();
const responses = [];
let received = "";
browser.stdio[4].setEncoding("utf8").on("data", (piece) => {
  const messages = (received + piece).split("\0");
  received = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    if (message.method === "Network.responseReceived") responses.push(message.params.response);
    waiting.get(message.id)?.(message);
  }
});

async function command(method, params, sessionId) {
  const id = waiting.size + 1;
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  const { result, error } = await answer;
  assert(!error, `${method}: ${error?.message}`);
  return result;
}

try {
  const { targetId } = await command("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await command("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params = {}) => command(method, params, sessionId);
  const run = async (code) => {
    const options = { expression: code, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await page("Runtime.evaluate", options);
    assert(!exceptionDetails, exceptionDetails?.exception?.description);
    return result.value;
  };
  await page("Network.enable");

  // Like a user who types the address.
  const { errorText } = await page("Page.navigate", { url: `${site}/buy/ticket` });
  assert(!errorText, errorText);
  const shown = `new Promise((resolve) => {
    const look = () => document.readyState === "complete" && document.body.innerText
      ? resolve(document.body.innerText) : setTimeout(look, 20);
    look();
  })`;
  assert.equal(JSON.parse(await run(shown)).code, 1);

  // Like a shop's page.
  const post = `(async () => {
    const response = await fetch("/v1/sales/ticket/reservations", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": "key" },
      body: JSON.stringify({ user: "${user}" }),
    });
    return [response.status, await response.json()];
  })()`;
  const [status, made] = await run(post);
  assert.deepEqual([status, made.user], [201, user]);
  assert.deepEqual(await run(post), [200, made]);
  const [code, buy] = await run(`fetch("/buy/ticket", { cache: "no-store" })
    .then(async (response) => [response.status, await response.json()])`);
  assert.deepEqual([code, buy.code], [200, 1]);

  const connections = new Set(responses.map((response) => response.connectionId));
  const { protocol, securityDetails, securityState } = responses[0];
  assert.deepEqual([protocol, securityState], ["http/1.1", "secure"]);
  const count = connections.size === 1 ? "1 connection" : `${connections.size} connections`;
  console.log(`${securityDetails.protocol.replace("TLS ", "TLSv")}, all on ${count}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
await command("Browser.close");
await ended;
clearTimeout(late);
