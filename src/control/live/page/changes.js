// The changes that an operator can make. Each has a dialog that asks for confirmation.
const KEPT = "stampede-token";
let changes = "want_token";
let running = null;
let instead = null;

const kept = () => sessionStorage.getItem(KEPT) ?? "";

function keep(token) {
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

function say(text) {
  setText(byId("said"), text);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => setText(byId("said"), ""), 6e3);
}

// Sends a request. Returns the JSON of the response, or throws an error to show.
async function send(method, path, { body, token = kept(), signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const settings = { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit", redirect: "error" };
  const answer = await fetch(path, settings);
  const text = await answer.text();
  let json = null;
  try {
    json = JSON.parse(text);
  } catch {
    // A proxy may answer with something other than JSON.
  }
  if (answer.ok && json) return json;
  const problem = new Error(json?.detail ?? (answer.ok ? "The answer is no JSON." : answer.statusText || "The server gave no reason."));
  problem.status = answer.status;
  problem.code = json?.code ?? "";
  throw problem;
}

const reason = (problem) =>
  problem.status ? `The server refused it (${problem.status}${problem.code ? ` ${problem.code}` : ""}): ${problem.message}` : "The server does not answer. Look whether it happened before you try again.";

function field({ name, label, hint, ...input }) {
  const box = element("input", { id: `field-${name}`, name, autocomplete: "off", spellcheck: false, ...input });
  const small = element("small", { id: `hint-${name}` }, hint ?? "");
  if (hint) box.setAttribute("aria-describedby", small.id);
  return element("div", { class: "field" }, element("label", { htmlFor: box.id }, label), box, small);
}

// Shows a dialog. `go` carries out its action, and returns the message to show, or opens another dialog.
function openDialog({ title, body, go, label, other }) {
  const dialog = byId("dialog");
  running = go ?? null;
  setText(byId("dialog-title"), title);
  byId("dialog-body").replaceChildren(...body);
  setText(byId("dialog-error"), "");
  byId("dialog-go").hidden = !go;
  byId("dialog-go").disabled = false;
  setText(byId("dialog-go"), label ?? "");
  setText(byId("dialog-cancel"), go ? "Cancel" : "Close");
  byId("dialog-other").hidden = !other;
  setText(byId("dialog-other"), other?.label ?? "");
  instead = other?.go ?? null;
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("input") ?? byId("dialog-cancel")).focus();
}

const closeDialog = () => byId("dialog").close();

byId("dialog-cancel").addEventListener("click", closeDialog);
byId("dialog-other").addEventListener("click", () => instead?.());
byId("dialog-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const go = running;
  if (!go || byId("dialog-go").disabled) return;
  for (const input of event.target.querySelectorAll("input")) {
    const wrong = !input.checkValidity();
    input.setAttribute("aria-invalid", String(wrong));
    if (wrong) {
      input.focus();
      return setText(byId("dialog-error"), input.title ? `${input.title}.` : input.validationMessage);
    }
  }
  setText(byId("dialog-error"), "");
  byId("dialog-go").disabled = true;
  try {
    const said = await go(Object.fromEntries(new FormData(event.target)));
    if (running !== go) return;
    if (said) {
      closeDialog();
      say(said);
    }
  } catch (problem) {
    if (running === go) setText(byId("dialog-error"), reason(problem));
  } finally {
    byId("dialog-go").disabled = false;
  }
});

function tokenDialog(after) {
  if (changes === "need_token_file") {
    const body = [
      element("p", {}, "This server has no operator's token, so this page can only look. To change sales here, start the server with a token:"),
      element("p", {}, element("code", {}, "openssl rand -hex 32 > token && stampede --control-token-file token")),
      element("p", { class: "hint" }, "On this machine the commands work without it, such as ", element("code", {}, "stampede sale close ticket"), "."),
    ];
    return openDialog({ title: "Changes need a token", body });
  }
  const forget = () => {
    keep("");
    closeDialog();
    say("The token is forgotten.");
    pollNow();
  };
  openDialog({
    title: "Operator's token",
    body: [
      element("p", {}, "Changes need the operator's token: the line in the file of ", element("code", {}, "--control-token-file"), "."),
      field({ name: "token", label: "Token", type: "password", required: true, minLength: 16, maxLength: 512, title: "A token has 16 to 512 characters" }),
      element("p", { class: "hint" }, "It stays in this tab until you close it (sessionStorage), and is sent to this server only, never as part of an address."),
    ],
    label: "Use this token",
    other: kept() ? { label: "Forget the token", go: forget } : null,
    go: async ({ token }) => {
      const answer = await send("GET", `/v1/live?limit=1`, { token: token.trim() });
      if (answer.changes !== "allowed") {
        const problem = new Error("This token may only look.");
        problem.status = 403;
        throw problem;
      }
      keep(token.trim());
      changes = "allowed";
      showChanges();
      pollNow();
      if (after) after();
      else return "This tab may change sales now.";
    },
  });
}

function showChanges() {
  const labels = { allowed: "Changes on", want_token: "Allow changes", need_token_file: "Read only" };
  setText(byId("token-button"), labels[changes] ?? "Token");
}

// Runs a dialog once this tab has the operator's token.
const withToken = (dialog) => (changes === "allowed" ? dialog() : tokenDialog(dialog));

const onSale = (id, verb) => `/v1/sales/${encodeURIComponent(id)}/${verb}`;

async function change(path, body, said) {
  noteChanged(await send("POST", path, { body }));
  pollNow();
  return said;
}

function confirmDialog(title, words, label, go) {
  openDialog({ title, body: words.map((text) => element("p", {}, text)), label, go });
}

function openSale({ id, opens_at: opens, state }) {
  const words = [`Buyers can reserve units of ${id} at once.`];
  if (state === "scheduled" && opens) words.push("It does not wait for its opening time any more.");
  confirmDialog(`Open the sale ${id}?`, words, "Open the sale", () => change(onSale(id, "open"), undefined, `The sale ${id} is open.`));
}

function closeSale({ id, held }) {
  const words = ["Buyers are refused from now on. You can open the sale again."];
  if (held) words.push(`${plural(held, "held unit")} can still be paid for until the hold time ends.`);
  confirmDialog(`Close the sale ${id}?`, words, "Close the sale", () => change(onSale(id, "close"), undefined, `The sale ${id} is closed.`));
}

function addStock({ id }) {
  openDialog({
    title: `Add stock to ${id}`,
    body: [field({ name: "units", label: "Units to add", type: "number", min: 1, step: 1, required: true, title: "Enter a whole number of at least 1" })],
    label: "Continue",
    go: async ({ units }) => {
      const total = shown.get(id)?.total ?? 0;
      confirmDialog(`Add ${plural(Number(units), "unit")} to ${id}?`,
        [`The total rises from ${number(total)} to ${number(total + Number(units))}. The new units are for sale at once if the sale is open.`],
        "Add the stock", () => change(onSale(id, "add-stock"), { units: Number(units) }, `${plural(Number(units), "unit")} more in ${id}.`));
    },
  });
}

function createSale() {
  openDialog({
    title: "New sale",
    body: [
      field({ name: "id", label: "Id", required: true, maxLength: 64, pattern: "[a-z0-9._\\-]+", hint: "Small letters, digits, dot, dash and underscore. Buyers see it.", title: "An id has 1 to 64 small letters, digits, dots, dashes or underscores" }),
      field({ name: "total", label: "Units for sale", type: "number", min: 0, step: 1, required: true, title: "Enter a whole number" }),
      field({ name: "limit", label: "Most units per user (optional)", type: "number", min: 1, step: 1, title: "Enter a whole number of at least 1" }),
      field({ name: "opens", label: "Opens (optional)", type: "datetime-local", step: 1, hint: "In this browser's time zone. Empty: at once." }),
    ],
    label: "Continue",
    go: async ({ id, total, limit, opens }) => {
      const body = { id, total: Number(total) };
      if (limit) body.limit_per_user = Number(limit);
      if (opens) body.opens_at = new Date(opens).toISOString();
      const words = [
        `${plural(body.total, "unit")}, ${limit ? `at most ${limit} per user` : "without a limit per user"}.`,
        opens ? `It opens at ${new Date(opens).toLocaleString("en-GB")}.` : "It is open at once.",
      ];
      confirmDialog(`Create the sale ${id}?`, words, "Create the sale", () => change("/v1/sales", body, `The sale ${id} is created.`));
    },
  });
}

byId("token-button").addEventListener("click", () => tokenDialog(null));
byId("create").addEventListener("click", () => withToken(createSale));
for (const [id, dialog] of [["open", openSale], ["close", closeSale], ["add", addStock]]) {
  byId(id).addEventListener("click", () => {
    const sale = chosen;
    if (sale) withToken(() => dialog(sale));
  });
}
