// The loop: polls, shows, waits. One request at a time, at most one per second.
const INTERVAL_MS = 1e3;
const HIDDEN_MS = 10e3;
const ANSWER_MS = 5e3;
const RETRY_MS_MAX = 5e3;

let timer = 0;
let asking = null;
let failures = 0;
let lastAnswer = null;
let isShut = false;

const states = { live: ["Live", "good"], loading: ["Loading", ""], lost: ["Disconnected", "bad"], error: ["Error", "bad"], token: ["Token wanted", "warn"] };

function setState(name) {
  const [text, kind] = states[name];
  const pill = byId("state");
  setText(pill, text);
  pill.className = `pill ${kind}`;
  document.body.dataset.state = name;
  document.body.classList.toggle("stale", lastAnswer != null && (name === "lost" || name === "error"));
  document.title = name === "live" ? "stampede live" : `${text} – stampede live`;
}

function setBanner(text) {
  const banner = byId("banner");
  banner.hidden = !text;
  setText(banner, text ?? "");
}

// Asks for the token. `problem`: why the server refused the request.
function shut(problem) {
  isShut = true;
  const wrong = problem.code === "unauthorized" && !kept();
  byId("door").hidden = false;
  byId("numbers").hidden = true;
  const title = problem.status === 401 ? "This server wants a token" : "This server refuses to show its numbers";
  setText(byId("door-title"), title);
  setText(byId("door-error"), wrong ? "" : problem.message);
  setState("token");
  setBanner(null);
  byId("door-token").focus();
}

function show(answer) {
  const t = Date.now();
  isShut = false;
  lastAnswer = t;
  failures = 0;
  changes = answer.changes;
  byId("door").hidden = true;
  byId("numbers").hidden = false;
  setState("live");
  setBanner(null);
  showChanges();
  showServer(answer.server, answer.instances, noteServer(answer.server, t));
  showSales(answer.sales, t);
}

function fail(problem) {
  failures += 1;
  if (problem.status === 401 || problem.status === 403) return shut(problem);
  const name = problem.status ? "error" : "lost";
  setState(name);
  const since = lastAnswer ? ` since ${clock.format(lastAnswer)}` : "";
  const rest = lastAnswer ? " The numbers below are the last ones." : "";
  const what = problem.status ? `The server answers with an error (${problem.status} ${problem.code}): ${problem.message}` : `No answer from the server${since}.`;
  setBanner(`${what}${rest} Trying again.`);
}

async function poll() {
  clearTimeout(timer);
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const began = Date.now();
  const late = setTimeout(() => mine.abort(), ANSWER_MS);
  let wait = INTERVAL_MS;
  try {
    const answer = await send("GET", `/v1/live?${query()}`, { signal: mine.signal });
    if (asking !== mine) return;
    show(answer);
    if (answer.sales.age_ms == null) wait = INTERVAL_MS / 2;
  } catch (problem) {
    if (asking !== mine) return;
    fail(problem);
    wait = Math.min(INTERVAL_MS * failures, RETRY_MS_MAX);
  } finally {
    clearTimeout(late);
    if (asking === mine) asking = null;
  }
  if (!isShut) timer = setTimeout(poll, document.hidden ? HIDDEN_MS : Math.max(wait - (Date.now() - began), 100));
}

// Polls soon, since the page needs other data. The short delay combines several calls into one request.
function pollNow() {
  clearTimeout(timer);
  timer = setTimeout(poll, 60);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isShut) pollNow();
});
addEventListener("online", () => !isShut && pollNow());
addEventListener("resize", () => {
  drawSale();
  for (const [chart, name] of [[soldChart, "sold"], [rejectedChart, "rejected"]]) {
    if (flow.last()) drawCores(chart, name, flow.last()[name].map((_, core) => core));
  }
  if (flow.last()) drawTimes(latencyChart);
});
byId("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(byId("door-token").value.trim());
  byId("door-token").value = "";
  setText(byId("door-error"), "");
  setState("loading");
  poll();
});
poll();
