// Evaluations of a job's result on any data set: those that are kept, and a form for another one.
import * as api from "/web/api.js";
import { download, el, problem, short, table, when } from "/web/dom.js";

// Metrics by name, and for labels how often each was taken for which.
export function measures(title, metrics, confusion, labels) {
  const rows = Object.entries(metrics).map(([k, v]) => [k.replaceAll("_", " "), short(v)]);
  const parts = [table(title, ["metric", "value"], rows)];
  if (confusion && labels.length <= 20)
    parts.push(table("Confusion matrix", ["true \\ predicted", ...labels], confusion.map((row, i) => [labels[i], ...row])));
  return el("div", { class: "row" }, parts);
}

function one(found, names, changed) {
  const title = `${names.get(found.dataset) ?? found.dataset}, ${found.rows} rows, step ${found.step ?? "exported"}, ${when(found.created_at)}`;
  return el("details", {}, el("summary", {}, title), measures(title, found.metrics, found.confusion, found.labels),
    el("p", { class: "row" },
      el("button", { onclick: async () => download(await api.blob(`/evaluations/${found.id}/rows`), `${found.id}.jsonl`) }, "Every row"),
      el("button", { onclick: async () => { await api.remove(`/evaluations/${found.id}`); changed(); } }, "Forget")));
}

export function evaluations(job) {
  const kept = el("div"), which = el("select", { "aria-label": "Data set" }), said = el("div", { "aria-live": "polite" });
  const names = new Map();
  const show = async () => {
    const own = (await api.get("/evaluations")).data.filter((e) => e.job === job.id);
    kept.replaceChildren(...own.map((e) => one(e, names, show)));
    kept.firstElementChild?.setAttribute("open", "");
  };
  const run = el("button", { class: "main", onclick: async () => {
    run.disabled = true;
    said.textContent = "measuring …";
    try {
      await api.post(`/jobs/${job.id}/evaluate`, { dataset: which.value });
      said.textContent = "";
      await show();
    } catch (error) {
      said.replaceChildren(problem(error));
    }
    run.disabled = false;
  } }, "Evaluate");
  (async () => {
    for (const data of (await api.get("/datasets?limit=100")).data) {
      names.set(data.id, data.name || data.id);
      which.append(el("option", { value: data.id }, `${data.name || data.id}, ${data.rows} rows`));
    }
    await show();
  })().catch((error) => said.replaceChildren(problem(error)));
  return el("section", {}, el("h2", {}, "On other rows"), el("p", { class: "row" }, which, run), said, kept);
}
