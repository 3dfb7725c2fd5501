// All jobs, newest first, refreshed while the page is open.
import * as api from "/web/api.js";
import { start } from "/web/start.js";
import { ago, duration, el, number, state, table, verdict } from "/web/dom.js";

const states = ["", "queued", "running", "paused", "succeeded", "failed", "cancelled"];

export async function jobs(main, signal) {
  let status = "";
  let after = null;
  const list = el("div");
  const more = el("button", { hidden: true, onclick: () => { after = more.dataset.next; load(); } }, "Older jobs");
  const newest = el("button", { hidden: true, onclick: () => { after = null; load(); } }, "Newest jobs");
  const filter = el("select", { "aria-label": "Filter by status", onchange: () => { status = filter.value; after = null; load(); } },
    states.map((s) => el("option", { value: s }, s || "all")));

  const row = (job) => [
    el("a", { href: `#/jobs/${job.id}` }, job.name || job.id), el("span", {}, state(job), job.status === "succeeded" && job.fit ? [" · ", verdict(job.fit)] : ""), job.model, job.task,
    el("span", {}, `${job.progress.step} / ${job.progress.total_steps}`), number(job.metrics.loss), number(job.metrics.val_loss),
    job.status === "running" ? `${duration(job.progress.eta_seconds)} left` : job.status_reason?.message ?? "", ago(job.created_at),
  ];

  async function load() {
    const page = await api.get(`/jobs?limit=50${status ? `&status=${status}` : ""}${after ? `&after=${after}` : ""}`);
    if (signal.aborted) return;
    more.hidden = !page.next;
    more.dataset.next = page.next ?? "";
    newest.hidden = !after;
    list.replaceChildren(page.data.length
      ? table("Jobs", ["job", "status", "model", "task", "step", "loss", "val loss", "", "created"], page.data.map(row))
      : el("p", {}, "No such jobs."));
  }

  if (!(await api.get("/jobs?limit=1")).data.length) return start(main, signal); // nothing was ever trained here
  await load();
  main.replaceChildren(el("h1", {}, "Jobs"), el("section", {}, el("div", { class: "row" }, filter, newest, more), list));
  const timer = setInterval(() => load().catch(() => {}), 3000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
