// Sweeps: the list, and one with its trials, how the best came about, and each setting against the result.
import * as api from "/web/api.js";
import { suspects } from "/web/corrections.js";
import { bars, duration, el, fill, problem, scroll, short, state, table, warnings, when } from "/web/dom.js";
import { parallel } from "/web/parallel.js";
import { plot } from "/web/plot.js";

const ended = (sweep) => ["succeeded", "failed", "cancelled"].includes(sweep.status);
const shown = (value) => (typeof value === "number" ? short(value) : typeof value === "string" ? value : JSON.stringify(value));
const settings = (trial) => trial.name ?? (Object.entries(trial.settings).map(([k, v]) => `${k} ${shown(v)}`).join(", ") || "as it was sent");

export async function sweeps(main, signal) {
  const list = el("div");
  const row = (s) => [el("a", { href: `#/sweeps/${s.id}` }, s.name || s.id), s.kind, state(s), `${s.progress.finished} of ${s.progress.trials}`,
    s.best ? `${s.best.metric} ${short(s.best.value)}` : "", s.progress.eta_seconds === null ? "" : `${duration(s.progress.eta_seconds)} left`, when(s.created_at)];
  async function load() {
    const { data } = await api.get("/sweeps?limit=100");
    if (signal.aborted) return;
    list.replaceChildren(data.length ? table("Sweeps", ["sweep", "kind", "status", "trials", "best", "", "created"], data.map(row))
      : el("p", {}, "No sweeps yet: open a job and choose “Search better settings”, or ", el("a", { href: "/manual/sweeps" }, "read how to send one"), "."));
  }
  await load();
  main.replaceChildren(el("h1", {}, "Sweeps"), el("section", {}, list));
  const timer = setInterval(() => load().catch(() => {}), 3000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function summary(s) {
  const p = s.progress, gain = s.best?.gain_over_auto;
  const facts = [["kind", s.kind], ["trials", [`${p.finished} of ${p.trials} ended`, p.running && `${p.running} running`, p.paused && `${p.paused} waiting`,
      p.cancelled && `${p.cancelled} not trained to their end`, p.failed && `${p.failed} failed`].filter(Boolean).join(", ")],
    ["best", s.best ? `${s.best.metric} ${short(s.best.value)} (trial ${s.best.number})` : ""],
    ["gain over the job as it was", gain ? `${short(gain.value)}, 95 % from ${short(gain.interval[0])} to ${short(gain.interval[1])}, p ${short(gain.p)}` : ""],
    ["steps", short(p.steps)], ["training time", duration(p.seconds)], ["left", p.eta_seconds === null ? "" : duration(p.eta_seconds)],
    ["not tokenised again", s.saved ? `${s.saved.tokenised_rows} rows` : ""], ["created", when(s.created_at)], ["ended", when(s.finished_at)]];
  return [el("p", {}, state(s), s.status_reason ? ` · ${s.status_reason.message}` : ""),
    el("progress", { max: p.trials, value: p.finished, "aria-label": "progress" }), s.summary ? el("p", {}, s.summary) : null,
    el("dl", { class: "grid" }, facts.filter(([, v]) => v).map(([k, v]) => el("div", {}, el("dt", { class: "soft" }, k), el("dd", {}, v)))), warnings(s.warnings)];
}

// The winner's settings on all rows, none held out, or on a share: the form has both.
function winner({ best }) {
  if (!best) return [];
  return [el("a", { class: "button main", href: `#/new?from=${best.job}&validation=none` }, "Train the winner's settings on all data"), el("a", { class: "button", href: `#/new?from=${best.job}&validation=0.1` }, "… with 10 % held out")];
}

// What mattered, and how the settings go together.
function together(sweep, list) {
  const shares = Object.entries(sweep.importance ?? {}).filter(([, share]) => typeof share === "number").sort((a, b) => b[1] - a[1]);
  const names = [...new Set(list.flatMap((t) => Object.keys(t.settings)))].filter((name) => list.every((t) => typeof t.settings[name] !== "object" || t.settings[name] === null));
  const lines = parallel(list.map((t) => ({ settings: t.settings, value: t.value, best: t.job === sweep.best?.job, label: `trial ${t.number}: ${settings(t)}, ${short(t.value)}` })),
    names.map((name) => ({ name, log: sweep.plan.axes?.find((a) => a.name === name)?.log })), sweep.plan.metric, sweep.plan.smaller);
  const others = list.filter((t) => t.job && t.value !== null && t.job !== sweep.best?.job).sort((a, b) => (sweep.plan.smaller ? a.value - b.value : b.value - a.value)).slice(0, 4).map((t) => t.job);
  return [shares.length ? el("div", {}, el("h3", {}, "Which settings mattered"), bars("Importance of settings", shares.map(([name, value]) => ({ name: name.replaceAll("_", " "), value, of: 1 })), (row) => `${Math.round(100 * row.value)} %`)) : null,
    lines && [el("h3", {}, "Settings together"), scroll("Settings together", lines)],
    sweep.best && others.length ? el("p", {}, el("a", { href: `#/compare?jobs=${[sweep.best.job, ...others].join(",")}` }, `Compare the best ${others.length + 1}`)) : null];
}

function actions(sweep, changed) {
  const act = (verb) => el("button", { onclick: async (event) => {
    event.target.disabled = true;
    try { changed(await api.post(`/sweeps/${sweep.id}/${verb}`)); } catch (error) { event.target.after(problem(error)); }
  } }, verb);
  if (ended(sweep)) return winner(sweep);
  return [act(sweep.status === "paused" ? "resume" : "pause"), act("cancel")];
}

function curves(sweep, list) {
  const { metric, smaller } = sweep.plan;
  const valued = list.filter((t) => t.value !== null);
  if (!valued.length) return [el("p", { class: "soft" }, "They appear with the first evaluations.")];
  let best = null;
  const steps = valued.map((t) => {
    best = best === null || (smaller ? t.value < best : t.value > best) ? t.value : best;
    return { x: t.number, y: best, label: `after trial ${t.number}: ${short(best)}` };
  });
  const named = [...new Set(valued.flatMap((t) => Object.keys(t.settings)))].filter((name) => valued.some((t) => typeof t.settings[name] !== "object"));
  const scatter = (name) => {
    const axis = sweep.plan.axes?.find((a) => a.name === name);
    const points = valued.filter((t) => t.settings[name] !== undefined && typeof t.settings[name] !== "object")
      .map((t) => ({ x: t.settings[name], y: t.value, best: t.job === sweep.best?.job, label: `trial ${t.number}: ${name} ${shown(t.settings[name])}, ${short(t.value)}` }));
    const share = sweep.importance?.[name];
    return el("figure", {}, plot(points, { title: `${metric} by ${name}`, log: axis?.log }),
      el("figcaption", { class: "soft" }, `${metric} by ${name}${share === undefined || share === null ? "" : `, importance ${Math.round(100 * share)} %`}`));
  };
  const out = [el("figure", {}, plot(steps, { title: `best ${metric} so far`, line: true }), el("figcaption", { class: "soft" }, `best ${metric} so far, by trial`))];
  if (sweep.curve?.length)
    out.push(el("figure", {}, plot(sweep.curve.map((p) => ({ x: p.rows, y: p.value, label: `${p.rows} rows: ${short(p.value)}` })), { title: `${metric} by training rows`, log: true, line: true }),
      el("figcaption", { class: "soft" }, `${metric} by training rows`)));
  return [...out, ...named.map(scatter)];
}

const trialRow = (sweep, t) => [t.number, t.job ? el("a", { href: `#/jobs/${t.job}` }, t.role) : t.role, settings(t),
  el("span", { class: `state ${t.status}` }, t.status === "paused" ? t.status_reason?.message ?? t.status : t.status === "cancelled" && t.rungs.length ? "left at a rung" : t.status), `${t.step} / ${t.total_steps}`,
  ...t.rungs.map((r) => short(r.value)), short(t.value) + (t.job === sweep.best?.job ? " · best" : sweep.indistinguishable?.includes(t.job) ? " · as good" : ""), t.why ?? ""];

export async function sweep(main, signal, id) {
  let now = await api.get(`/sweeps/${id}`);
  const top = el("div"), buttons = el("p", { class: "row" }), plots = el("div", { class: "plots" }), whole = el("div", { id: "together" }), list = el("div"), wrong = el("div");
  async function refresh(next) {
    now = next ?? await api.get(`/sweeps/${id}`);
    const { data } = await api.get(`/sweeps/${id}/trials`);
    if (signal.aborted) return;
    fill(top, summary(now));
    buttons.replaceChildren(...actions(now, refresh));
    plots.replaceChildren(...curves(now, data));
    fill(whole, together(now, data));
    if (now.folds?.label_errors && typeof now.request.job.dataset === "string" && !wrong.firstChild) wrong.append(suspects(now));
    const rungs = Math.max(0, ...data.map((t) => t.rungs.length));
    const rows = data.map((t) => trialRow(now, { ...t, rungs: [...t.rungs, ...Array(rungs - t.rungs.length).fill({ value: null })] }));
    list.replaceChildren(table("Trials", ["trial", "job", "settings", "status", "step", ...Array.from({ length: rungs }, (_, i) => `at rung ${i + 1}`), now.plan.metric, ""], rows));
  }
  await refresh(now);
  main.replaceChildren(el("h1", {}, now.name || now.id), el("section", {}, top, buttons), el("section", {}, el("h2", {}, "Results"), plots, whole), wrong,
    el("section", {}, el("h2", {}, "Trials"), list, el("p", {}, el("button", { onclick: async () => {
      const text = await api.text(`/sweeps/${id}/trials?format=csv`);
      const { download } = await import("/web/dom.js");
      download(new Blob([text], { type: "text/csv" }), `${id}.csv`);
    } }, "As CSV"))));
  const timer = setInterval(() => (ended(now) ? clearInterval(timer) : refresh().catch(() => {})), 2000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
