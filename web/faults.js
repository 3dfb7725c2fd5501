// Rows of a file that cannot be used: put together by what is wrong with them.
import { el } from "/web/dom.js";

const SHOWN = 5; // lines of a group

// A message without what differs from row to row: numbers, and what stands in quotes behind a colon or "near".
const kind = ({ field, message }) => `${field}|${message.replace(/\d+/g, "#").replace(/near '.*'/s, "near …").replace(/: ".*"$/s, ": …")}`;

// [{message, hint, count, lines}], the largest first.
export function group(details) {
  const groups = new Map();
  for (const one of details) {
    const own = groups.get(kind(one)) ?? { message: one.message, hint: one.hint, count: 0, lines: [] };
    own.count++;
    if (one.line && own.lines.length < SHOWN) own.lines.push(one.line);
    groups.set(kind(one), own);
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

// `error`: {message, hint, details, total}.
export function faults(error) {
  const groups = group(error.details ?? []);
  if (!groups.length) return el("div", { class: "error", role: "alert" }, el("p", {}, error.message, " ", el("span", { class: "soft" }, error.hint ?? "")));
  const listed = error.details.length;
  return el("div", { class: "faults", role: "alert" },
    el("p", { class: "error" }, error.message),
    el("ul", {}, groups.map((g) => el("li", {}, el("strong", {}, `${g.count} row${g.count === 1 ? "" : "s"}: `), g.message,
      g.hint ? el("span", { class: "soft" }, ` (${g.hint})`) : null,
      g.lines.length ? el("div", { class: "soft" }, `line${g.lines.length > 1 ? "s" : ""} ${g.lines.join(", ")}${g.count > g.lines.length ? ", …" : ""}`) : null))),
    error.total > listed ? el("p", { class: "soft" }, `The first ${listed} of ${error.total} rows at fault are listed.`) : null);
}
