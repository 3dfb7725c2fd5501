// A file of rows on its way in: chosen, dropped or pasted; looked at; its columns named; sent.
import * as api from "/web/api.js";
import { bytes, el, field, fill, problem, warnings } from "/web/dom.js";
import { faults } from "/web/faults.js";
import { beginning, detected, firstLine, form, look, roles } from "/web/upload_look.js";

// A table of the first rows with a choice for each column.
function preview(answer, picks, pick) {
  const names = [...new Set(answer.sample.flatMap((row) => Object.keys(row.cells)))];
  const role = (name) => Object.keys(picks).find((one) => picks[one] === name) ?? "";
  const head = (name) => el("th", { scope: "col" }, el("div", {}, name),
    el("select", { "aria-label": `What the column ${name} is`, "data-column": name, class: role(name) ? "used" : "", onchange: (event) => pick(name, event.target.value) },
      el("option", { value: "" }, "ignore"), roles.map(([value, title]) => el("option", { value, selected: value === role(name) }, title))));
  return el("div", { class: "scroll" }, el("table", { class: "preview", "aria-label": "First rows" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "line"), names.map(head))),
    el("tbody", {}, answer.sample.map((row) => el("tr", {}, el("td", { class: "number" }, String(row.line)),
      names.map((name) => el("td", { class: role(name) ? "" : "soft" }, el("div", { class: "cell" }, row.cells[name] ?? ""))))))));
}

function chooser(take) {
  const input = el("input", { type: "file", id: "file", onchange: () => input.files[0] && take(input.files[0], input.files[0].name) });
  const lines = el("textarea", { rows: 6, "aria-label": "Lines", placeholder: "text,label\nwhere is my parcel,shipping\n…" });
  const zone = el("div", { class: "drop" },
    el("p", {}, el("label", { for: "file" }, el("strong", {}, "Drop a file here, or choose one")), input),
    el("p", { class: "soft" }, "A table (CSV or TSV, saved from any spreadsheet), JSON Lines, JSON, CoNLL or SQuAD; also compressed. The first line of a table names its columns."),
    el("details", {}, el("summary", {}, "Paste lines instead"), lines,
      el("p", {}, el("button", { type: "button", onclick: () => lines.value.trim() && take(new Blob([lines.value]), "pasted lines") }, "Look at these lines"))));
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
  return zone;
}

// What a look has found, above the table.
function findings(answer, part, changed) {
  const { task, why } = detected(answer, changed);
  const rows = answer.rows + answer.dropped;
  const labels = answer.problem !== "regression" && answer.labels?.length
    ? `${answer.label_count} labels: ${answer.labels.slice(0, 12).map((one) => `${one.label} (${one.rows})`).join(", ")}${answer.label_count > 12 ? ", …" : ""}.` : "";
  return [
    el("p", {}, el("strong", { id: "task" }, task), el("br"), el("span", { class: "soft" }, why)),
    el("p", { class: "soft" }, `${part.whole ? `${rows.toLocaleString()} rows` : `The first ${rows.toLocaleString()} rows`} read${answer.format ? ` as ${answer.format.toUpperCase()}` : ""}. ${labels}`),
    warnings(answer.warnings.filter((w) => !["guessed_columns", "ignored_column"].includes(w.code) && (part.whole || w.code !== "few_rows"))),
  ];
}

export async function upload(main, signal) {
  const seen = el("div", { id: "look" }), said = el("div", { "aria-live": "polite" });
  const name = el("input", { maxlength: 200, required: true }), drop = el("input", { type: "checkbox", id: "drop" });
  const bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Sent" });
  const button = el("button", { class: "main" }, "Upload");
  let file = null, part = null, answer = null, picks = {}, changed = false, asked = 0;

  const header = el("input", { type: "checkbox", id: "header", checked: true });
  const names = () => (changed ? null : firstLine(answer));
  const leaveOut = () => el("p", {}, el("button", { type: "button", onclick: () => { drop.checked = true; send(); } }, "Leave them out and upload the rest"));
  const show = () => {
    fill(seen, el("section", {}, el("h2", {}, "Is this right?"), ...findings(answer, part, changed), answer.sample.length ? preview(answer, picks, pick) : null,
      names() ? el("p", {}, header, el("label", { for: "header", class: "inline" }, " The first line names the columns")) : null,
      answer.error && answer.columns ? faults(answer.error) : null));
    drop.parentElement.hidden = !(answer.error && answer.rows);
    button.disabled = !answer.columns;
  };
  const ask = async () => {
    const own = ++asked;
    try {
      const found = await look(part, name.value, changed ? picks : null);
      if (signal.aborted || own !== asked) return;
      answer = found;
      if (answer.columns) picks = { ...answer.columns };
      said.replaceChildren();
      show();
    } catch (error) {
      if (!signal.aborted && own === asked) said.replaceChildren(problem(error));
    }
  };
  const pick = (column, role) => {
    picks = Object.fromEntries(Object.entries(picks).filter(([own, of]) => of !== column && own !== role));
    if (role) picks[role] = header.checked ? names()?.[column] ?? column : column;
    changed = true;
    ask();
  };
  const take = async (chosen, title) => {
    [file, changed, picks, drop.checked] = [chosen, false, {}, false];
    name.value = title;
    sender.hidden = false;
    button.disabled = false;
    said.replaceChildren(el("p", { class: "soft" }, "reading …"));
    const own = ++asked; // what is still being read of the file before is of no use any more
    const read = await beginning(file);
    if (own !== asked) return;
    part = read;
    if (part) return ask();
    said.replaceChildren();
    fill(seen, el("p", { class: "soft" }, `${title} (${bytes(file.size)}) cannot be looked at in part. It is checked completely when it is uploaded.`));
  };
  const send = async (event) => {
    event?.preventDefault();
    button.disabled = true;
    bar.hidden = false;
    said.replaceChildren();
    try {
      const made = await api.send("/datasets", form(file, name.value, changed ? picks : null, drop.checked), (share) => {
        bar.value = share;
        if (share === 1) fill(said, el("p", { class: "soft" }, "sent; every row is checked …"));
      }, signal);
      location.hash = `#/data/${made.id}`;
    } catch (error) {
      if (answer) {
        answer.error = null; // the refusal names all its rows
        show();
      }
      fill(said, faults(error), error.details.length && /on_error=drop/.test(error.hint) ? leaveOut() : null);
      said.scrollIntoView({ block: "nearest" });
    }
    bar.hidden = true;
    button.disabled = false;
  };
  const sender = el("form", { class: "card", hidden: true, onsubmit: send }, field("Name of the data set", name),
    el("p", { hidden: true }, drop, el("label", { for: "drop", class: "inline" }, " Leave out rows that cannot be used")), el("p", { class: "row" }, button), bar);
  // A file dropped beside the zone would be opened in place of this page.
  for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault(), { signal });
  main.replaceChildren(el("h1", {}, "Bring your data"), el("section", {}, chooser(take)), seen, sender, said);
}
