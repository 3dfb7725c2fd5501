// All jobs: searched, filtered and ordered by the server, a page at a time; what is looked for stands in the address. Refreshed while the page is open.
import * as api from "/web/api.js";
import { bulk, count, leaving, verbs } from "/web/bulk.js";
import { start } from "/web/start.js";
import { ago, duration, el, fill, number, problem, state, table, verdict } from "/web/dom.js";

const PAGE = 50;
const TYPING = 300; // ms without typing before the server is asked
const states = ["queued", "running", "paused", "succeeded", "failed", "cancelled"];
const tasks = ["generation", "classification", "qa", "token_classification", "preference"];
const sorts = [["", "newest first"], ["created asc", "oldest first"], ["finished desc", "ended last first"], ["metric desc", "metric, highest first"], ["metric asc", "metric, lowest first"],
  ["duration desc", "longest first"], ["duration asc", "shortest first"]];
const fields = ["q", "status", "model", "task", "sweep", "sort", "after"];

const seconds = (job) => (job.finished_at && job.started_at ? (new Date(job.finished_at) - new Date(job.started_at)) / 1000 : null);

function row(job, box) {
  const { best } = job.metrics;
  return [
    box, el("a", { href: `#/jobs/${job.id}` }, job.name || job.id), el("span", {}, state(job), job.status === "succeeded" && job.fit ? [" · ", verdict(job.fit)] : ""), job.model, job.task.replaceAll("_", " "),
    best ? el("span", {}, `${best.metric.replaceAll("_", " ")} `, number(best.value)) : "", `${job.progress.step} / ${job.progress.total_steps}`,
    number(job.metrics.loss), number(job.metrics.val_loss),
    job.status === "running" ? `${duration(job.progress.eta_seconds)} left` : job.status_reason?.message ?? duration(seconds(job)), ago(job.created_at),
  ];
}

export async function jobs(main, signal) {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.split("?")[1] ?? ""));
  const wanted = Object.fromEntries(fields.map((name) => [name, asked[name] ?? ""]));
  const chosen = new Map(); // id → job
  let shown = "", shownAt = 0, timer = null;
  const list = el("div"), trouble = el("div"), acts = el("p", { class: "row bulk", hidden: true });

  const set = (changes) => {
    Object.assign(wanted, { after: "" }, changes);
    const kept = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    history.replaceState(null, "", `#/${kept.size ? `?${kept}` : ""}`);
    load().catch(tell);
  };
  const tell = (error) => { if (!signal.aborted) trouble.replaceChildren(problem(error)); };
  const choose = (name, label, values) => el("select", { "aria-label": label, onchange: (e) => set({ [name]: e.target.value }) },
    values.map(([value, text]) => el("option", { value, selected: value === wanted[name] }, text)));
  const search = el("input", { type: "search", "aria-label": "Search in name, model, data set and id", placeholder: "name, model, data set, id", value: wanted.q, oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(() => set({ q: search.value.trim() }), TYPING);
  } });
  const older = el("button", { hidden: true, onclick: () => set({ after: older.dataset.next }) }, "Next page");
  const first = el("button", { hidden: true, onclick: () => set({}) }, "First page");
  const sweep = el("button", { hidden: true, onclick: () => set({ sweep: "" }) }, "Not only one sweep's");

  function selected() {
    const all = [...chosen.values()];
    acts.hidden = !all.length;
    fill(acts, el("span", {}, `${count(all.length)} chosen:`), verbs.map((one) => el("button", { disabled: !all.some(one.may), onclick: async () => {
      trouble.replaceChildren();
      try {
        await bulk(one, all, clear, () => load().catch(tell));
      } catch (error) {
        tell(error);
      }
    } }, one.verb)), all.length > 1 ? el("a", { class: "button", href: `#/compare?jobs=${all.map((job) => job.id).join(",")}` }, "compare") : null, el("button", { onclick: clear }, "none"));
  }
  function clear() {
    chosen.clear();
    for (const box of list.querySelectorAll("input[type=checkbox]")) box.checked = false;
    selected();
  }
  const tick = (job, on) => (on ? chosen.set(job.id, job) : chosen.delete(job.id), selected());

  function draw(data) {
    const focused = document.activeElement?.dataset?.job;
    const boxes = data.map((job) => el("input", { type: "checkbox", "data-job": job.id, "aria-label": `choose ${job.name || job.id}`, checked: chosen.has(job.id), onchange: (e) => tick(job, e.target.checked) }));
    const every = el("input", { type: "checkbox", "data-job": "all", "aria-label": "choose all of this page", checked: data.length > 0 && data.every((job) => chosen.has(job.id)), onchange: () => {
      data.forEach((job, i) => { boxes[i].checked = every.checked; tick(job, every.checked); });
    } });
    list.replaceChildren(data.length ? table("Jobs", [every, "job", "status", "model", "task", "best metric", "step", "loss", "val loss", "time", "created"], data.map((job, i) => row(job, boxes[i])))
      : el("p", {}, "No such jobs."));
    if (focused) list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  async function load() {
    const [sort, order] = wanted.sort.split(" ");
    const query = new URLSearchParams({ limit: PAGE, ...Object.fromEntries(["q", "status", "model", "task", "sweep", "after"].filter((name) => wanted[name]).map((name) => [name, wanted[name]])), ...(sort ? { sort, order } : {}) });
    const text = await api.text(`/jobs?${query}`);
    if (signal.aborted) return;
    const page = JSON.parse(text), data = page.data.filter((job) => !leaving(job));
    older.hidden = !page.next;
    older.dataset.next = page.next ?? "";
    first.hidden = !wanted.after;
    sweep.hidden = !wanted.sweep;
    for (const job of data) if (chosen.has(job.id)) chosen.set(job.id, job);
    const same = text + data.length;
    if (same === shown && Date.now() - shownAt < 30000) return; // times are told anew once in a while
    shown = same;
    shownAt = Date.now();
    draw(data);
    selected();
  }

  if (!Object.values(wanted).some(Boolean) && !(await api.get("/jobs?limit=1")).data.length) return start(main, signal); // nothing was ever trained here
  const { data: models } = await api.get("/models?limit=1000");
  const named = [...new Set([...models.map((model) => model.name), ...(wanted.model ? [wanted.model] : [])])];
  await load().catch(tell);
  main.replaceChildren(el("h1", {}, "Jobs"), el("section", {}, el("div", { class: "row filters", role: "search" }, search,
    choose("status", "Filter by status", [["", "any status"], ...states.map((s) => [s, s])]), choose("model", "Filter by model", [["", "any model"], ...named.map((n) => [n, n])]),
    choose("task", "Filter by task", [["", "any task"], ...tasks.map((t) => [t, t.replaceAll("_", " ")])]), choose("sort", "Order", sorts), sweep, first, older), acts, trouble, list));
  const ticking = setInterval(() => load().catch(() => {}), 3000);
  signal.addEventListener("abort", () => { clearInterval(ticking); clearTimeout(timer); });
}
