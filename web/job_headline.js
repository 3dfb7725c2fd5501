// How good the exported result is, before everything else: its scores beside those before training and of always naming the most frequent label.
import { bars, el, number } from "/web/dom.js";

const total = (list) => list.reduce((sum, n) => sum + n, 0);

// What a metric is called, and whether it is a share that is better the larger it is.
const metrics = {
  accuracy: ["of rows right", true], f1: ["F1", true], f1_macro: ["F1 (mean of all labels)", true], f1_micro: ["F1", true], exact_match: ["of answers exactly right", true],
  token_accuracy: ["of tokens right", true], pearson: ["correlation with the true values", false], r2: ["R²", false], rmse: ["mean error (RMSE)", false], mae: ["mean error", false], loss: ["loss", false],
};

// The metric that says most of such a job, among those that were measured.
function leading(measured, best) {
  const order = ["accuracy", "f1", "f1_micro", "f1_macro", "r2", "pearson", "rmse", "loss"];
  const own = best?.metric?.replace(/^val_/, "");
  return order.find((name) => measured[name] !== undefined && (name === own || name !== "loss")) ?? "loss";
}

const shown = (name, value) => (value === undefined || value === null ? "" : metrics[name]?.[1] ? el("span", { title: String(value) }, `${(100 * value).toFixed(1)} %`) : number(value));

// Metrics of an event without the prefix of their rows.
const stripped = (data, prefix) => Object.fromEntries(Object.entries(data ?? {}).filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]));

// The share of the most frequent label among the rows that were measured, and its name.
function majority({ confusion, labels } = {}) {
  if (!confusion || !labels) return null;
  const rows = confusion.map(total), most = Math.max(...rows);
  return { label: labels[rows.indexOf(most)], share: most / total(rows) };
}

// evals: the events' data, in order. Null where nothing was measured.
export function headline(job, evals) {
  const at = evals.filter((one) => one.step === (job.exported_step ?? job.progress.step)).at(-1) ?? evals.at(-1);
  const before = evals.find((one) => one.step === 0);
  if (!at && !job.test) return el("p", {}, "No rows were held out, so nothing says how good it is. Train again with validation rows, or measure it on other rows below.");
  const rows = [["validation", at, stripped(at, "val_")], ["test", job.test, stripped(job.test, "test_")]].filter(([, data]) => data);
  const name = leading(rows[0][2], job.metrics.best);
  const [words, share] = metrics[name] ?? [name.replaceAll("_", " "), false];
  const score = ([set, data, own]) => el("div", { class: "score" }, el("strong", {}, shown(name, own[name])), ` ${words}, ${data.rows} ${set} rows`);
  const compared = [];
  for (const [set, data, own] of rows) {
    const most = name === "accuracy" ? majority(data) : null;
    compared.push({ name: `this model, ${set} rows`, value: own[name] });
    if (set === "validation" && before && at !== before) compared.push({ name: "before training", value: stripped(before, "val_")[name] });
    if (most) compared.push({ name: `always “${most.label}” (${set})`, value: most.share });
  }
  return el("div", { id: "headline" }, el("div", { class: "scores" }, rows.map(score)),
    share && compared.length > 1 ? bars("Beside others", compared.filter((row) => row.value !== undefined).map((row) => ({ ...row, of: 1 })), (row) => `${(100 * row.value).toFixed(1)} %`)
      : el("p", { class: "soft" }, ...compared.slice(rows.length).filter((row) => row.value !== undefined).flatMap((row) => [`${row.name}: `, shown(name, row.value), ". "])));
}

// What a job is doing, by its newest event that says so.
const phases = {
  queued: "Waiting for its turn", claimed: "Starting", started: "Loading the model", plan: "Reading the rows", step: "Training", eval: "Measuring on validation rows",
  sample: "Writing sample answers", checkpoint: "Saving its state", test: "Measuring on test rows", verified: "Writing and checking the files", artifact: "Writing and checking the files",
};
export const phase = (type) => phases[type] ?? null;
