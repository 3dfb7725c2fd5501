// Building elements: text is always set as text, so nothing from a data set or a job can become markup.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return node;
}

// replaceChildren would write "null" for what is not there.
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(2).filter((child) => child !== null && child !== undefined));
}

export function field(label, control, help = "") {
  return el("label", {}, el("span", {}, label), control, help ? el("span", {}, help) : null);
}

// What may be wider than the page scrolls by itself, with the keyboard too.
export const scroll = (caption, ...children) => el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption }, ...children);

export function table(caption, heads, rows) {
  return scroll(caption, el("table", { "aria-label": caption },
    el("thead", {}, el("tr", {}, heads.map((head, i) => (head === "" ? el("td") : el("th", { scope: "col", class: typeof rows[0]?.[i] === "number" ? "number" : null }, head))))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) =>
      el("td", typeof cell === "number" ? { class: "number" } : {}, cell === null ? "" : cell instanceof Node ? cell : String(cell))))))));
}

export function state(job) {
  const wanted = job.requested ? ` (${job.requested} asked for)` : "";
  return el("span", { class: `state ${job.status}` }, job.status + wanted);
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const when = (time) => (time ? new Date(time).toLocaleString() : "");

// Four digits of a fraction, all digits of a whole number.
export function short(value) {
  if (value === null || value === undefined) return "";
  const n = Number(value);
  if (Number.isInteger(n)) return String(n);
  if (Math.abs(n) >= 1000) return String(Math.round(n));
  const text = n.toPrecision(4);
  return text.includes("e") ? text.replace(/\.?0+e/, "e") : text.replace(/\.?0+$/, "");
}

// The same in the page: what is rounded is marked and tells all its digits.
export function number(value) {
  const text = short(value);
  return value === null || value === undefined || text === String(value) ? text : el("span", { class: "rounded", title: `rounded; exactly ${value}` }, text);
}

// How long ago, with the exact time behind it.
export function ago(time) {
  if (!time) return "";
  const seconds = (Date.now() - new Date(time)) / 1000;
  const text = seconds < 10 ? "just now" : seconds < 48 * 3600 ? `${duration(seconds)} ago` : `${Math.round(seconds / 86400)} days ago`;
  return el("time", { datetime: time, title: when(time) }, text);
}

// The verdict on a run's fit in colour and words, where there is one.
export function verdict(fit) {
  return fit?.health ? el("span", { class: `health ${fit.health}`, title: fit.summary }, fit.verdict.replaceAll("_", " ")) : null;
}

export function problem(error) {
  return el("div", { class: "error", role: "alert" }, el("p", {}, error.message, " ", el("span", { class: "soft" }, error.hint ?? "")),
    error.details?.length ? el("ul", {}, error.details.slice(0, 20).map((d) =>
      el("li", {}, d.line ? `line ${d.line}: ` : "", d.message ?? "", d.hint ? ` (${d.hint})` : ""))) : null);
}

// Hands a blob to the browser as a file.
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// Rows {name, value, of} as bars beside each other; `told` says a value in words.
export function bars(caption, rows, told = (row) => row.value.toLocaleString()) {
  const most = Math.max(...rows.map((row) => row.of ?? row.value), 0) || 1;
  return el("ul", { class: "bars", "aria-label": caption }, rows.map((row) => el("li", {}, el("span", { title: row.name }, row.name),
    el("meter", { min: 0, max: row.of ?? most, value: row.value, "aria-hidden": "true" }), el("span", { class: "number" }, told(row)))));
}

// What labels were taken as, with the rows of each: of a data set, a dry run or a job.
export function targets({ problem: kind, labels, label_count: count }) {
  if (!labels) return "";
  const shown = labels.slice(0, 12).map((one) => `${one.label} (${one.rows})`).join(", ");
  return [kind, kind === "regression" ? `${count} different values` : shown, count > 12 && kind !== "regression" ? `… ${count} labels` : ""].filter((t) => t).join(": ");
}

export const warnings = (list) => (list?.length ? el("ul", { class: "warnings" }, list.map((w) => el("li", {}, w.message))) : null);
