// The server as a whole: its tiles, cores, times, ledger, orders and fleet.
const soldChart = new Chart(byId("sold-chart"), "Sold per second, by core", []);
const rejectedChart = new Chart(byId("rejected-chart"), "Rejected per second, by core", []);
const latencyChart = new Chart(byId("latency-chart"), "Answer time of purchases that asked the ledger", ["Half within", "99 % within"], 250);

function tile(at, name, value, small, kind = "") {
  const tiles = byId("tiles");
  const made = tiles.children[at] ?? tiles.appendChild(element("div", {}, element("dt"), element("dd"), element("dd", { class: "small" })));
  setText(made.children[0], name);
  setText(made.children[1], value);
  setText(made.children[2], small);
  made.className = kind ? `is-${kind}` : "";
  made.children[1].className = /^[\d–~]/.test(value) ? "big" : "big words";
}

// The state of the ledger in words, and its severity.
function health(server) {
  const { ledger, cores, lease } = server;
  if (server.draining) return ["Draining", "warn"];
  if (!ledger.cores_up) return ["Out of reach", "bad"];
  if (ledger.cores_up < cores.length) return ["Partly reachable", "warn"];
  if (ledger.refused_sales_count) return [`Refuses ${plural(ledger.refused_sales_count, "sale")}`, "bad"];
  if (ledger.sweep_lag_ms > 2e3) return ["Returns stock late", "warn"];
  if (lease && !lease.remaining_ms) return ["Lease expired", "warn"];
  return ["Healthy", "good"];
}

function ordersState(orders) {
  if (!orders) return ["Not written here", "", ""];
  const late = orders.lag_ms > 2e3 || orders.webhooks?.dead_letters;
  const behind = orders.lag_ms >= 1e3 ? `${duration(orders.lag_ms)} behind` : "Up to date";
  const left = orders.webhooks ? plural(orders.webhooks.waiting, "webhook") : orders.lag_records == null ? "an unknown number of records" : plural(orders.lag_records, "record");
  return [behind, late ? "warn" : "good", `${left} to ${orders.webhooks ? "deliver" : "write"}`];
}

function showServer(server, instances, seen) {
  const kind = server.ledger.kind === "embedded" ? "embedded ledger" : "Redis";
  const own = instances.length === 1 ? `${instances[0].name} · ` : "";
  setText(byId("who"), `${own}${location.host} · version ${server.version} · ${kind}`);
  if (seen) showFlow(server, seen);
  const waiting = server.cores.reduce((all, core) => all + core.waiting, 0);
  tile(3, "Waiting requests", number(waiting), "for the ledger");
  const { open, max } = server.connections;
  const opened = seen?.accepted == null ? "" : `; ${rate(seen.accepted)} new per second`;
  if (seen) tile(4, "Connections", number(open), `of ${number(max)} possible${opened}`);
  const [state, bad] = health(server);
  tile(5, "Ledger", state, `${kind}, ${server.ledger.cores_up} of ${plural(server.cores.length, "core")} linked`, bad);
  const [orders, late, left] = ordersState(server.orders);
  tile(6, "Orders", orders, left || (server.ledger.kind === "redis" ? "the order workers write them" : "no --orders is set"), late);
  const { members, cores } = server.lease ?? { members: 1, cores: server.cores.length };
  tile(7, "Servers", number(members), `${plural(cores, "core")} together`);
  showLedger(server);
  showOrders(server.orders, server.ledger.kind);
  setRows(byId("servers-table"), instances.map((one) => [
    one.name, one.addresses.join(", "), one.state, [number(one.cores), "n"], one.version, [number(one.allowance), "n"],
    one.lease_ms == null ? "needs none" : `${duration(one.lease_ms)} left`,
  ]));
}

function showFlow(server, seen) {
  const total = (name) => server.cores.reduce((all, core) => all + core[name], 0);
  const from = seen.rejected ? `${one.format((seen.fromMemory / seen.rejected) * 100)} % from memory; ` : "";
  tile(0, "Sold per second", rate(seen.granted), `${plural(total("granted"), "reservation")} since the start`);
  const rejected = total("rejected_from_memory") + total("rejected_by_ledger");
  tile(1, "Rejected per second", rate(seen.rejected), `${from}${number(rejected)} since the start`);
  const { half, most, count } = seen.recent.purchase_us;
  const small = count ? `half within ${time(half)}, over 10 s` : "no purchase asked the ledger";
  tile(2, "99 % answered within", time(most), small);
  const cores = server.cores.map(({ core }) => core);
  drawCores(soldChart, "sold", cores);
  drawCores(rejectedChart, "rejected", cores);
  drawTimes(latencyChart);
  const n = (value) => [value, "n"];
  setRows(byId("cores-table"), server.cores.map(({ core, waiting, ledger_up: up }, at) => {
    const rates = seen.cores[at];
    const used = rates.cpu_us == null ? NONE : one.format(rates.cpu_us / 1e4);
    return [
      String(core), n(rate(rates.granted)), n(rate(rates.rejected_from_memory)), n(rate(rates.rejected_by_ledger)),
      n(rate(rates.failed)), n(number(waiting)), n(used), up ? "up" : ["down", "bad-text"],
    ];
  }));
  showTimes(seen.recent);
}

function showTimes(recent) {
  const n = (value) => [value, "n"];
  const row = (name, of, unit) => [name, n(time(of.half && of.half * unit)), n(time(of.most && of.most * unit)), n(rate(of.perSecond))];
  const rows = [
    row("Purchase that asked the ledger", recent.purchase_us, 1),
    row("Batch, from leaving to its answer", recent.round_trip_us, 1),
    row("Wait of a batch's first command", recent.queued_ms, 1e3),
  ];
  if (recent.fdatasync_us) rows.push(row("Disk write (fdatasync)", recent.fdatasync_us, 1));
  setRows(byId("latency-table"), rows);
  const { mean, most } = recent.batch_commands;
  setTerms(byId("batches"), [
    ["Batches per second", rate(recent.batch_commands.perSecond)],
    ["Commands per batch", mean == null ? NONE : `${one.format(mean)} on average, 99 % with at most ${number(most)}`],
  ]);
}

function showLedger({ ledger, cores, lease, ready }) {
  const terms = [
    ["Kind", ledger.kind === "embedded" ? "embedded, on this machine" : "Redis"],
    ["Ready for buyers", ready ? "yes" : "no"],
    ["Linked cores", `${ledger.cores_up} of ${cores.length}`],
    ["Return of expired units", ledger.sweep_lag_ms ? `${duration(ledger.sweep_lag_ms)} overdue` : "on time"],
    ["Allowance of this server", plural(ledger.allowance_units, "unit")],
    ["Refused sales", number(ledger.refused_sales_count)],
  ];
  if (lease) {
    terms.push(["Lease of this server", lease.remaining_ms ? `good for ${duration(lease.remaining_ms)}` : "expired"]);
    terms.push(["Failed lease renewals", number(lease.renewal_failures)]);
  }
  setTerms(byId("ledger"), terms);
  const list = byId("refused");
  const lines = ledger.refused_sales.map(({ sale, reason }) => `${sale}: ${reason}`);
  if (list.dataset.shown !== lines.join("\n")) {
    list.dataset.shown = lines.join("\n");
    list.replaceChildren(...lines.map((line) => element("li", {}, line)));
  }
}

function showOrders(orders, kind) {
  if (!orders) {
    const why = kind === "redis" ? "by the order workers, from Redis" : "nowhere: the server was started without --orders";
    return setTerms(byId("orders"), [["Written", why]]);
  }
  const terms = [["Written to", orders.webhooks ? "webhooks" : "a database"], ["Oldest change that is missing", orders.lag_ms >= 100 ? `${duration(orders.lag_ms)} old` : "none"]];
  if (orders.webhooks) {
    const { waiting, delivered, failed, dead_letters: dead } = orders.webhooks;
    terms.push(["Waiting", plural(waiting, "webhook")], ["Delivered", number(delivered)], ["Failed attempts", number(failed)], ["Given up", number(dead)]);
  } else terms.push(["Records to write", orders.lag_records == null ? "not known yet" : number(orders.lag_records)]);
  setTerms(byId("orders"), terms);
}
