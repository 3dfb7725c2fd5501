// Trying a result: probabilities as bars for many lines, the answer marked in its context, answers of base and result side by side.
import * as api from "/web/api.js";
import { bars, el, field, fill, number, problem } from "/web/dom.js";
import { csv } from "/web/try_csv.js";

const SHOWN = 6; // labels of one answer
const INPUTS = 200; // lines at once

const percent = (row) => `${(100 * row.value).toFixed(1)} %`;

// A text with parts of it marked; places count characters, not UTF-16 units.
function marked(text, spans) {
  const letters = Array.from(text), parts = [];
  let at = 0;
  for (const { start, end, title } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < at) continue;
    parts.push(letters.slice(at, start).join(""), el("mark", title ? { title } : {}, letters.slice(start, end).join("")), title ? el("sup", {}, ` ${title}`) : "");
    at = end;
  }
  return el("p", {}, ...parts, letters.slice(at).join(""));
}

function told(input, answer) {
  if (answer.entities) return marked(input, answer.entities.map((one) => ({ ...one, title: one.label })));
  if (answer.value !== undefined) return el("p", {}, el("strong", {}, number(answer.value)));
  const all = Object.entries(answer.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
  const best = answer.label ?? answer.labels?.join(", ");
  return el("div", {}, el("p", {}, el("strong", {}, best || "no label")), bars("Probabilities", all.slice(0, SHOWN).map(([name, value]) => ({ name, value, of: 1 })), percent),
    all.length > SHOWN ? el("p", { class: "soft" }, `and ${all.length - SHOWN} more`) : null);
}

// Lines in, an answer for each.
function lines(ask) {
  const input = el("textarea", { rows: 4, "aria-label": "Texts, one a line", placeholder: "One text a line" });
  const send = async (answer) => {
    const texts = input.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!texts.length) return;
    if (texts.length > INPUTS) throw new api.ApiError(0, { message: `These are ${texts.length.toLocaleString()} lines; at most ${INPUTS} are shown here.`, hint: "take a table for more" });
    const { data } = await ask({ inputs: texts });
    fill(answer, texts.map((text, i) => el("div", { class: "answer" }, el("p", { class: "soft" }, text), told(text, data[i]))));
  };
  return { nodes: [input], send, below: csv(ask) };
}

function qa(ask) {
  const question = el("input"), context = el("textarea", { rows: 5 });
  const send = async (answer) => {
    const { data: [found] } = await ask({ inputs: [{ question: question.value, context: context.value }] });
    const span = Number.isInteger(found.start) && found.end > found.start ? [{ start: found.start, end: found.end }] : [];
    const said = found.answer ?? found.text ?? "";
    fill(answer, el("p", {}, el("strong", {}, said || "The context does not answer this."), found.score === undefined ? "" : el("span", { class: "soft" }, ` (probability ${(100 * found.score).toFixed(1)} %)`)),
      span.length ? marked(context.value, span) : null);
  };
  return { nodes: [field("Question", question), field("Context, in which the answer stands", context)], send };
}

// What is typed is a text; an object or a list is JSON.
function parseInput(text) {
  if (!/^\s*[{[]/.test(text)) return text;
  try { return JSON.parse(text); } catch { return text; }
}

function chat(job, which) {
  const input = el("textarea", { rows: 3, "aria-label": "Input", placeholder: "Ask the trained model" });
  const send = async (answer) => {
    const given = new AbortController(), body = { inputs: [parseInput(input.value)], max_tokens: 256, stream: true };
    const write = async (path, asked, pre) => {
      try {
        for await (const { event, data } of api.stream(path, asked, given.signal)) {
          if (event === "chunk") pre.textContent += data.text ?? "";
          else if (event === "error") throw new api.ApiError(500, data.error);
          else if (!pre.textContent) pre.textContent = data.data[0].text ?? "";
        }
      } catch (error) {
        if (!given.signal.aborted) pre.after(problem(error));
      }
    };
    const own = el("pre", { "aria-live": "polite" }), base = el("pre"), stop = el("button", { type: "button", onclick: () => given.abort() }, "Stop");
    fill(answer, el("div", { class: "grid pair" }, el("div", {}, el("h3", {}, "This result"), own), el("div", {}, el("h3", {}, `The base, ${job.model}`), base)), el("p", {}, stop));
    await Promise.all([write(`/jobs/${job.id}/predict`, { ...body, step: which.value }, own), write(`/models/${encodeURIComponent(job.model)}/predict`, body, base)]);
    stop.remove();
  };
  return { nodes: [input], send };
}

export function predictor(job, ended) {
  const which = el("select", { "aria-label": "Which parameters" }, ["exported", "best", "last"].map((s) => el("option", {}, s)));
  if (!ended) which.value = "last";
  const ask = (body) => api.post(`/jobs/${job.id}/predict`, { ...body, step: which.value });
  const { nodes, send, below } = job.task === "qa" ? qa(ask) : job.task === "generation" ? chat(job, which) : lines(ask);
  const answer = el("div", { id: "answer", "aria-live": "polite" });
  const run = el("button", { class: "main", onclick: async () => {
    run.disabled = true;
    try { await send(answer); } catch (error) { fill(answer, problem(error)); }
    run.disabled = false;
  } }, "Predict");
  return el("section", { id: "try" }, el("h2", {}, "Try it"), nodes, el("p", { class: "row" }, run, ended ? el("details", {}, el("summary", {}, "Parameters"), which) : which), answer, below);
}
