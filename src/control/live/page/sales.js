// The table of sales, page by page, and the details of the chosen sale.
const LIMIT = 20;
const view = { search: "", after: [], sale: null, next: null };
const stockChart = new Chart(byId("stock-chart"), "Stock over time, in units", ["Free", "Held", "Confirmed", "Total"], 200);
// The latest data of each sale on the page, with its time.
let shown = new Map();
let chosen = null;

const BADGES = { open: "good", scheduled: "warn", closed: "" };
const STATES = { open: "Open", scheduled: "Scheduled", closed: "Closed" };

function query() {
  const asked = new URLSearchParams({ limit: LIMIT });
  if (view.search) asked.set("search", view.search);
  if (view.after.length) asked.set("after", view.after.at(-1));
  if (view.sale) asked.set("sale", view.sale);
  return asked;
}

function choose(id) {
  view.sale = id;
  chosen = shown.get(id) ?? null;
  markChosen();
  drawSale();
  pollNow();
}

function saleRow(sale) {
  const pick = element("button", { type: "button" }, sale.id);
  const row = element("tr", {},
    element("th", { scope: "row" }, pick),
    element("td", {}, element("span", { class: "badge" })),
    ...["n", "n wide", "n wide", "n", "n wide"].map((kind) => element("td", { class: kind })),
    element("td", { class: "share wide" },
      element("div", { class: "gauge", role: "img" }, element("i", { class: "confirmed" }), element("i", { class: "held" }))));
  row.dataset.sale = sale.id;
  row.addEventListener("click", () => choose(sale.id));
  return row;
}

function fillRow(row, sale) {
  const [, state, free, held, confirmed, total, sold, share] = row.cells;
  const badge = state.firstChild;
  setText(badge, STATES[sale.state] ?? sale.state);
  badge.className = `badge ${BADGES[sale.state] ?? ""}`;
  setText(free, number(sale.free));
  setText(held, number(sale.held));
  setText(confirmed, number(sale.confirmed));
  setText(total, number(sale.total));
  setText(sold, rate(netSold(sale.id)));
  const percent = (units) => (sale.total ? (units / sale.total) * 100 : 0);
  const gauge = share.firstChild;
  gauge.children[0].style.width = `${percent(sale.confirmed)}%`;
  gauge.children[1].style.width = `${percent(sale.held)}%`;
  gauge.setAttribute("aria-label", `${one.format(percent(sale.held + sale.confirmed))} % sold`);
}

function markChosen() {
  for (const row of byId("sales-table").tBodies[0].rows) {
    const is = row.dataset.sale === view.sale;
    row.classList.toggle("chosen", is);
    row.cells[0].firstChild.setAttribute("aria-pressed", String(is));
  }
}

function showSales(answer, t) {
  const { sales, sale, age_ms: age, count, matches, first, next, problem } = answer;
  const known = age != null;
  const at = t - (age ?? 0);
  for (const one of known ? sales.concat(sale ?? []) : []) {
    const newer = shown.get(one.id);
    if (!newer || newer.at <= at) noteSale(one, at);
  }
  const fresh = (one) => (shown.get(one.id)?.at > at ? shown.get(one.id) : { ...one, at });
  shown = new Map([...sales, ...(sale ? [sale] : [])].map((one) => [one.id, fresh(one)]));
  if (known && !view.sale && sales.length) view.sale = sales[0].id;
  const body = byId("sales-table").tBodies[0];
  const ids = sales.map((one) => one.id);
  if (ids.join() !== [...body.rows].map((row) => row.dataset.sale).join()) {
    const focused = document.activeElement?.closest?.("tr")?.dataset.sale;
    const old = new Map([...body.rows].map((row) => [row.dataset.sale, row]));
    body.replaceChildren(...sales.map((one) => old.get(one.id) ?? saleRow(one)));
    if (focused) [...body.rows].find((row) => row.dataset.sale === focused)?.cells[0].firstChild.focus();
  }
  sales.forEach((one, place) => fillRow(body.rows[place], shown.get(one.id)));
  view.next = next;
  showPages(known, count, matches, first, sales.length);
  const old = age > 3e3 ? `as of ${duration(age)} ago` : "";
  setText(byId("sales-age"), problem ? `The sales can't be read: ${problem} ${known ? `The numbers are ${duration(age)} old.` : ""}` : old);
  chosen = shown.get(view.sale) ?? null;
  if (known && view.sale && !chosen && !sales.length && !view.search) view.sale = null;
  markChosen();
  drawSale();
}

function showPages(known, count, matches, first, length) {
  const empty = byId("sales-empty");
  let say = null;
  if (!known) say = [element("strong", {}, "Reading the sales…")];
  else if (!count) {
    say = [element("strong", {}, "No sale yet"), "Create the first one here, or with ", element("code", {}, "stampede sale create ticket=10000"), "."];
  } else if (!matches) say = [element("strong", {}, "No sale has this in its id"), `There are ${plural(count, "sale")} in all.`];
  else if (!length) say = [element("strong", {}, "There are no more sales")];
  const key = say?.map((part) => part.textContent ?? part).join("") ?? "";
  if (empty.dataset.shown !== key) {
    empty.dataset.shown = key;
    empty.replaceChildren(...(say ?? []));
  }
  empty.hidden = !say;
  byId("sales-scroll").hidden = Boolean(say);
  byId("tools").hidden = !count;
  const range = length ? `${number(first + 1)} to ${number(first + length)} of ${number(matches)}` : "";
  setText(byId("range"), range);
  byId("previous").disabled = !view.after.length;
  byId("next").disabled = !view.next;
  byId("pager").hidden = !view.after.length && !view.next && matches <= LIMIT && !view.search;
}

function drawSale() {
  byId("sale").hidden = !chosen;
  if (!chosen) return;
  const sale = chosen;
  setText(byId("sale-title"), sale.id);
  const badge = byId("sale-state");
  setText(badge, STATES[sale.state] ?? sale.state);
  badge.className = `badge ${BADGES[sale.state] ?? ""}`;
  byId("open").disabled = sale.state === "open";
  byId("close").disabled = sale.state === "closed";
  setTerms(byId("sale-units"), [
    ["Free", number(sale.free)], ["Held", number(sale.held)], ["Confirmed", number(sale.confirmed)],
    ["Total", number(sale.total)], ["Net sold per second", rate(netSold(sale.id))],
  ], (dt, dd) => [element("div", {}, dt, dd)]);
  const when = (text) => (text ? new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : null);
  const terms = [
    ["Opens", when(sale.opens_at)], ["Closes", when(sale.closes_at)],
    ["Held for", duration(sale.hold_ms)],
    ["Limit per user", sale.limit_per_user ? plural(sale.limit_per_user, "unit") : "none"],
    ["Units per reservation", `${number(sale.quantity_min)} to ${number(sale.quantity_max)}`],
    ["Parts", sale.splits ? number(sale.splits) : null],
  ];
  setTerms(byId("sale-terms"), terms.filter(([, value]) => value), (dt, dd) => [element("div", {}, dt, dd)]);
  drawTypes(sale.types);
  drawStock(stockChart, sale);
}

function drawTypes(types) {
  const place = byId("sale-types");
  if (!types) return place.replaceChildren();
  if (!place.firstChild) {
    const head = ["Ticket type", "Free", "Held", "Confirmed", "At most"];
    const cell = (name, at) => element("th", { scope: "col", class: at ? "n" : "" }, name);
    place.append(element("table", {}, element("thead", {}, element("tr", {}, ...head.map(cell))), element("tbody")));
  }
  setRows(place.firstChild, Object.entries(types).map(([name, { free, held, confirmed, cap }]) =>
    [name, ...[free, held, confirmed, cap].map((units) => [number(units), "n"])]));
}

// The answer to a change is newer than the polled data.
function noteChanged(sale) {
  const at = Date.now();
  noteSale(sale, at);
  shown.set(sale.id, { ...sale, at });
  view.sale = sale.id;
  chosen = shown.get(sale.id);
  const row = [...byId("sales-table").tBodies[0].rows].find((one) => one.dataset.sale === sale.id);
  if (row) fillRow(row, chosen);
  markChosen();
  drawSale();
}

function turnPage(turn) {
  turn();
  pollNow();
}

byId("search").addEventListener("input", (event) => {
  view.search = event.target.value.trim();
  turnPage(() => (view.after = []));
});
byId("previous").addEventListener("click", () => turnPage(() => view.after.pop()));
byId("next").addEventListener("click", () => turnPage(() => view.next && view.after.push(view.next)));
