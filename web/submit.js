// The form: fields of the job, and every hyperparameter as the server's own schema describes it.
import * as api from "/web/api.js";
import { bytes, duration, el, field, problem, table } from "/web/dom.js";

const common = ["epochs", "batch_size", "learning_rate", "max_length", "lora_rank", "lora_alpha", "seed", "eval_every"];

function control(name, schema, value) {
  const shown = value ?? "";
  if (schema.enum) {
    return el("select", { name }, el("option", { value: "" }, `default (${schema.default})`),
      schema.enum.map((v) => el("option", { value: JSON.stringify(v), selected: v === value }, v)));
  }
  if (schema.type === "boolean") {
    return el("select", { name }, el("option", { value: "" }, `default (${schema.default})`),
      [true, false].map((v) => el("option", { value: String(v), selected: v === value }, String(v))));
  }
  return el("input", { name, value: typeof shown === "object" ? JSON.stringify(shown) : shown, placeholder: `default: ${schema.default ?? "none"}`,
    inputmode: String(schema.type).includes("string") ? "text" : "decimal" });
}

const shown = ["model", "dataset", "validation", "method", "name", "hyperparameters"];

function read(text) {
  try { return JSON.parse(text); } catch { return text; }
}

export async function submit(main, signal, from) {
  const [spec, models, datasets, old] = await Promise.all([
    api.get("/openapi.json"), api.get("/models?limit=1000"), api.get("/datasets?limit=1000"), from ? api.get(`/jobs/${from}`) : null,
  ]);
  const base = old?.request ?? {};
  const schema = spec.components.schemas.Hyperparameters.properties;
  const answer = el("div", { "aria-live": "polite" });
  const model = el("select", { name: "model", required: true }, models.data.map((m) => el("option", { value: m.name, selected: m.name === base.model }, m.name)));
  const dataset = el("select", { name: "dataset" }, el("option", { value: "" }, "upload a file"),
    Array.isArray(base.dataset) ? el("option", { value: JSON.stringify(base.dataset), selected: true }, `the ${base.dataset.length} of before`) : null,
    datasets.data.map((d) => el("option", { value: d.id, selected: d.id === base.dataset }, `${d.name} (${d.rows} rows)`)));
  const file = el("input", { type: "file", name: "file" });
  const validation = el("input", { name: "validation", placeholder: "auto, none, 0.1 or ds_…", value: typeof base.validation === "object" ? JSON.stringify(base.validation) : base.validation ?? "" });
  const method = el("select", { name: "method" }, ["", "lora", "full", "head"].map((m) => el("option", { value: m, selected: m === base.method }, m || "default")));
  const name = el("input", { name: "name", maxlength: 200, value: base.name ?? "" });
  const knobs = Object.entries(schema).map(([key, s]) => [key, field(key, control(key, s, base.hyperparameters?.[key]), s.description)]);

  const body = () => {
    const hyperparameters = {};
    for (const [key, node] of knobs) {
      const value = node.querySelector("input,select").value.trim();
      if (value !== "") hyperparameters[key] = read(value);
    }
    const form = new FormData();
    for (const [key, value] of Object.entries(base)) // what this page does not show stays as it was
      if (!shown.includes(key) && value !== null) form.set(key, typeof value === "string" ? value : JSON.stringify(value));
    form.set("model", model.value);
    if (dataset.value) form.set("dataset", dataset.value);
    else if (file.files[0]) form.set("dataset", file.files[0]);
    if (validation.value.trim()) form.set("validation", validation.value.trim());
    if (method.value) form.set("method", method.value);
    if (name.value.trim()) form.set("name", name.value.trim());
    form.set("hyperparameters", JSON.stringify(hyperparameters));
    return form;
  };
  const attempt = async (work) => {
    answer.replaceChildren(el("p", { class: "soft" }, "working …"));
    try { await work(); } catch (error) { answer.replaceChildren(problem(error)); }
  };
  const dry = () => attempt(async () => {
    const plan = await api.post("/jobs?dry_run=1", body());
    answer.replaceChildren(el("p", {}, plan.fits ? "It fits. " : "It does not fit. ",
      `${plan.steps} steps over ${plan.rows} rows, ${plan.target_tokens} target tokens, ${bytes(plan.peak_bytes)} of memory, about ${duration(plan.seconds_estimate)}.`),
      el("ul", {}, (plan.warnings ?? []).map((w) => el("li", {}, w.message))),
      plan.alternatives?.length ? table("Alternatives", ["change", "memory"], plan.alternatives.map((a) => [JSON.stringify(a.change), bytes(a.peak_bytes)])) : null);
  });
  const send = (event) => {
    event.preventDefault();
    attempt(async () => { location.hash = `#/jobs/${(await api.post("/jobs", body())).id}`; });
  };
  main.replaceChildren(el("h1", {}, from ? "Submit again" : "New job"), el("form", { onsubmit: send },
    el("section", {}, el("div", { class: "grid" }, field("model", model, models.data.length ? "" : "none yet: honed model import NAME PATH"),
      field("data set", dataset), field("file", file, "JSONL, JSON, CSV or TSV"), field("validation", validation), field("method", method), field("name", name))),
    el("section", {}, el("h2", {}, "Hyperparameters"), el("div", { class: "grid" }, knobs.filter(([k]) => common.includes(k)).map(([, n]) => n)),
      el("details", {}, el("summary", {}, "All others"), el("div", { class: "grid" }, knobs.filter(([k]) => !common.includes(k)).map(([, n]) => n)))),
    el("p", { class: "row" }, el("button", { class: "main" }, "Start"), el("button", { type: "button", onclick: dry }, "What would it take?")), answer));
}
