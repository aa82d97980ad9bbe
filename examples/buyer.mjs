// Buys from stampede, in a browser and in Node. Needs only Node 18 or later.
//
//     BUYER=ann node examples/buyer.mjs buy ticket    // then: show ticket~…, cancel ticket~…
//
// README.md in this folder describes the server, environment, output and exit codes of all buyers.
//
// In a page: import { buy } from "./buyer.mjs", then await buy("ticket", { token, key }). Keep the key
// (in localStorage) until the outcome is known. If the server has another origin, set its
// --cors-origins to the page's origin, and the option `server` to the server's URL.

const ANSWER_MS = 10_000; // for one attempt
const PAUSE_MAX_MS = 8_000; // between two attempts, unless the server asks for more
const NOTHING_DONE = ["busy", "unavailable", "allowance_exhausted", "rate_limited"];
const UNKNOWN = "It may have succeeded. Repeat it with the same key.";

// One attempt. Status 0: no valid answer.
async function attempt(url, request) {
  try {
    const response = await fetch(url, { ...request, signal: AbortSignal.timeout(ANSWER_MS) });
    const wait_ms = 1000 * (Number(response.headers.get("Retry-After")) || 0);
    return { status: response.status, answer: Object(await response.json()), wait_ms };
  } catch {
    return { status: 0, answer: {}, wait_ms: 0 };
  }
}

// Repeats the request until the outcome is known, for at most patience_ms. Returns the answer with its
// outcome: the status of a reservation, or a code.
//
// Repeating is safe: a purchase has its key, and the other requests change nothing the second time.
// Options: server (URL), token (of admission), user (unless token or proxy names the user), patience_ms
// for all attempts together, and again(outcome, wait_ms), which is called before each wait.
async function ask(method, path, options, { key, body } = {}) {
  const { server = "", token, user, patience_ms = 30_000, again = () => {} } = options;
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (token) headers["Authorization"] = `Bearer ${token}`;
  const named = user && !token ? { ...body, user } : body;
  const request = { method, headers, body: body && JSON.stringify(named) };
  const end = Date.now() + patience_ms;
  let perhapsDone = false;
  for (let pause_ms = 500; ; pause_ms = Math.min(2 * pause_ms, PAUSE_MAX_MS)) {
    let { status, answer, wait_ms } = await attempt(server + path, request);
    if (status >= 200 && status < 500 && status !== 429) {
      return { ...answer, outcome: answer.code ?? answer.status };
    }
    perhapsDone ||= !NOTHING_DONE.includes(answer.code);
    if (perhapsDone) answer = { code: "unknown", detail: UNKNOWN };
    wait_ms = Math.max(wait_ms, pause_ms) * (1 + Math.random() / 4); // spreads the buyers
    if (Date.now() + wait_ms > end) return { ...answer, outcome: answer.code };
    again(answer.code, wait_ms);
    await new Promise((resolve) => setTimeout(resolve, wait_ms));
  }
}

const reservation = (id) => `/v1/reservations/${encodeURIComponent(id)}`;

// Holds units. It succeeded if the outcome is held or confirmed.
export function buy(sale, { quantity = 1, key = crypto.randomUUID(), ...options } = {}) {
  const path = `/v1/sales/${encodeURIComponent(sale)}/reservations`;
  return ask("POST", path, options, { key, body: { quantity } });
}

// Shows a reservation.
export const show = (id, options = {}) => ask("GET", reservation(id), options);

// Cancels a reservation. It succeeded if the outcome is cancelled or already_cancelled.
export const cancel = (id, options = {}) => ask("POST", `${reservation(id)}/cancel`, options);

// The command, in Node.
const commands = {
  buy: [buy, ["held", "confirmed"]],
  show: [show, ["held", "confirmed", "cancelled", "expired", "refunded"]],
  cancel: [cancel, ["cancelled", "already_cancelled"]],
};
if (globalThis.process?.argv[1]?.endsWith("buyer.mjs")) {
  const { argv, env } = process;
  const [run, done] = (Object.hasOwn(commands, argv[2]) && argv[3] && commands[argv[2]]) || [];
  if (!run) {
    console.error("usage: buyer.mjs buy SALE | show ID | cancel ID");
    process.exit(2);
  }
  const key = env.KEY || crypto.randomUUID();
  if (run === buy) console.error(`key ${key}`); // keep it until the outcome is known
  const answer = await run(argv[3], {
    server: env.SERVER || "http://127.0.0.1:3005",
    token: env.TOKEN,
    ...(run === buy && { key, user: env.BUYER, quantity: Number(env.QUANTITY || 1) }),
    patience_ms: 1000 * (env.PATIENCE_S || 30),
    again: (outcome, ms) => console.error(`${outcome}: again in ${(ms / 1000).toFixed(1)} s`),
  });
  const names = "id quantity expires_at opens_at limit_per_user free max field detail".split(" ");
  const members = names.filter((name) => name in answer).map((name) => `${name} ${answer[name]}`);
  console.log([answer.outcome, ...members].join("; "));
  process.exitCode = done.includes(answer.outcome) ? 0 : 1;
}
