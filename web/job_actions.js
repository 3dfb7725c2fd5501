// What can be done with a job, and what its fit asks for.
import * as api from "/web/api.js";
import { el, problem } from "/web/dom.js";

export const ended = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

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

export function actions(job, changed) {
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

// The verdict on the run's fit in a sentence, and the job that would mend it.
export function fitLine({ verdict, summary, advice, next, provisional }, job) {
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
