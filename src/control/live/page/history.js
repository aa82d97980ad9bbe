// The history of the last minutes. Everything here is bounded.
const WINDOW_MS = 5 * 60e3;
const POINTS_MAX = 400;
const SALES_MAX = 64;
const RECENT_MS = 10e3;
// Points further apart than this are not joined: the page was in the background.
const GAP_MS = 25e3;

class Series {
  points = [];
  add(t, values) {
    const last = this.points.at(-1);
    if (last && t <= last.t) {
      if (t === last.t) Object.assign(last, values);
      return;
    }
    this.points.push({ t, ...values });
    const from = Date.now() - WINDOW_MS - GAP_MS;
    while (this.points.length > POINTS_MAX || this.points[0].t < from) this.points.shift();
  }
  last() {
    return this.points.at(-1);
  }
  // The newest point that is at least `ms` older than the last one, or the oldest point.
  before(ms) {
    const until = (this.last()?.t ?? 0) - ms;
    return this.points.findLast((point) => point.t <= until) ?? this.points[0];
  }
}

// The stock of each sale that the page has shown recently.
const stocks = new Map();

function noteSale(sale, t) {
  const series = stocks.get(sale.id) ?? new Series();
  stocks.delete(sale.id);
  stocks.set(sale.id, series);
  series.add(t, { free: sale.free, held: sale.held, confirmed: sale.confirmed, total: sale.total });
  while (stocks.size > SALES_MAX) stocks.delete(stocks.keys().next().value);
}

// Units sold minus units given back, per second, over the last 5 seconds.
function netSold(id) {
  const series = stocks.get(id);
  const now = series?.last();
  const then = series?.before(5e3);
  if (!then || now.t - then.t < 500 || now.t - then.t > GAP_MS) return null;
  const sold = (point) => point.held + point.confirmed;
  return ((sold(now) - sold(then)) / (now.t - then.t)) * 1e3;
}

// The server's answers of the last 10 seconds, and the rates and times computed from them.
let answers = [];
let flow = new Series();

function forgetServer() {
  answers = [];
  flow = new Series();
}

// Adds an answer. Returns rates since the answer before it, and times over the last 10 seconds.
function noteServer(server, t) {
  const before = answers.at(-1);
  const restarted = before && (server.at_ms < before.at_ms || server.cores.length !== before.cores.length);
  if (restarted) forgetServer();
  if (before && !restarted && server.at_ms === before.at_ms) return null;
  answers.push(server);
  while (answers.length > 2 && server.at_ms - answers[1].at_ms >= RECENT_MS) answers.shift();
  const last = answers.at(-2);
  const seconds = last ? (server.at_ms - last.at_ms) / 1e3 : 0;
  const per = (now, then) => (last && seconds < GAP_MS / 1e3 ? Math.max(0, now - then) / seconds : null);
  const names = ["granted", "rejected_from_memory", "rejected_by_ledger", "failed", "requests", "cpu_us"];
  const cores = server.cores.map((core, at) => {
    const rates = names.map((name) => [name, per(core[name], last?.cores[at][name])]);
    return Object.fromEntries(rates);
  });
  const sum = (name) => (last ? cores.reduce((all, core) => all + core[name], 0) : null);
  const recent = recentTimes();
  const rejected = last ? sum("rejected_from_memory") + sum("rejected_by_ledger") : null;
  const seen = {
    cores,
    granted: sum("granted"),
    rejected,
    fromMemory: sum("rejected_from_memory"),
    failed: sum("failed"),
    accepted: per(server.connections.accepted, last?.connections.accepted),
    recent,
  };
  flow.add(t, {
    sold: cores.map((core) => core.granted),
    rejected: cores.map((core) => (last ? core.rejected_from_memory + core.rejected_by_ledger : null)),
    half: recent.purchase_us.half,
    most: recent.purchase_us.most,
  });
  return seen;
}

// Per histogram, over the last 10 seconds: count, mean, and the bounds below which half and 99 % are.
function recentTimes() {
  const [now, then] = [answers.at(-1), answers[0]];
  const seconds = (now.at_ms - then.at_ms) / 1e3;
  return Object.fromEntries(Object.entries(now.latency).map(([name, histogram]) => {
    if (!histogram) return [name, null];
    const counts = histogram.counts.map((count, at) => count - then.latency[name].counts[at]);
    const count = counts.reduce((all, more) => all + more, 0);
    const bound = (share) => {
      let seen = 0;
      const at = counts.findIndex((more) => (seen += more) >= share * count);
      return at === counts.length - 1 ? Infinity : 2 ** at;
    };
    const sum = histogram.sum - then.latency[name].sum;
    if (!count || seconds <= 0) return [name, { count: 0, perSecond: seconds > 0 ? 0 : null, half: null, most: null, mean: null }];
    return [name, { count, perSecond: count / seconds, half: bound(0.5), most: bound(0.99), mean: sum / count }];
  }));
}
