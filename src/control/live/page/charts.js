// Charts of the last minutes as SVG, each with a table of its numbers.
const MARGIN = { left: 52, right: 10, top: 8, bottom: 20 };

// Round values for the axis: steps of 1, 2 or 5 times a power of ten.
function steps(max) {
  const about = max / 4;
  const power = 10 ** Math.floor(Math.log10(about));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= about);
  const all = [];
  for (let value = 0; value < max + step * 0.001; value += step) all.push(value);
  if (all.at(-1) < max) all.push(all.at(-1) + step);
  return all;
}

// The time span of the charts: since the page was opened, at most the window.
const opened = Date.now();
const spanMs = () => [60e3, 120e3].find((ms) => Date.now() - opened < ms) ?? WINDOW_MS;
const spanText = () => (spanMs() === 60e3 ? "last minute" : `last ${spanMs() / 60e3} minutes`);

// A chart in a place of the page. `shapes` gets the scales and returns shapes; `rows` returns the table.
class Chart {
  constructor(place, title, columns, height = 180) {
    this.height = height;
    this.legend = element("ul", { class: "legend" });
    this.svg = shape("svg", { class: "chart", role: "img", "aria-label": title, height });
    this.table = element("table", {}, element("thead", {}, element("tr")), element("tbody"));
    this.details = element("details", {}, element("summary", {}, "Show as a table"), element("div", {}, this.table));
    const figure = element("figure", {}, element("figcaption", {}, title), this.legend, this.svg, this.details);
    place.replaceChildren(figure);
    this.title = title;
    this.setColumns(columns);
    this.details.addEventListener("toggle", () => this.fillTable());
  }
  setColumns(columns) {
    const key = columns.join();
    if (this.columns === key) return;
    this.columns = key;
    const cell = (name, at) => element("th", { scope: "col", class: at ? "n" : "" }, name);
    this.table.tHead.rows[0].replaceChildren(...["Time", ...columns].map(cell));
  }
  setLegend(entries) {
    const key = entries.map(([kind]) => kind).join();
    if (this.legend.dataset.shown !== key) {
      this.legend.dataset.shown = key;
      this.legend.replaceChildren(...entries.map(([kind]) =>
        element("li", {}, element("span", { class: kind, "aria-hidden": "true" }), element("span"))));
    }
    entries.forEach(([, text], at) => setText(this.legend.children[at].lastChild, text));
  }
  // `ticks`: values of the vertical axis with their labels. `y`: maps a value to 0..1.
  draw(ticks, y, label, shapes, rows) {
    const width = Math.max(240, this.svg.clientWidth || 600);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: this.height - MARGIN.top - MARGIN.bottom };
    const [now, span] = [Date.now(), spanMs()];
    const scale = {
      x: (t) => MARGIN.left + (1 - (now - t) / span) * inner.width,
      y: (value) => MARGIN.top + (1 - y(value)) * inner.height,
      from: now - span,
      now,
    };
    const drawn = [];
    for (const [value, name] of ticks) {
      const at = scale.y(value);
      drawn.push(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      drawn.push(shape("text", { x: MARGIN.left - 7, y: at + 4, "text-anchor": "end" }, name));
    }
    const step = span === WINDOW_MS ? 60e3 : span / 4;
    for (let ago = 0; ago <= span; ago += step) {
      const anchor = ago === 0 ? "end" : ago === span ? "start" : "middle";
      const name = ago === 0 ? "now" : ago % 60e3 ? `−${ago / 1e3} s` : `−${ago / 60e3} min`;
      if (width < 420 && (ago / step) % 2 && ago < span) continue;
      drawn.push(shape("text", { x: scale.x(now - ago), y: this.height - 4, "text-anchor": anchor }, name));
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("aria-label", `${this.title}, ${spanText()}. ${label}`);
    this.svg.replaceChildren(...drawn, ...shapes(scale));
    this.rows = rows;
    if (this.details.open) this.fillTable();
  }
  fillTable() {
    if (this.details.open && this.rows) setRows(this.table, this.rows().slice(-30).reverse());
  }
}

// Splits points into runs without gaps and missing values. Lines join the points of a run.
function runs(points, from, has) {
  const all = [];
  let run = [];
  const end = () => {
    if (run.length) all.push(run);
    run = [];
  };
  for (const point of points) {
    if (point.t < from || !has(point)) {
      end();
      continue;
    }
    if (run.length && point.t - run.at(-1).t > GAP_MS) end();
    run.push(point);
  }
  end();
  return all;
}

const joined = (places) => places.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

// One line per series. `of(point)` returns its value, or null.
function lines(scale, points, series) {
  return series.flatMap(({ kind, of }) => runs(points, scale.from, (point) => of(point) != null).map((run) => {
    const places = run.map((point) => [scale.x(point.t), scale.y(of(point))]);
    if (places.length === 1) places.push([places[0][0] + 1, places[0][1]]);
    return shape("path", { class: `plot ${kind}`, d: `M${joined(places)}` });
  }));
}

// Stacked areas, the first at the bottom.
function areas(scale, points, names) {
  return runs(points, scale.from, () => true).flatMap((run) => names.map((name, at) => {
    const sum = (point, upTo) => names.slice(0, upTo).reduce((all, other) => all + point[other], 0);
    // The last values hold until the next poll.
    const last = run.at(-1);
    const held = scale.now - last.t < GAP_MS ? run.concat({ ...last, t: scale.now }) : run;
    const edge = (upTo) => held.map((point) => [scale.x(point.t), scale.y(sum(point, upTo))]);
    const [top, bottom] = [edge(at + 1), edge(at).reverse()];
    return shape("path", { class: `area-${name}`, d: `M${joined(top)}L${joined(bottom)}Z` });
  }));
}

const coreKind = (core) => `k${core % 8}${core % 16 >= 8 ? " dashed" : ""}`;

// Values per core over time, such as sales per second.
function drawCores(chart, name, cores) {
  const values = (point) => point[name];
  const points = flow.points;
  const max = Math.max(10, ...points.flatMap(values).filter((value) => value != null));
  const ticks = steps(max);
  const top = ticks.at(-1);
  const latest = flow.last() ? values(flow.last()) : [];
  chart.setColumns(cores.map((core) => `Core ${core}`));
  chart.setLegend(cores.slice(0, 16).map((core) => [`line ${coreKind(core)}`, `Core ${core}: ${rate(latest[core])}`]));
  const label = `Now ${cores.slice(0, 16).map((core) => `core ${core}: ${rate(latest[core])}`).join(", ")} per second.`;
  const series = cores.map((core) => ({ kind: coreKind(core), of: (point) => values(point)[core] }));
  const row = (point) => [clock.format(point.t), ...cores.map((core) => [rate(values(point)[core]), "n"])];
  chart.draw(ticks.map((value) => [value, number(value)]), (value) => value / top, label,
    (scale) => lines(scale, points, series), () => points.map(row));
}

// Times on a scale of powers of ten, from 64 microseconds to 10 seconds.
function drawTimes(chart) {
  const [low, high] = [Math.log10(50), 7];
  const y = (us) => Math.max(0, (Math.log10(Math.min(us, 1e7)) - low) / (high - low));
  const ticks = [[100, "100 µs"], [1e3, "1 ms"], [1e4, "10 ms"], [1e5, "100 ms"], [1e6, "1 s"], [1e7, "10 s"]];
  const series = [{ kind: "k0", of: (point) => point.half }, { kind: "k1 dashed", of: (point) => point.most }];
  const latest = flow.last() ?? {};
  chart.setLegend([["line k0", `half within ${time(latest.half)}`], ["line k1 dashed", `99 % within ${time(latest.most)}`]]);
  const label = `Now half of them within ${time(latest.half)} and 99 % within ${time(latest.most)}.`;
  const row = (point) => [clock.format(point.t), [time(point.half), "n"], [time(point.most), "n"]];
  chart.draw(ticks, y, label, (scale) => lines(scale, flow.points, series), () => flow.points.map(row));
}

function drawStock(chart, sale) {
  const points = stocks.get(sale.id)?.points ?? [];
  const ticks = steps(Math.max(4, ...points.map((point) => point.total)));
  const top = ticks.at(-1);
  chart.setLegend([
    ["key confirmed", `Confirmed ${number(sale.confirmed)}`],
    ["key held", `Held ${number(sale.held)}`],
    ["key free", `Free ${number(sale.free)}`],
  ]);
  const label = `Now ${plural(sale.free, "unit")} free, ${number(sale.held)} held and ${number(sale.confirmed)} confirmed of ${number(sale.total)}.`;
  const row = (point) => [clock.format(point.t), ...["free", "held", "confirmed", "total"].map((name) => [number(point[name]), "n"])];
  chart.draw(ticks.map((value) => [value, number(value)]), (value) => value / top, label,
    (scale) => areas(scale, points, ["confirmed", "held", "free"]), () => points.map(row));
}
