// Formats numbers and times for people, and creates elements.
const SVG = "http://www.w3.org/2000/svg";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const NONE = "–";

const byId = (id) => document.getElementById(id);

const number = (value) => (value == null ? NONE : whole.format(value));

// Formats a rate: whole from 10 on, with one decimal below.
function rate(value) {
  if (value == null) return NONE;
  return Math.abs(value) >= 10 ? whole.format(value) : one.format(value);
}

// Formats a time in microseconds, with two or three digits.
function time(us) {
  if (us == null) return NONE;
  if (us === Infinity) return "over 4 s";
  const digits = (value) => (value >= 10 ? whole.format(value) : one.format(value));
  if (us < 1e3) return `${whole.format(us)} µs`;
  return us < 1e6 ? `${digits(us / 1e3)} ms` : `${digits(us / 1e6)} s`;
}

function duration(ms) {
  const s = Math.floor(ms / 1e3);
  if (ms < 1e4) return `${one.format(ms / 1e3)} s`;
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

const plural = (count, thing) => `${number(count)} ${thing}${count === 1 ? "" : "s"}`;

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Creates an element with these properties. `class`, `role`, `scope` and names with a dash become attributes.
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class" || key.includes("-") || key === "role" || key === "scope") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text != null) made.textContent = text;
  return made;
}

// Fills a list of terms. Does nothing if the terms have not changed.
function setTerms(list, terms, each = (dt, dd) => [dt, dd]) {
  const key = JSON.stringify(terms);
  if (list.dataset.shown === key) return;
  list.dataset.shown = key;
  list.replaceChildren(...terms.flatMap(([name, value]) => each(element("dt", {}, name), element("dd", {}, value))));
}

// Fills the body of a table with rows of cells: text, or [text, class]. The first cell is the row's header.
// Existing cells are kept, so that the cell at which a screen reader is does not disappear.
function setRows(table, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    cells.forEach((cell, place) => {
      const [text, kind] = Array.isArray(cell) ? cell : [cell, ""];
      const found = row.cells[place] ?? row.appendChild(element(place ? "td" : "th", place ? {} : { scope: "row" }));
      if (found.className !== kind) found.className = kind;
      setText(found, text);
    });
  });
}
