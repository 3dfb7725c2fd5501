// Jobs side by side: their curves over each other, the settings in which they differ, and what can be said of the difference row by row.
import * as api from "/web/api.js";
import { el, fill, number, problem, short, state, table } from "/web/dom.js";
import { Panel, dygraphs, smoothed, together } from "/web/panel.js";

const COLOURS = ["--train", "--val", "#7a5ab8", "#b8871b", "#2b7bb9", "#c2417c", "#5f8a2e", "#8a6d5a"];
const MOST = 20; // as many as the server compares at once
const present = (value) => value !== null && value !== undefined;
const said = (value) => (typeof value === "string" ? value : typeof value === "number" ? short(value) : present(value) ? JSON.stringify(value) : "");

// Names that can be told apart, by id.
function naming(jobs) {
  const named = (job) => job.name || job.id;
  return new Map(jobs.map((job) => [job.id, jobs.filter((other) => named(other) === named(job)).length > 1 && job.name ? `${job.name} (${job.id})` : named(job)]));
}

// What a job was made of, in one level.
function settings(job) {
  const { model, task, method, dataset, datasets, validation, dataset_counts: counts, hyperparameters } = job;
  return { model, task, method, "data set": datasets ?? dataset, validation: validation?.dataset ?? validation, "rows used": counts?.used, ...hyperparameters };
}

function differences(jobs, names) {
  const all = jobs.map(settings), keys = [...new Set(all.flatMap(Object.keys))].filter((key) => new Set(all.map((one) => JSON.stringify(one[key]) ?? "")).size > 1);
  if (!keys.length) return el("p", {}, "Their settings are all the same.");
  return table("Settings that differ", ["setting", ...names.values()], keys.map((key) => [key, ...all.map((one, i) =>
    el("span", { title: jobs[i].auto?.[key] ?? null, class: jobs[i].auto?.[key] ? "soft" : null }, said(one[key]), jobs[i].auto?.[key] ? " (auto)" : ""))]));
}

function results(jobs, names) {
  return table("Results", ["job", "status", "best", "at step", "loss", "val loss", "steps"], jobs.map((job) => {
    const { best, loss, val_loss: val } = job.metrics;
    return [el("a", { href: `#/jobs/${job.id}` }, names.get(job.id)), state(job), best ? el("span", {}, `${best.metric.replaceAll("_", " ")} `, number(best.value)) : "", best?.step ?? null, number(loss), number(val),
      job.progress.step];
  }));
}

// The curves of all jobs, a panel a value.
async function overlay(jobs, names, signal) {
  const told = await Promise.all(jobs.map((job) => api.get(`/jobs/${job.id}/metrics?points=1000`)));
  await dygraphs();
  const axis = el("select", { "aria-label": "Horizontal axis" }, ["step", "epoch", "tokens"].map((name) => el("option", { value: name }, `by ${name}`)));
  const smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0.6, "aria-label": "Smoothing of the training loss" });
  const box = el("div", { class: "curves" });
  const fields = ["loss", ...new Set(told.flatMap(({ data }) => data.flatMap((row) => Object.keys(row).filter((key) => key.startsWith("val_") && present(row[key])))))];
  const series = jobs.map((job, i) => ({ label: names.get(job.id), colour: COLOURS[i % COLOURS.length], dashed: i >= COLOURS.length }));
  let panels = [], untie = () => {};
  // Values of one job: [[x, value]]; an evaluation has the tokens of the row before it.
  const values = ({ data }, field) => {
    let tokens = 0;
    const rows = data.map((row) => ({ x: axis.value === "tokens" ? (tokens = row.tokens ?? tokens) : row[axis.value], value: row[field] })).filter((row) => present(row.x) && present(row.value));
    const even = field === "loss" ? smoothed(rows.map((row) => row.value), Number(smooth.value)) : rows.map((row) => row.value);
    return rows.map((row, i) => [row.x, even[i]]);
  };
  const draw = () => {
    if (signal.aborted) return;
    untie();
    panels = fields.map((field, i) => panels[i] ?? new Panel(field === "loss" ? "training loss" : `${field.slice(4).replaceAll("_", " ")} on validation rows`, { small: i > 0, told: (x) => `${axis.value} ${short(x)}` }));
    box.replaceChildren(...panels.map((panel) => panel.node));
    panels.forEach((panel, i) => {
      const at = new Map();
      told.forEach((one, k) => values(one, fields[i]).forEach(([x, value]) => {
        if (!at.has(x)) at.set(x, jobs.map(() => null));
        at.get(x)[k] = value;
      }));
      const rows = [...at].sort((a, b) => a[0] - b[0]).map(([x, list]) => [x, ...list]);
      if (rows.length) panel.draw(rows, series.map((one) => ({ ...one, points: rows.length < 100 })));
      else panel.node.remove();
    });
    untie = together(panels.filter((panel) => panel.graph));
  };
  axis.addEventListener("change", () => { panels = []; draw(); });
  smooth.addEventListener("input", draw);
  return { draw, node: el("div", {}, el("p", { class: "row" }, axis, el("label", { class: "inline" }, "smooth ", smooth), el("button", { onclick: () => panels.forEach((panel) => panel.reset()) }, "Whole run"),
    el("span", { class: "soft" }, "drag to zoom in")), box) };
}

// The comparison row by row, in words.
function verdicts(compared, names) {
  const metric = compared.metric.replaceAll("_", " "), name = (id) => el("strong", {}, names.get(id) ?? id);
  const pair = (one) => {
    const gap = Math.abs(one.difference), ends = [...one.interval].map((v) => (one.difference < 0 ? -v : v)).sort((a, b) => a - b);
    const range = ` (95 % from ${short(ends[0])} to ${short(ends[1])}, p ${short(one.p_adjusted)})`;
    if (one.verdict === "better" || one.verdict === "worse") {
      const [good, bad] = one.verdict === "better" ? [one.a, one.b] : [one.b, one.a];
      return el("li", {}, name(good), " is better than ", name(bad), ` by ${short(gap)} ${metric}${range}.`);
    }
    return el("li", {}, "Between ", name(one.a), " and ", name(one.b), ` no difference is shown: ${short(gap)} ${metric}${range} may be chance.`);
  };
  return [el("p", {}, `On the same ${compared.rows.toLocaleString()} rows, pair by pair:`), el("ul", { class: "verdicts" }, compared.pairs.map(pair)),
    table("On these rows", ["job", metric, "95 % from", "to"], compared.results.map((one) => [names.get(one.name) ?? one.name, number(one.value), number(one.interval?.[0]), number(one.interval?.[1])]))];
}

// What to do where they cannot be compared as they are: measure all of them on one data set.
function paired(ids, names, wanted) {
  const answer = el("div", { "aria-live": "polite" }), which = el("select", { "aria-label": "Data set to compare on" }), go = el("button", { class: "main" }, "Compare on it");
  const ask = async (dataset) => {
    const address = `jobs=${ids.join(",")}${dataset ? `&dataset=${dataset}` : ""}`;
    history.replaceState(null, "", `#/compare?${address}`);
    try {
      fill(answer, verdicts(await api.get(`/compare?${address}`), names));
    } catch (error) {
      fill(answer, problem(error), el("p", {}, "Measured on one data set they can be compared: choose one below."));
    }
  };
  const missing = async (dataset) => {
    const have = new Set((await api.get(`/evaluations?dataset=${dataset}`)).data.map((one) => one.job));
    return ids.filter((id) => !have.has(id));
  };
  const label = async () => {
    const left = which.value ? await missing(which.value) : [];
    go.textContent = !which.value ? "Compare by validation rows" : left.length ? `Evaluate ${left.length} of ${ids.length} on it, then compare` : "Compare on it";
  };
  which.addEventListener("change", () => label().catch((error) => fill(answer, problem(error))));
  go.addEventListener("click", async () => {
    go.disabled = true;
    const dataset = which.value;
    try {
      const left = dataset ? await missing(dataset) : [];
      for (const [i, id] of left.entries()) {
        fill(answer, el("p", {}, `measuring ${names.get(id)}, ${i + 1} of ${left.length} …`));
        await api.post(`/jobs/${id}/evaluate`, { dataset });
      }
      await ask(dataset);
    } catch (error) {
      fill(answer, problem(error));
    }
    go.disabled = false;
    label().catch(() => {}); // said already
  });
  const node = el("section", { id: "paired" }, el("h2", {}, "Row by row"), answer, el("p", { class: "row" }, which, go));
  const begin = async () => {
    const { data } = await api.get("/datasets?limit=1000");
    fill(which, [["", "their own validation rows"], ...data.map((d) => [d.id, `${d.name || d.id}, ${d.rows.toLocaleString()} rows`])].map(([value, text]) => el("option", { value, selected: value === (wanted ?? "") }, text)));
    await Promise.all([ask(wanted), label()]);
  };
  begin().catch((error) => fill(answer, problem(error)));
  return node;
}

export async function compare(main, signal, query) {
  const asked = new URLSearchParams(query ?? ""), ids = [...new Set((asked.get("jobs") ?? "").split(",").filter((id) => /^job_\w+$/.test(id)))];
  if (ids.length < 2 || ids.length > MOST) {
    main.replaceChildren(el("h1", {}, "Compare jobs"), el("section", {}, el("p", {}, ids.length > MOST ? `That are ${ids.length} jobs; at most ${MOST} are compared at once. ` : "Two jobs are needed at least. ",
      "Tick them in the ", el("a", { href: "#/" }, "list of jobs"), " and choose “compare”.")));
    return;
  }
  const jobs = await Promise.all(ids.map((id) => api.get(`/jobs/${id}`))), names = naming(jobs);
  const curves = await overlay(jobs, names, signal);
  if (signal.aborted) return;
  main.replaceChildren(el("h1", {}, `Compare ${jobs.length} jobs`), el("section", {}, el("h2", {}, "Results"), results(jobs, names)), paired(ids, names, /^ds_\w+$/.test(asked.get("dataset") ?? "") ? asked.get("dataset") : null),
    el("section", { id: "curves" }, el("h2", {}, "Curves"), curves.node), el("section", { id: "differences" }, el("h2", {}, "Settings that differ"), differences(jobs, names)));
  curves.draw();
}
