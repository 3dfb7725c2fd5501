// Evaluations of a job's result on any data set: those that are kept, and a form for another one.
import * as api from "/web/api.js";
import { download, el, field, number, problem, scroll, table, when } from "/web/dom.js";

// How often each label was taken for which; the darker, the larger the share of its row.
function confusionTable(confusion, labels) {
  const cell = (n, row, own) => {
    const of = row.reduce((sum, one) => sum + one, 0);
    const made = el("td", { class: `heat${own ? " own" : ""}`, title: of ? `${(100 * n / of).toFixed(1)} % of the row` : null }, String(n));
    made.style.setProperty("--heat", of ? n / of : 0);
    return made;
  };
  return scroll("Confusion matrix", el("table", { "aria-label": "Confusion matrix" },
    el("thead", {}, el("tr", {}, ["true \\ predicted", ...labels].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, confusion.map((row, i) => el("tr", {}, el("td", {}, labels[i]), row.map((n, k) => cell(n, row, i === k)))))));
}

// Metrics by name, and for labels how often each was taken for which.
export function measures(title, metrics, confusion, labels) {
  const rows = Object.entries(metrics).map(([k, v]) => [k.replaceAll("_", " "), number(v)]);
  const parts = [table(title, ["metric", "value"], rows)];
  if (confusion && labels.length <= 20)
    parts.push(confusionTable(confusion, labels));
  return el("div", { class: "row" }, parts);
}

const called = (step) => (typeof step === "number" ? `step ${step}` : step);

function one(found, names, attempt) {
  const title = `${names.get(found.dataset) ?? found.dataset}, ${found.rows} rows${found.answered ? ` (${found.answered} answered)` : ""}, ${called(found.step)}, ${when(found.created_at)}`;
  return el("details", {}, el("summary", {}, title), measures(title, found.metrics, found.confusion, found.labels),
    el("p", { class: "row" },
      el("button", { onclick: () => attempt(async () => download(await api.blob(found.links.rows), `${found.id}.jsonl`)) }, "Every row"),
      el("button", { onclick: () => attempt(() => api.remove(`/evaluations/${found.id}`)) }, "Forget")));
}

export function evaluations(job) {
  const kept = el("div"), said = el("div", { "aria-live": "polite" });
  const which = el("select"), step = el("select"), write = job.task === "generation" ? el("input", { type: "checkbox" }) : null;
  const names = new Map();
  const show = async () => {
    const own = (await api.get(`/evaluations?job=${job.id}`)).data;
    kept.replaceChildren(...own.map((e) => one(e, names, attempt)));
    kept.firstElementChild?.setAttribute("open", "");
  };
  const attempt = async (work) => {
    said.textContent = "";
    try {
      await work();
      await show();
    } catch (error) {
      said.replaceChildren(problem(error));
    }
  };
  const run = el("button", { class: "main", onclick: async () => {
    run.disabled = true;
    await attempt(async () => {
      said.textContent = "measuring …";
      const body = { dataset: which.value, step: JSON.parse(step.value) };
      await api.post(`/jobs/${job.id}/evaluate`, write?.checked ? { ...body, generate: true } : body);
      said.textContent = "";
    });
    run.disabled = false;
  } }, "Evaluate");
  attempt(async () => {
    const [datasets, checkpoints] = await Promise.all([api.get("/datasets?limit=1000"), api.get(`/jobs/${job.id}/checkpoints`)]);
    for (const data of datasets.data) {
      names.set(data.id, data.name || data.id);
      which.append(el("option", { value: data.id }, `${data.name || data.id}, ${data.rows} rows`));
    }
    for (const s of ["exported", "best", "last", ...checkpoints.data.map((c) => c.step)])
      step.append(el("option", { value: JSON.stringify(s) }, called(s)));
  });
  return el("section", { id: "evaluations" }, el("h2", {}, "On other rows"), el("p", { class: "row" }, field("data set", which), field("parameters", step),
    write && field("write answers", write), run), said, kept);
}
