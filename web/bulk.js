// What is done with several jobs at once: asked about with number and names; taken back where that is possible, by a note at the foot of the page.
import * as api from "/web/api.js";
import { el } from "/web/dom.js";

const UNDO = 8000; // ms
const NAMED = 12;  // names that are listed

const called = (job) => job.name || job.id;
export const count = (n) => `${n.toLocaleString()} job${n === 1 ? "" : "s"}`;

const over = (job) => ["succeeded", "failed", "cancelled"].includes(job.status);

// may: which jobs it can be done with. back: the verb that takes it back; late: it waits until the note has gone.
export const verbs = [
  { verb: "cancel", done: "asked to end", may: (job) => !over(job), warning: "A cancelled job cannot be taken up again." },
  { verb: "pause", done: "paused", may: (job) => ["queued", "running"].includes(job.status) && !job.requested, back: "resume" },
  { verb: "resume", done: "queued again", may: (job) => job.status === "paused" || job.requested === "pause", back: "pause" },
  { verb: "delete", done: "deleted", may: over, late: true, warning: "Their results and files go with them." },
];

// Resolves to whether it is wanted.
function confirmed({ verb, warning }, jobs, left) {
  const names = el("ul", {}, jobs.slice(0, NAMED).map((job) => el("li", {}, called(job), el("span", { class: "soft" }, ` ${job.status}`))), jobs.length > NAMED ? el("li", {}, `… and ${count(jobs.length - NAMED)} more`) : null);
  const dialog = el("dialog", { class: "confirm", "aria-labelledby": "confirm-title" }, el("form", { method: "dialog" },
    el("h2", { id: "confirm-title" }, `${verb[0].toUpperCase()}${verb.slice(1)} ${count(jobs.length)}?`), names,
    left ? el("p", { class: "soft" }, `${count(left)} of those chosen ${left === 1 ? "is" : "are"} left out: in ${left === 1 ? "its" : "their"} state that cannot be done.`) : null,
    warning ? el("p", {}, warning) : null,
    el("p", { class: "row" }, el("button", { class: "main", value: "yes" }, `${verb[0].toUpperCase()}${verb.slice(1)} ${count(jobs.length)}`), el("button", { value: "" }, "Back"))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "yes");
    dialog.remove();
  }));
}

// A note with a button that takes back what it tells. Resolves to true when the button was pressed, to false when the note goes.
function noted(text, undo) {
  return new Promise((resolve) => {
    const end = (pressed) => {
      clearTimeout(timer);
      removeEventListener("pagehide", hidden);
      note.remove();
      resolve(pressed);
    };
    const hidden = () => end(false);
    const note = el("div", { class: "toast", role: "status" }, text, ...(undo ? [" ", el("button", { onclick: () => end(true) }, "Undo")] : []));
    const timer = setTimeout(() => end(false), UNDO);
    addEventListener("pagehide", hidden);
    document.body.append(note);
  });
}

async function each(jobs, call) {
  const refused = [];
  for (const job of jobs) {
    try {
      await call(job);
    } catch (error) {
      refused.push({ message: `${called(job)}: ${error.message}`, hint: error.hint });
    }
  }
  return refused;
}

// Throws what was refused, as one error with details.
function told(refused, of, verb) {
  if (refused.length) throw Object.assign(new Error(`${count(refused.length)} of ${of} could not be ${verb}`), { hint: "the others were", details: refused });
}

const waiting = new Map(); // of jobs that will be deleted when their note goes: id → job

// Jobs that are to be deleted in a moment are no longer shown.
export const leaving = (job) => waiting.has(job.id);

// The page goes: what waits is sent now, all at once, since nothing runs after this.
addEventListener("pagehide", () => {
  for (const id of waiting.keys()) api.remove(`/jobs/${id}`, { keepalive: true }).catch(() => {});
  waiting.clear();
});

async function removed(jobs, changed) {
  for (const job of jobs) waiting.set(job.id, job);
  changed();
  const undone = await noted(`${count(jobs.length)} deleted.`, true);
  const still = jobs.filter((job) => waiting.has(job.id));
  const refused = undone ? [] : await each(still, (job) => api.remove(`/jobs/${job.id}`));
  for (const job of jobs) waiting.delete(job.id);
  changed();
  return refused;
}

// Does it with those of `chosen` with which it can be done. begun() is called when that is wanted, changed() when the list should be asked for again.
export async function bulk(action, chosen, begun, changed) {
  const jobs = chosen.filter(action.may);
  if (!await confirmed(action, jobs, chosen.length - jobs.length)) return;
  begun();
  if (action.late) return told(await removed(jobs, changed), jobs.length, action.done);
  const refused = await each(jobs, (job) => api.post(`/jobs/${job.id}/${action.verb}`));
  changed();
  const well = jobs.length - refused.length;
  if (well) noted(`${count(well)} ${action.done}.`, action.back).then(async (undone) => {
    if (undone) await each(jobs, (job) => api.post(`/jobs/${job.id}/${action.back}`));
    changed();
  });
  told(refused, jobs.length, action.done);
}
