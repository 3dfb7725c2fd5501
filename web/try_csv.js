// A table in, an answer for each of its rows, and the same table with two columns more out.
import * as api from "/web/api.js";
import { el, field, fill, problem } from "/web/dom.js";

const BATCH = 256;
const LARGEST = 20_000_000; // bytes that are read in the page

const refused = (message, hint) => new api.ApiError(0, { message, hint });

// What stands most often in the first line.
function separatorOf(text) {
  const line = text.slice(0, text.search(/[\r\n]|$/));
  return [",", ";", "\t"].reduce((best, one) => (line.split(one).length > line.split(best).length ? one : best));
}

// Rows of a CSV text (RFC 4180): {raw, end, fields}; all raw and end together are the text again.
export function records(text, separator) {
  const found = [];
  let at = 0;
  while (at < text.length) {
    const begin = at, fields = [];
    for (let more = true; more;) {
      let value = "";
      if (text[at] === '"') {
        for (at++; ; at++) {
          const quote = text.indexOf('"', at);
          if (quote < 0) throw refused(`Row ${found.length + 1} begins a quoted field that has no end.`, "Close the quote, or double it where it is a part of the text.");
          value += text.slice(at, quote);
          at = quote + 1;
          if (text[at] !== '"') break;
          value += '"';
        }
      }
      const from = at;
      while (at < text.length && text[at] !== separator && text[at] !== "\n" && text[at] !== "\r") at++;
      fields.push(value + text.slice(from, at));
      more = text[at] === separator && at < text.length;
      if (more) at++;
    }
    const raw = text.slice(begin, at), end = /^(\r\n|\r|\n|)/.exec(text.slice(at, at + 2))[0];
    at += end.length;
    if (raw) found.push({ raw, end, fields });
    else if (found.length) found[found.length - 1].end += end;
  }
  return found;
}

function quoted(text, separator) {
  return text.includes(separator) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function cells(answer, separator) {
  const said = String(answer.label ?? answer.labels?.join(", ") ?? answer.value ?? answer.entities?.map((one) => `${one.text}/${one.label}`).join(", ") ?? "");
  const score = answer.probabilities?.[answer.label];
  return `${separator}${quoted(said, separator)}${separator}${score ?? ""}`;
}

async function read(file) {
  if (file.size > LARGEST) throw refused(`${file.name} has more than ${LARGEST / 1e6} MB.`, "honed predict --csv takes files of any size");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
  } catch {
    throw refused(`${file.name} is not UTF-8.`, "Save it as “CSV UTF-8”.");
  }
  const separator = separatorOf(text), rows = records(text, separator);
  if (rows.length < 2) throw refused(`${file.name} has no rows below its head.`);
  rows[0].fields[0] = rows[0].fields[0].replace(/^\uFEFF/, "");
  const wide = rows.findIndex((row) => row.fields.length > rows[0].fields.length);
  if (wide > 0) throw refused(`Row ${wide + 1} has ${rows[wide].fields.length} fields, and the head ${rows[0].fields.length}.`);
  return { separator, rows };
}

// Answers to all rows, batch by batch; what was answered when it was stopped.
async function answered(texts, ask, tell, stopped) {
  const all = [];
  while (all.length < texts.length && !stopped()) {
    const { data } = await ask({ inputs: texts.slice(all.length, all.length + BATCH) });
    all.push(...data);
    tell(all.length);
  }
  return all;
}

function table({ separator, rows }, answers) {
  const wide = rows[0].fields.length;
  return rows.slice(0, answers.length + 1).map((row, i) => row.raw + separator.repeat(wide - row.fields.length) +
    (i ? cells(answers[i - 1], separator) : `${separator}prediction${separator}score`) + (row.end || "\n")).join("");
}

// A chooser for a file, and what becomes of it.
export function csv(ask) {
  const file = el("input", { type: "file", accept: ".csv,.tsv,text/csv" }), told = el("div", { "aria-live": "polite" });
  const run = async (read, column) => {
    let stopped = false;
    const n = read.rows.length - 1, bar = el("progress", { max: n, value: 0, "aria-label": "Rows that were answered" }), count = el("span", { class: "soft" });
    fill(told, el("p", { class: "row" }, bar, count, el("button", { type: "button", onclick: () => { stopped = true; } }, "Stop")));
    try {
      const answers = await answered(read.rows.slice(1).map((row) => row.fields[column] ?? ""), ask,
        (done) => { bar.value = done; count.textContent = `${done.toLocaleString()} of ${n.toLocaleString()}`; }, () => stopped);
      const made = new Blob([table(read, answers)], { type: "text/csv" });
      fill(told, el("p", {}, el("a", { href: URL.createObjectURL(made), download: file.files[0].name.replace(/(\.\w+)?$/, ".predicted$1") }, "Download the table with its predictions"),
        ` ${answers.length.toLocaleString()} of ${n.toLocaleString()} rows`));
    } catch (error) {
      fill(told, problem(error));
    }
  };
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    try {
      const found = await read(file.files[0]), names = found.rows[0].fields;
      const column = el("select", {}, names.map((name, i) => el("option", { value: i }, name || `column ${i + 1}`)));
      const likely = names.findIndex((name) => /^(text|message|sentence|input|content)$/i.test(name));
      column.value = Math.max(likely, 0);
      fill(told, names.length > 1 ? field("Column with the texts", column) : null,
        el("button", { type: "button", onclick: () => run(found, Number(column.value)) }, `Predict ${(found.rows.length - 1).toLocaleString()} rows`));
    } catch (error) {
      fill(told, problem(error));
    }
  });
  return el("div", { id: "table" }, field("Or a table (CSV)", file), told);
}
