// The rows that a result gets wrong, surest mistakes first: of the test rows where there are some, else of the rows it was trained with.
import * as api from "/web/api.js";
import { el, fill, number, problem, table } from "/web/dom.js";

const SHOWN = 50;

const shown = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

// What a row asks.
const asked = (row) => row.text ?? row.prompt ?? row.question ?? row.tokens ?? row.messages;

// The evaluation of the exported result on these rows; made where there is none.
async function evaluation(job, dataset) {
  const { data } = await api.get(`/evaluations?job=${job.id}&dataset=${dataset}`);
  return data.find((one) => one.step === "exported") ?? api.post(`/jobs/${job.id}/evaluate`, { dataset });
}

async function list(job, dataset) {
  const found = await evaluation(job, dataset);
  const rows = (await api.text(found.links.rows)).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const wrong = rows.filter((row) => row.correct === false).sort((a, b) => (b.loss ?? 0) - (a.loss ?? 0));
  if (!rows.some((row) => row.correct !== undefined)) wrong.push(...rows.sort((a, b) => (b.loss ?? 0) - (a.loss ?? 0))); // texts: those that cost most
  else if (!wrong.length) return el("p", {}, `None of ${rows.length} rows is wrong.`);
  return el("div", {}, el("p", {}, `${wrong.length} of ${rows.length} rows${wrong.length > SHOWN ? `; the first ${SHOWN}` : ""}, those with the largest loss first:`),
    table("Wrong rows", ["line", "text", "label", "predicted", "loss"], wrong.slice(0, SHOWN).map((row) => [row.line, el("div", { class: "cell" }, shown(asked(row))),
      shown(row.label ?? row.completion ?? row.answers ?? row.tags), shown(row.predicted), number(row.loss)])));
}

export function wrongRows(job) {
  if (job.datasets && !job.test) return null;
  const dataset = job.test?.dataset ?? job.dataset, answer = el("div", { "aria-live": "polite" });
  const button = el("button", { onclick: async () => {
    button.disabled = true;
    answer.textContent = "measuring …";
    try { fill(answer, await list(job, dataset)); } catch (error) { fill(answer, problem(error)); }
    button.disabled = false;
  } }, "Show the rows it gets wrong");
  return el("section", { id: "wrong" }, el("h2", {}, job.test ? "Test rows it gets wrong" : "Rows of its data that it gets wrong"), el("p", {}, button), answer);
}
