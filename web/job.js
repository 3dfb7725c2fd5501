// One job: state, result, curves, samples, events, files. All of it follows the event stream; what is there once a job has ended comes when it ends.
import * as api from "/web/api.js";
import { examples } from "/web/corrections.js";
import { Curves } from "/web/curves.js";
import { evaluations, measures } from "/web/evaluations.js";
import { actions, ended, fitLine } from "/web/job_actions.js";
import { headline, phase } from "/web/job_headline.js";
import { predictor } from "/web/job_try.js";
import { use } from "/web/job_use.js";
import { wrongRows } from "/web/job_wrong.js";
import { ago, bytes, download, duration, el, fill, number, problem, short, state, table, targets, verdict, warnings } from "/web/dom.js";

// Where it stands, in a line or two.
function standing(job) {
  const p = job.progress;
  return [
    el("p", {}, state(job), ended(job) && job.fit ? [" · ", verdict(job.fit)] : "", job.queue_position ? ` · place ${job.queue_position} in the queue` : "",
      job.status_reason ? ` · ${job.status_reason.message}` : ""),
    ended(job) ? null : [el("progress", { max: 1, value: p.fraction, "aria-label": "progress" }),
      el("p", { class: "soft" }, `${Math.floor(100 * p.fraction)} %`, p.eta_seconds === null ? "" : ` · about ${duration(p.eta_seconds)} left`)],
  ];
}

function facts(job) {
  const p = job.progress, { best } = job.metrics;
  const list = [
    ["task", `${job.task}, ${job.method}`], ["model", job.model], ["rows", `${job.dataset_counts?.used ?? ""} of ${job.dataset_counts?.rows ?? ""}`],
    ["labels", targets(job)], ["step", `${p.step} of ${p.total_steps}`], ["loss", number(job.metrics.loss)], ["validation loss", number(job.metrics.val_loss)],
    ["best", best ? [`${best.metric.replaceAll("_", " ")} `, number(best.value), ` at step ${best.step}`] : ""],
    ["speed", p.tokens_per_second ? [number(p.tokens_per_second), " tokens/s"] : ""],
    ["memory", job.plan?.peak_bytes ? bytes(job.plan.peak_bytes) : ""], ["head", job.plan?.head ?? ""], ["created", ago(job.created_at)], ["ended", ago(job.finished_at)],
  ];
  return [el("dl", { class: "grid facts" }, list.filter(([, v]) => v).map(([k, v]) => el("div", {}, el("dt", { class: "soft" }, k), el("dd", {}, v)))), warnings(job.warnings)];
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

// The newest evaluation of the validation rows.
function evaluation({ data }) {
  const own = Object.fromEntries(Object.entries(data).filter(([k]) => k.startsWith("val_")).map(([k, v]) => [k.slice(4), v]));
  return measures(`Metrics at step ${data.step}, ${data.rows} rows`, own, data.confusion, data.labels);
}

// What is marked on the curves. Of an event, and of the job as it is.
const mark = ({ type, data }) => ({ kind: type, step: data.step ?? data.from_step ?? 0, text: type === "resumed" ? `resumed from step ${data.from_step}` : `warning: ${data.message}` });

function marks(job, checkpoints, told) {
  const { best } = job.metrics;
  return [best ? { kind: "best", step: best.step, text: `best ${best.metric.replaceAll("_", " ")}, step ${best.step}` } : null,
    job.exported_step === null ? null : { kind: "exported", step: job.exported_step, text: `exported, step ${job.exported_step}` },
    ...checkpoints.map(({ step }) => ({ kind: "checkpoint", step, text: `checkpoint, step ${step}` })), ...told].filter(Boolean);
}

const fetched = async (path, name) => download(await api.blob(path), name);

function files(job, data) {
  if (!data.length) return el("p", { class: "soft" }, "They appear when the job has succeeded.");
  return el("div", {}, table("Files", ["file", "size", "read back", "sha256"], data.map((f) => [
    el("button", { onclick: () => fetched(`/jobs/${job.id}/artifacts/${f.path.split("/").map(encodeURIComponent).join("/")}`, f.path.split("/").at(-1)) }, f.path),
    bytes(f.size), f.verified === null ? "" : f.verified ? "agrees" : "differs", f.sha256.slice(0, 16),
  ])), el("p", {}, el("button", { onclick: () => fetched(`/jobs/${job.id}/artifacts.tar`, `${job.id}.tar`) }, "Everything as one archive")));
}

// Everything that is there once a job has ended: the result first.
async function finish(job, evals, boxes) {
  const { data } = await api.get(`/jobs/${job.id}/artifacts?limit=1000`);
  const done = job.status === "succeeded";
  fill(boxes.result, done ? [el("section", { class: "result" }, el("h2", {}, "The result"), headline(job, evals), boxes.fit), use(job, data), predictor(job, true), wrongRows(job)] : null);
  fill(boxes.after, evaluations(job), examples(job));
  fill(boxes.files, files(job, data));
}

export async function job(main, signal, id) {
  let now = await api.get(`/jobs/${id}`);
  const curves = new Curves(id);
  const top = el("div"), about = el("section", { id: "facts" }), buttons = el("p", { class: "row" }), sampleBox = el("div"), evalBox = el("div"), doing = el("p", { id: "phase", "aria-live": "polite" });
  const boxes = { result: el("div", { id: "result" }), fit: el("div", { id: "fit" }), after: el("div"), files: el("div", {}, el("p", { class: "soft" }, "They appear when the job has succeeded.")) };
  const log = el("tbody");
  const samples = [], evals = [], told = []; // told: marks of events
  let kept = [];
  let finished = false;
  const fresh = (next) => {
    now = next;
    fill(top, standing(now));
    fill(about, facts(now));
    buttons.replaceChildren(...actions(now, fresh));
    doing.hidden = now.status !== "running";
    curves.plan({ total: now.progress.total_steps, left: now.progress.eta_seconds, marks: marks(now, kept, told) });
  };
  const judge = async () => fill(boxes.fit, fitLine(await api.get(`/jobs/${id}/fit`), now));
  const end = async () => {
    if (finished || !ended(now)) return;
    finished = true;
    await finish(now, evals, boxes);
    if (now.metrics.val_loss !== null) await judge().catch(() => {});
  };
  const addEvent = (event) => {
    const row = el("tr", {}, describe(event).map((cell) => el("td", {}, String(cell))));
    log.prepend(row);
    while (log.children.length > 300) log.lastChild.remove();
    doing.textContent = phase(event.type) ? `${phase(event.type)} …` : doing.textContent;
    if (event.type === "eval") {
      if (evals.at(-1)?.step !== event.data.step) evals.push(event.data);
      evalBox.replaceChildren(evaluation(event));
    }
    if (event.type === "fit" && !ended(now)) fill(boxes.fit, fitLine(event.data, now));
    if (event.type === "sample") {
      samples.push(event.data);
      sampleBox.replaceChildren(samplesTable(samples));
    }
  };
  fresh(now);
  main.replaceChildren(
    el("h1", {}, now.name || now.id), el("section", {}, doing, top, buttons), boxes.result, about,
    el("section", { id: "curves" }, el("h2", {}, "Curves"), curves.node),
    el("section", {}, el("h2", {}, "Evaluation"), ended(now) ? null : boxes.fit, evalBox),
    ...(now.task === "generation" ? [el("section", {}, el("h2", {}, "Samples, before and after"), sampleBox)] : []),
    boxes.after,
    el("section", {}, el("h2", {}, "Files"), boxes.files),
    el("section", {}, el("h2", {}, "Events"), el("div", { class: "events", tabindex: 0, role: "log" }, el("table", { "aria-label": "Events" }, log))),
    el("section", {}, el("details", {}, el("summary", {}, "Hyperparameters"), table("Hyperparameters", ["name", "value", "why"],
      Object.entries(now.hyperparameters).map(([k, v]) => [k, JSON.stringify(v), now.auto?.[k] ?? ""])))),
  );

  // A long series comes thinned; the stream adds what is new from there on.
  const events = async (type, limit) => (await api.get(`/jobs/${id}/events?type=${type}&limit=${limit}`)).data;
  const [drawn, spoken, measured, warned, resumed, stored] = await Promise.all([curves.load(), events("sample", 500), events("eval", 10000), events("warning", 100), events("resumed", 100),
    api.get(`/jobs/${id}/checkpoints`)]);
  if (signal.aborted) return;
  told.push(...[...warned, ...resumed].map(mark));
  kept = stored.data;
  fresh(now);
  evals.push(...measured.map((event) => event.data));
  if (evals.length) evalBox.replaceChildren(evaluation(measured.at(-1)));
  const from = Math.max(0, now.last_seq - 200);
  samples.push(...spoken.filter((event) => event.seq <= from).map((event) => event.data));
  if (samples.length) sampleBox.replaceChildren(samplesTable(samples));
  await end();
  if (!ended(now) && now.metrics.val_loss !== null) await judge().catch(() => {});

  // Asked again until it is answered, so that a server that restarts meanwhile is no end.
  let pending = null;
  const refresh = async () => {
    pending = null;
    if (signal.aborted) return;
    try {
      fresh(await api.get(`/jobs/${id}`));
      await end();
    } catch {
      later(2000);
    }
  };
  const later = (wait) => { pending ??= setTimeout(refresh, wait); };
  signal.addEventListener("abort", () => clearTimeout(pending));
  api.follow(id, from, (event) => {
    if (signal.aborted) return;
    addEvent(event);
    if (["step", "eval"].includes(event.type) && event.data.step > drawn) curves.add({ ...event.data, time: event.time });
    if (["warning", "resumed"].includes(event.type) && event.seq > now.last_seq) told.push(mark(event));
    if (event.type === "checkpoint") kept = [...kept, event.data].slice(-20);
    later(700);
  }, signal);
}
