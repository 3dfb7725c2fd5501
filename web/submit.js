// The form: the job's fields and the hyperparameters as the server's own schema describes them.
import * as api from "/web/api.js";
import { bytes, duration, el, field, fill, problem, table, targets, warnings } from "/web/dom.js";

const common = ["epochs", "batch_size", "learning_rate", "max_length", "lora_rank", "lora_alpha", "seed", "eval_every"];
const first = ["model", "dataset", "file", "validation", "method", "name"];

const standard = (schema) => (schema.default === undefined || schema.default === null ? "default" : `default (${schema.default})`);

function control(name, schema, value, write = JSON.stringify) {
  const shown = value ?? "";
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices)
    return el("select", { name }, el("option", { value: "" }, standard(schema)),
      choices.map((v) => el("option", { value: write(v), selected: v === value }, String(v))));
  return el("input", { name, value: typeof shown === "object" ? JSON.stringify(shown) : shown, maxlength: schema.maxLength,
    placeholder: schema.default === undefined ? "" : `default: ${schema.default ?? "none"}`,
    inputmode: ["integer", "number"].includes([schema.type].flat()[0]) && ![schema.type].flat().includes("string") ? "decimal" : "text" });
}

function read(text) {
  try { return JSON.parse(text); } catch { return text; }
}

// `from`: a job whose request is changed; `dataset`: what it is to train on instead.
export async function submit(main, signal, from, dataset) {
  const [spec, models, datasets, old] = await Promise.all([
    api.get("/openapi.json"), api.get("/models?limit=1000"), api.get("/datasets?limit=1000"), from ? api.get(`/jobs/${from}`) : null,
  ]);
  const base = { ...old?.request, ...(dataset ? { dataset } : {}) };
  const schemas = spec.components.schemas;
  const answer = el("div", { "aria-live": "polite" });
  const file = el("input", { type: "file", name: "file" });
  // What needs more than its schema says; hyperparameters are fields of their own.
  const special = {
    model: () => el("select", { name: "model", required: true }, models.data.map((m) => el("option", { value: m.name, selected: m.name === base.model }, m.name))),
    dataset: () => el("select", { name: "dataset" }, el("option", { value: "" }, "upload a file"),
      Array.isArray(base.dataset) ? el("option", { value: JSON.stringify(base.dataset), selected: true }, `the ${base.dataset.length} of before`) : null,
      datasets.data.map((d) => el("option", { value: d.id, selected: d.id === base.dataset }, `${d.name} (${d.rows} rows)`))),
    hyperparameters: () => null,
  };
  const help = (name, schema) => (name === "model" && !models.data.length ? "none yet: honed model import NAME PATH" : schema.description);
  const fields = Object.entries(schemas.JobRequest.properties).map(([name, schema]) => {
    const node = name in special ? special[name]() : control(name, schema, base[name], String);
    return node && { name, node, label: field(name, node, help(name, schema)) };
  }).filter(Boolean);
  fields.push({ name: "file", label: field("file", file, "JSONL, JSON, CSV or TSV") });
  const knobs = Object.entries(schemas.Hyperparameters.properties).map(([name, schema]) => {
    const node = control(name, schema, base.hyperparameters?.[name]);
    return { name, node, label: field(name, node, schema.description) };
  });
  const labels = (list, names) => names.map((name) => list.find((f) => f.name === name)?.label).filter(Boolean);
  const others = (list, names) => list.filter((f) => !names.includes(f.name)).map((f) => f.label);

  const body = () => {
    const hyperparameters = {};
    for (const { name, node } of knobs)
      if (node.value.trim() !== "") hyperparameters[name] = read(node.value.trim());
    const form = new FormData();
    for (const { name, node } of fields)
      if (node && node.value.trim() !== "") form.set(name, node.value.trim());
    if (!form.has("dataset") && file.files[0]) form.set("dataset", file.files[0]);
    form.set("hyperparameters", JSON.stringify(hyperparameters));
    return form;
  };
  const attempt = async (work) => {
    answer.replaceChildren(el("p", { class: "soft" }, "working …"));
    try { await work(); } catch (error) { answer.replaceChildren(problem(error)); }
  };
  const dry = () => attempt(async () => {
    const plan = await api.post("/jobs?dry_run=1", body());
    fill(answer, el("p", {}, plan.fits ? "It fits. " : "It does not fit. ",
      `${plan.steps} steps over ${plan.rows} rows, ${plan.target_tokens} target tokens, ${bytes(plan.peak_bytes)} of memory, about ${duration(plan.seconds_estimate)}.`),
      el("p", {}, targets(plan)), warnings(plan.warnings),
      plan.alternatives?.length ? table("Alternatives", ["change", "memory"], plan.alternatives.map((a) => [JSON.stringify(a.change), bytes(a.peak_bytes)])) : null);
  });
  const send = (event) => {
    event.preventDefault();
    attempt(async () => { location.hash = `#/jobs/${(await api.post("/jobs", body())).id}`; });
  };
  const grid = (nodes) => el("div", { class: "grid" }, nodes);
  const more = (nodes) => el("details", {}, el("summary", {}, "All others"), grid(nodes));
  main.replaceChildren(el("h1", {}, from ? "Submit again" : "New job"), el("form", { onsubmit: send },
    el("section", {}, grid(labels(fields, first)), more(others(fields, first))),
    el("section", {}, el("h2", {}, "Hyperparameters"), grid(labels(knobs, common)), more(others(knobs, common))),
    el("p", { class: "row" }, el("button", { class: "main" }, "Start"), el("button", { type: "button", onclick: dry }, "What would it take?")), answer));
}
