// The form: the essentials first, all other fields of a job behind them. What it would take is asked of the server while somebody types.
import * as api from "/web/api.js";
import { bytes, duration, el, field, fill, problem, table, targets, warnings } from "/web/dom.js";
import { choose, control, read, row } from "/web/submit_fields.js";
import { helps, presets, worded } from "/web/submit_words.js";

const FEW = 200; // rows
const PAUSE = 400; // ms without typing before the server is asked
const essentials = ["model", "dataset", "file", "validation", "test", "name"];

// What the server says that the job would take.
function cost(plan) {
  const out = plan.validation?.rows;
  return [
    el("p", { id: "cost" }, el("strong", {}, plan.fits ? "It fits. " : "It does not fit. "),
      `About ${duration(plan.seconds_estimate)} for ${plan.steps.toLocaleString()} steps over ${plan.rows.toLocaleString()} rows${out ? ` (${out.toLocaleString()} held out)` : ""}, `,
      `${bytes(plan.peak_bytes)} of memory${plan.available_bytes ? ` of ${bytes(plan.available_bytes)}` : ""}, ${plan.target_tokens.toLocaleString()} target tokens.`),
    el("p", {}, targets(plan)), warnings(plan.warnings),
    plan.alternatives?.length ? table("Alternatives", ["change", "memory"], plan.alternatives.map((a) => [JSON.stringify(a.change), bytes(a.peak_bytes)])) : null,
  ];
}

function makeFields(schemas, models, datasets, base) {
  const named = datasets.map((d) => [d.id, `${d.name} (${d.rows.toLocaleString()} rows)`]);
  const file = el("input", { type: "file", name: "file" });
  // What needs more than its schema says; hyperparameters are fields of their own.
  const special = {
    model: () => choose("model", models.map((m) => [m.name, `${m.name} (${m.family})`]), base.model ?? models[0]?.name ?? "", { required: true }),
    dataset: () => choose("dataset", [["", "a file of this computer"], ...named], base.dataset ?? named[0]?.[0]),
    validation: () => choose("validation", [["", "chosen by the number of rows"], ["0.1", "10 % of the rows"], ["0.2", "20 % of the rows"], ["none", "none"], ...named], base.validation),
    test: () => choose("test", [["", "none"], ...named], base.test),
    hyperparameters: () => null,
  };
  const help = (name, schema) => (name === "model" && !models.length ? "There is none yet: the page Data & models leads to one." : helps[name] ?? schema.description);
  const fields = Object.entries(schemas.JobRequest.properties).map(([name, schema]) => {
    const node = name in special ? special[name]() : control(name, schema, base[name], String);
    return node && row(name, node, help(name, schema));
  }).filter(Boolean);
  fields.push({ ...row("file", file, "JSONL, JSON, CSV or TSV; the page Upload shows it before it is stored."), file });
  return fields;
}

const makeKnobs = (schemas, base) => Object.entries(schemas.Hyperparameters.properties).map(([name, schema]) =>
  row(name, control(name, schema, base.hyperparameters?.[name]), schema.description));

// Puts a preset's values into the fields, and takes those of the others out.
function applyPreset(knobs, preset) {
  const all = new Set(presets.flatMap((one) => Object.keys(one.set)));
  for (const { name, node } of knobs)
    if (all.has(name)) node.value = preset.set[name] === undefined ? "" : node.tagName === "SELECT" ? JSON.stringify(preset.set[name]) : String(preset.set[name]);
}

function makeBody(fields, knobs) {
  const hyperparameters = {}, form = new FormData();
  const file = fields.find((one) => one.name === "file").node;
  for (const { name, node } of knobs)
    if (node.value.trim() !== "") hyperparameters[name] = read(node.value.trim());
  for (const { name, node } of fields)
    if (name !== "file" && node.value.trim() !== "") form.set(name, node.value.trim());
  if (!form.has("dataset") && file.files[0]) form.set("dataset", file.files[0]);
  form.set("hyperparameters", JSON.stringify(hyperparameters));
  return form;
}

// In the address: `from`, a job whose request is changed; `dataset`, what it is to train on, and `validation`, what is held out instead.
export async function submit(main, signal, query) {
  const address = new URLSearchParams(query ?? ""), from = address.get("from");
  const [spec, models, datasets, old] = await Promise.all([
    api.get("/openapi.json"), api.get("/models?limit=1000"), api.get("/datasets?limit=1000"), from ? api.get(`/jobs/${encodeURIComponent(from)}`) : null,
  ]);
  const base = { ...old?.request, ...Object.fromEntries(["dataset", "validation"].filter((name) => address.get(name)).map((name) => [name, address.get(name)])) }, { schemas } = spec.components;
  const fields = makeFields(schemas, models.data, datasets.data, base), knobs = makeKnobs(schemas, base), all = [...fields, ...knobs];
  const find = (name) => all.find((one) => one.name === name);
  const answer = el("div", { id: "plan", "aria-live": "polite" });
  const advanced = el("details", {}, el("summary", {}, "Advanced: all fields and hyperparameters"));
  let timer = null, asked = 0;

  // Errors at their fields; what has none goes below the form.
  const blame = (error, focus) => {
    const list = error.details.length ? error.details : [error], rest = [];
    for (const one of list) {
      const at = find((one.field ?? "").replace(/^hyperparameters\./, "").split(".")[0]);
      if (at) at.blame(worded(one));
      else rest.push(one);
    }
    const first = all.find((one) => one.node.hasAttribute("aria-invalid"));
    if (first && advanced.contains(first.node)) advanced.open = true;
    if (first && focus) first.node.focus();
    fill(answer, rest.length ? problem({ ...error, message: error.message, details: rest.length === 1 ? [] : rest }) : el("p", { class: "error", role: "alert" }, "Some fields need another value; each says which."));
  };
  const attempt = async (work, focus) => {
    const own = ++asked;
    try {
      const done = await work();
      if (signal.aborted || own !== asked) return;
      all.forEach((one) => one.blame());
      done();
    } catch (error) {
      if (signal.aborted || own !== asked) return;
      all.forEach((one) => one.blame());
      if (error instanceof api.ApiError) blame(error, focus);
      else fill(answer, problem(error));
    }
  };
  const dry = (focus) => attempt(async () => {
    const plan = await api.post("/jobs?dry_run=1", makeBody(fields, knobs));
    return () => {
      fill(answer, cost(plan));
      for (const { name, tell } of knobs) tell(plan.auto?.[name] === undefined ? undefined : String(plan.hyperparameters?.[name]), plan.auto?.[name]?.replace(/^[^:]*: /, ""));
      find("validation").tell(plan.validation?.rows === undefined ? undefined : `${plan.validation.rows.toLocaleString()} rows`, plan.auto?.validation?.replace(/^.*: /, ""));
    };
  }, focus);
  const send = (event) => {
    event.preventDefault();
    clearTimeout(timer);
    attempt(async () => {
      const { id } = await api.post("/jobs", makeBody(fields, knobs));
      return () => { location.hash = `#/jobs/${id}`; };
    }, true);
  };
  let chosen = Boolean(from); // whether somebody has said what is held out
  find("validation").node.addEventListener("input", () => { chosen = true; });
  const show = () => {
    const own = datasets.data.find((d) => d.id === find("dataset").node.value);
    find("file").label.hidden = find("dataset").node.value !== "";
    if (!chosen && own) find("validation").node.value = own.rows < FEW ? "0.2" : ""; // the server would hold out none of few rows
  };
  const changed = () => {
    show();
    clearTimeout(timer);
    if (find("dataset").node.value && find("model").node.value) timer = setTimeout(() => dry(false), PAUSE);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));

  const preset = el("select", {}, [...(from ? [{ name: "as before" }] : []), ...presets].map((one) =>
    el("option", { value: one.name }, one.name)));
  const meant = el("p", { class: "soft" });
  const explain = () => { meant.textContent = presets.find((one) => one.name === preset.value)?.help ?? "The hyperparameters of the job that is submitted again."; };
  preset.addEventListener("change", () => {
    const taken = presets.find((one) => one.name === preset.value);
    if (taken) applyPreset(knobs, taken);
    explain();
  });
  explain();
  const told = el("ul", { class: "soft" }, presets.map((one) => el("li", {}, `${one.name}: ${Object.keys(one.set).length ? JSON.stringify(one.set) : "nothing is set"}`)));
  const grid = (list) => el("div", { class: "grid" }, list.map((one) => one.label));
  advanced.append(grid(fields.filter((one) => !essentials.includes(one.name))), el("h2", {}, "Hyperparameters"),
    el("p", { class: "soft" }, "What is left empty has its default, or is chosen; beside each stands what it amounts to now. The presets set:"), told, grid(knobs));
  show();
  main.replaceChildren(el("h1", {}, from ? "Submit again" : "New job"), el("form", { onsubmit: send, oninput: changed, novalidate: true },
    el("section", {}, grid(essentials.map(find)), el("div", {}, field("Preset", preset), meant)),
    el("section", {}, answer, el("p", { class: "row" }, el("button", { class: "main" }, "Start"), el("button", { type: "button", onclick: () => dry(true) }, "What would it take?"))),
    el("section", {}, advanced)));
  changed();
}
