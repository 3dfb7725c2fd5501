// The way to a first model in three steps: a base model, data, a job. Each step is ticked when it is done.
import * as api from "/web/api.js";
import { bytes, el, field, fill, problem, table } from "/web/dom.js";
import { sampleTable } from "/web/sample.js";
import { form } from "/web/upload_look.js";

// A name that no model has yet.
function free(name, models) {
  const taken = new Set(models.map((model) => model.name));
  for (let i = 1; ; i++) {
    const own = i === 1 ? name : `${name.slice(0, 60)}-${i}`;
    if (!taken.has(own)) return own;
  }
}

// What lies in the server's folders; null where this key may not look.
async function available() {
  try {
    return (await api.get("/models/available")).data;
  } catch (error) {
    if (error.status === 403) return null;
    throw error;
  }
}

function found(list, models, attempt) {
  if (!list) return el("p", { class: "soft" }, "Only a key of scope admin takes models in: ask who runs this server.");
  if (!list.length) return el("p", { class: "soft" }, "The server's model folders hold none. Put a GGUF file or a Hugging Face folder into one that the setting model_dirs names, or upload one here.");
  const taken = new Set(models.map((model) => model.source));
  return table("Models in the server's folders", ["", "name", "format", "size", "where"], list.map((one) => [
    taken.has(one.path) ? el("span", { class: "state succeeded" }, "✓ imported") : el("button", { class: "main", onclick: (event) => {
      event.target.disabled = true;
      event.target.textContent = "importing …";
      attempt(() => api.post("/models", { name: free(one.name, models), path: one.path }));
    } }, "Import"), one.name, one.format, bytes(one.bytes), one.path]));
}

function uploader(models, attempt, signal) {
  const files = el("input", { type: "file", multiple: true, required: true }), name = el("input", { maxlength: 64, required: true, pattern: "[a-z0-9_\\-][a-z0-9._\\-]*" });
  const bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Sent" });
  files.addEventListener("change", () => {
    const [first] = files.files;
    if (first && !name.value) name.value = free(first.name.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^\.+/, "").slice(0, 64), models);
  });
  const send = (event) => {
    event.preventDefault();
    const body = new FormData();
    body.set("name", name.value);
    for (const file of files.files) body.append("file", file, file.name);
    bar.hidden = false;
    attempt(() => api.send("/models", body, (share) => { bar.value = share; }, signal));
  };
  return el("details", {}, el("summary", {}, "Upload a model"), el("form", { onsubmit: send }, el("div", { class: "grid" },
    field("A GGUF file, or all files of a Hugging Face folder", files), field("Name", name, "a to z, 0 to 9, dot, dash and underscore")), el("p", { class: "row" }, el("button", { class: "main" }, "Upload")), bar));
}

export async function start(main, signal) {
  const steps = el("div"), said = el("div", { "aria-live": "polite" });
  const load = async () => {
    const [models, datasets, list] = await Promise.all([api.get("/models?limit=1000"), api.get("/datasets?limit=1000"), available()]);
    if (signal.aborted) return;
    const step = (number, title, done, ...inside) => el("section", { class: done ? "step done" : "step", id: `step-${number}` },
      el("h2", {}, `${done ? "✓" : number} `, title), inside);
    const both = models.data.length && datasets.data.length;
    fill(steps,
      step(1, "Get a model", models.data.length, models.data.length ? el("p", {}, `Here: ${models.data.map((m) => m.name).join(", ")}.`) : null,
        el("p", { class: "soft" }, "The base that is trained further: one that writes text, or an encoder (BERT and its like) for labels, tags and answers in a text."),
        found(list, models.data, attempt), list ? uploader(models.data, attempt, signal) : null),
      step(2, "Bring your data", datasets.data.length,
        datasets.data.length ? el("p", {}, "Here: ", datasets.data.slice(0, 5).flatMap((d, i) => [i ? ", " : "", el("a", { href: `#/data/${d.id}` }, d.name)]), datasets.data.length > 5 ? ", …" : ".")
          : el("p", { class: "soft" }, "A table of texts with their labels, or of questions and answers, as a spreadsheet saves it; or JSON Lines."),
        el("p", { class: "row" }, el("a", { class: "button main", href: "#/upload" }, "Upload a file"), el("button", { onclick: sample }, "Take a sample to try"))),
      step(3, "Train", false, both ? el("p", {}, el("a", { class: "button main", href: "#/new" }, "Choose and start")) : el("p", { class: "soft" }, "As soon as there is a model and data.")));
  };
  const attempt = async (work) => {
    said.replaceChildren();
    try { await work(); } catch (error) { if (!signal.aborted) said.replaceChildren(problem(error)); }
    await load().catch((error) => said.replaceChildren(problem(error)));
  };
  const sample = () => attempt(async () => {
    const made = await api.post("/datasets", form(new Blob([sampleTable()]), "sample tickets.csv", { text: "message", label: "category" }));
    location.hash = `#/data/${made.id}`;
  });
  await load();
  if (!signal.aborted) main.replaceChildren(el("h1", {}, "Three steps to a model of your own"), said, steps);
}
