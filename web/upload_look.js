// What a file will be taken as, before it is stored. The server reads its beginning, so that what is shown is what will hold: no second reader of tables,
// no second list of column names.
import * as api from "/web/api.js";

const PART = 256 * 1024;          // of a file that can be read in parts
const WHOLE = 16 * 1024 * 1024;   // of one that cannot: compressed, or one JSON text

const magics = [[0x1f, 0x8b], [0x28, 0xb5, 0x2f, 0xfd], [0xfd, 0x37, 0x7a], [0x42, 0x5a, 0x68]];

// The end of the last line of a beginning that no quote is open behind.
function lineEnd(bytes) {
  let quotes = 0, end = 0;
  bytes.forEach((byte, i) => {
    if (byte === 0x22) quotes++;
    if (byte === 0x0a && quotes % 2 === 0) end = i + 1;
  });
  return end || bytes.lastIndexOf(0x0a) + 1;
}

// {blob, whole}: a beginning of the file that can be read by itself; null where there is none.
export async function beginning(file) {
  if (file.size <= PART) return { blob: file, whole: true };
  const bytes = new Uint8Array(await file.slice(0, PART).arrayBuffer());
  const packed = magics.some((magic) => magic.every((byte, i) => bytes[i] === byte));
  const first = String.fromCharCode(bytes.find((byte) => byte > 0x20 && byte < 0x80) ?? 0);
  const end = packed || first === "[" ? 0 : lineEnd(bytes);
  if (end) return { blob: file.slice(0, end), whole: false };
  return file.size <= WHOLE ? { blob: file, whole: true } : null;
}

export function form(file, name, columns, drop) {
  const made = new FormData();
  made.set("file", file, name);
  made.set("name", name);
  if (columns) made.set("columns", JSON.stringify(columns));
  if (drop) made.set("on_error", "drop");
  return made;
}

export const look = (part, name, columns) => api.post("/datasets?dry_run=1", form(part.blob, name, columns));

// What a column may be, with the names that people have for it; the first ones are what most files need.
export const roles = [
  ["text", "text"], ["label", "label"], ["prompt", "prompt"], ["completion", "completion (the answer to write)"], ["question", "question"],
  ["context", "context (where the answer stands)"], ["answers", "answers"], ["messages", "messages of a chat"], ["conversations", "messages (ShareGPT)"],
  ["system", "system message"], ["tools", "tools"], ["functions", "functions"], ["instruction", "instruction (Alpaca)"], ["input", "input (Alpaca)"], ["output", "output (Alpaca)"],
  ["tokens", "words"], ["tags", "tags of the words"], ["chosen", "preferred answer"], ["rejected", "rejected answer"],
];

const tasks = {
  classification: "Classification: a text gets a label", token_classification: "Tagging: each word gets a tag", qa: "Question answering: the answer stands in a context",
  generation: "Text generation: an answer is written",
};

// Where the first line of a table may be the names of its columns, and the server did not know them: those names by its own (col1 …), else null.
export function firstLine(answer) {
  const [row] = answer.sample;
  const cells = row ? Object.entries(row.cells) : [];
  if (!["csv", "tsv"].includes(answer.format) || !cells.length || cells.some(([name], i) => name !== `col${i + 1}`)) return null;
  const names = cells.map(([, text]) => text.trim());
  return names.every((name) => name && Number.isNaN(Number(name))) && new Set(names).size === names.length ? Object.fromEntries(cells) : null;
}

// The task in words, and why it is that one.
export function detected(answer, changed) {
  const { columns, tasks: [task], warnings } = answer;
  if (!columns || !task) return { task: "Not known yet which column is what", why: "Choose what the columns are: text and label, prompt and completion, or question, context and answers." };
  const named = Object.entries(columns).map(([role, column]) => (role === column ? `“${column}”` : `“${column}” is the ${role}`)).join(", ");
  const guessed = warnings.find((w) => w.code === "guessed_columns");
  const kind = answer.problem === "regression" ? "Regression: a text gets a number" : answer.problem === "multi_label" ? "Classification: a text gets several labels" : tasks[task] ?? task;
  return { task: kind, why: `${named}: ${changed ? "as you chose" : guessed ? "judged by the columns' usual names; choose otherwise below if it is wrong" : "by the columns' names"}.` };
}
