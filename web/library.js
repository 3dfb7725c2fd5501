// Data sets and base models.
import * as api from "/web/api.js";
import { ago, bytes, el, problem, table, targets, warnings } from "/web/dom.js";

export async function library(main, signal) {
  const [models, datasets] = await Promise.all([api.get("/models?limit=1000"), api.get("/datasets?limit=1000")]);
  if (signal.aborted) return;
  const again = () => library(main, signal);
  const answer = el("div", { "aria-live": "polite" });
  const attempt = async (work) => {
    try { await work(); await again(); } catch (error) { answer.replaceChildren(problem(error)); }
  };
  const drop = (path) => el("button", { onclick: () => attempt(() => api.remove(path)) }, "delete");
  main.replaceChildren(el("h1", {}, "Data & models"),
    el("section", {}, el("h2", {}, "Data sets"), table("Data sets", ["name", "id", "rows", "format", "tasks", "labels", "size", "dropped", "warnings", "created", ""],
      datasets.data.map((d) => [el("a", { href: `#/data/${d.id}` }, d.name), d.id, d.rows, d.format, d.tasks.join(", "), targets(d), bytes(d.bytes), d.dropped, warnings(d.warnings.filter((w) => !["ignored_column", "guessed_columns"].includes(w.code))), ago(d.created_at), drop(`/datasets/${d.id}`)])),
    el("p", {}, el("a", { class: "button main", href: "#/upload" }, "Upload a data set")), answer),
    el("section", {}, el("h2", {}, "Base models"), table("Models", ["name", "family", "format", "parameters", "context", "size", ""],
      models.data.map((m) => [m.name, m.family, `${m.format}${m.quantisation ? ` ${m.quantisation}` : ""}`, m.parameters.toLocaleString(), m.context, bytes(m.bytes), drop(`/models/${m.name}`)])),
    el("p", {}, el("a", { href: "#/start" }, "Get a model"))));
}
