// One job: state, curve, samples, events, predictions, files. All of it follows the event stream.
import * as api from "/web/api.js";
import { Chart } from "/web/chart.js";
import { examples } from "/web/corrections.js";
import { evaluations, measures } from "/web/evaluations.js";
import { bytes, download, duration, el, fill, problem, short, state, table, targets, warnings, when } from "/web/dom.js";

const ended = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

function summary(job) {
  const p = job.progress;
  const facts = [
    ["task", `${job.task}, ${job.method}`], ["model", job.model], ["rows", `${job.dataset_counts?.used ?? ""} of ${job.dataset_counts?.rows ?? ""}`],
    ["labels", targets(job)], ["step", `${p.step} of ${p.total_steps}`], ["loss", short(job.metrics.loss)], ["validation loss", short(job.metrics.val_loss)],
    ["best", job.metrics.best ? `${job.metrics.best.metric} ${short(job.metrics.best.value)} at step ${job.metrics.best.step}` : ""],
    ["speed", p.tokens_per_second ? `${short(p.tokens_per_second)} tokens/s` : ""], ["left", duration(p.eta_seconds)],
    ["memory", job.plan?.peak_bytes ? bytes(job.plan.peak_bytes) : ""], ["head", job.plan?.head ?? ""], ["created", when(job.created_at)], ["ended", when(job.finished_at)],
  ];
  return [
    el("p", {}, state(job), job.queue_position ? ` · place ${job.queue_position} in the queue` : "",
      job.status_reason ? ` · ${job.status_reason.message}` : ""),
    el("progress", { max: 1, value: p.fraction, "aria-label": "progress" }),
    el("dl", { class: "grid" }, facts.filter(([, v]) => v).map(([k, v]) => el("div", {}, el("dt", { class: "soft" }, k), el("dd", {}, v)))),
    warnings(job.warnings),
  ];
}

// A search for better hyperparameters around this job's own.
function search(job) {
  return el("button", { onclick: async (event) => {
    event.target.disabled = true;
    try {
      const { id } = await api.post("/sweeps", { kind: "search", name: `search around ${job.name || job.id}`.slice(0, 200), job: job.request, warm_start: true });
      location.hash = `#/sweeps/${id}`;
    } catch (error) {
      event.target.after(problem(error));
    }
  } }, "Search better settings");
}

function actions(job, changed) {
  const act = (verb) => el("button", { onclick: async (event) => {
    event.target.disabled = true;
    try { changed(await api.post(`/jobs/${job.id}/${verb}`)); } catch (error) { event.target.after(problem(error)); }
  } }, verb);
  const buttons = [];
  if (["queued", "running"].includes(job.status)) buttons.push(act("pause"));
  if (job.status === "paused" || job.requested === "pause") buttons.push(act("resume"));
  if (!ended(job)) buttons.push(act("cancel"));
  buttons.push(el("a", { href: `#/new?from=${job.id}` }, "Submit again with changes"));
  if (job.parent_sweep) buttons.push(el("a", { href: `#/sweeps/${job.parent_sweep}` }, "Its sweep"));
  else if (ended(job)) buttons.push(search(job));
  return buttons;
}

function describe({ type, data, seq, time }) {
  const text = data.message ?? Object.entries(data).filter(([, v]) => v !== null && typeof v !== "object")
    .map(([k, v]) => `${k} ${typeof v === "number" ? short(v) : v}`).join(", ");
  return [seq, new Date(time).toLocaleTimeString(), type, text.slice(0, 400)];
}

function samplesTable(samples) {
  const lines = [...new Set(samples.map((s) => s.line))];
  return table("Samples", ["prompt", "before", "now", "reference"], lines.map((line) => {
    const own = samples.filter((s) => s.line === line);
    const first = own[0], last = own.at(-1);
    const said = (sample) => (sample.text.trim() ? sample.text : "(nothing)");
    return [first.prompt, said(first), last === first ? "" : `${said(last)} (step ${last.step})`, first.reference ?? ""].map((t) => el("pre", {}, t));
  }));
}

// The verdict on the run's fit in a sentence, and the job that would mend it.
function fitLine({ verdict, summary, advice, next, provisional }, job) {
  const go = next && ended(job) && el("button", { onclick: async (event) => {
    event.target.disabled = true;
    try {
      const { id } = await api.post(`/jobs/${job.id}/next`);
      location.hash = `#/jobs/${id}`;
    } catch (error) {
      event.target.after(problem(error));
    }
  } }, "Submit the next job");
  return el("p", { class: "row" }, el("strong", {}, `${verdict.replaceAll("_", " ")}${provisional ? " so far" : ""}`),
    ` ${summary} ${advice && verdict !== "good" ? `Next: ${advice}.` : ""} `, ...(go ? [go] : []));
}

// The newest evaluation of the validation rows.
function evaluation({ data }) {
  const own = Object.fromEntries(Object.entries(data).filter(([k]) => k.startsWith("val_")).map(([k, v]) => [k.slice(4), v]));
  return measures(`Metrics at step ${data.step}, ${data.rows} rows`, own, data.confusion, data.labels);
}

// What is typed is a text; an object or a list is JSON.
function parseInput(text) {
  if (!/^\s*[{[]/.test(text)) return text;
  try { return JSON.parse(text); } catch { return text; }
}

function predictor(job) {
  const input = el("textarea", { rows: 3, "aria-label": "Input", placeholder: job.task === "qa" ? '{"question": "…", "context": "…"}' : "Ask the trained model" });
  const answer = el("pre", { "aria-live": "polite" });
  const which = el("select", { "aria-label": "Which parameters" }, ["exported", "best", "last"].map((s) => el("option", {}, s)));
  const run = el("button", { class: "main", onclick: async () => {
    run.disabled = true;
    answer.textContent = "";
    try {
      const body = { inputs: [parseInput(input.value)], step: which.value, max_tokens: 256, stream: true };
      for await (const { event, data } of api.stream(`/jobs/${job.id}/predict`, body)) {
        if (event === "chunk") answer.textContent += data.text ?? "";
        else if (event === "error") throw new api.ApiError(500, data.error);
        else if (!answer.textContent) answer.textContent = JSON.stringify(data.data[0], null, 1);
      }
    } catch (error) {
      answer.replaceChildren(problem(error));
    }
    run.disabled = false;
  } }, "Predict");
  if (!ended(job)) which.value = "last";
  return el("section", {}, el("h2", {}, "Try it"), input, el("p", { class: "row" }, which, run), answer);
}

const fetched = async (path, name) => download(await api.blob(path), name);

async function files(job) {
  const { data } = await api.get(`/jobs/${job.id}/artifacts`);
  if (!data.length) return el("p", { class: "soft" }, "They appear when the job has succeeded.");
  return el("div", {}, table("Files", ["file", "size", "read back", "sha256"], data.map((f) => [
    el("button", { onclick: () => fetched(`/jobs/${job.id}/artifacts/${f.path.split("/").map(encodeURIComponent).join("/")}`, f.path.split("/").at(-1)) }, f.path),
    bytes(f.size), f.verified === null ? "" : f.verified ? "agrees" : "differs", f.sha256.slice(0, 16),
  ])), el("p", {}, el("button", { onclick: () => fetched(`/jobs/${job.id}/artifacts.tar`, `${job.id}.tar`) }, "Everything as one archive")));
}

export async function job(main, signal, id) {
  let now = await api.get(`/jobs/${id}`);
  const chart = new Chart();
  const top = el("div"), buttons = el("p", { class: "row" }), sampleBox = el("div"), fitBox = el("div", { id: "fit" }), fileBox = el("div"), evalBox = el("div");
  const log = el("tbody");
  const samples = [];
  const fresh = (next) => {
    now = next;
    fill(top, summary(now));
    buttons.replaceChildren(...actions(now, fresh));
  };
  const refresh = async () => fresh(await api.get(`/jobs/${id}`));
  const addEvent = (event) => {
    const row = el("tr", {}, describe(event).map((cell) => el("td", {}, String(cell))));
    log.prepend(row);
    while (log.children.length > 300) log.lastChild.remove();
    if (event.type === "eval") evalBox.replaceChildren(evaluation(event));
    if (event.type === "fit" && !ended(now)) fitBox.replaceChildren(fitLine(event.data, now));
    if (event.type === "sample") {
      samples.push(event.data);
      sampleBox.replaceChildren(samplesTable(samples));
    }
  };
  fresh(now);
  main.replaceChildren(
    el("h1", {}, now.name || now.id), el("section", {}, top, buttons),
    el("section", {}, el("h2", {}, "Loss"), chart.node),
    el("section", {}, el("h2", {}, "Evaluation"), fitBox, evalBox),
    ...(now.task === "generation" ? [el("section", {}, el("h2", {}, "Samples, before and after"), sampleBox)] : []),
    predictor(now),
    ...(ended(now) ? [evaluations(now), examples(now)] : []),
    el("section", {}, el("h2", {}, "Files"), fileBox),
    el("section", {}, el("h2", {}, "Events"), el("div", { class: "events", tabindex: 0, role: "log" }, el("table", { "aria-label": "Events" }, log))),
    el("section", {}, el("details", {}, el("summary", {}, "Hyperparameters"), table("Hyperparameters", ["name", "value", "why"],
      Object.entries(now.hyperparameters).map(([k, v]) => [k, JSON.stringify(v), now.auto?.[k] ?? ""])))),
  );
  fileBox.replaceChildren(await files(now));
  const judge = async () => fitBox.replaceChildren(fitLine(await api.get(`/jobs/${id}/fit`), now));
  if (now.metrics.val_loss !== null) await judge().catch(() => {});

  // A long series comes thinned; the stream adds what is new from there on.
  const thin = await api.get(`/jobs/${id}/metrics?points=1500`);
  thin.data.forEach((row) => chart.add(row));
  const drawn = thin.data.at(-1)?.step ?? -1;
  const told = (await api.get(`/jobs/${id}/events?type=sample&limit=500`)).data;
  const measured = (await api.get(`/jobs/${id}/events?type=eval&limit=10000`)).data.at(-1);
  if (measured) evalBox.replaceChildren(evaluation(measured));
  const from = Math.max(0, now.last_seq - 200);
  samples.push(...told.filter((event) => event.seq <= from).map((event) => event.data));
  if (samples.length) sampleBox.replaceChildren(samplesTable(samples));
  let pending = null;
  api.follow(id, from, (event) => {
    if (signal.aborted) return;
    addEvent(event);
    if (event.type === "step" && event.data.step > drawn) chart.add(event.data);
    if (event.type === "eval" && event.data.step > drawn) chart.add(event.data);
    pending ??= setTimeout(async () => {
      pending = null;
      if (signal.aborted) return;
      await refresh().catch(() => {});
      if (ended(now)) fileBox.replaceChildren(await files(now));
      if (ended(now) && now.metrics.val_loss !== null) await judge().catch(() => {});
    }, 700);
  }, signal);
}
