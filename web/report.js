// What a data set is worth: findings, lengths, diversity.
import * as api from "/web/api.js";
import { roles } from "/web/upload_look.js";
import { bars, bytes, el, field, problem, short, table, warnings } from "/web/dom.js";

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The report, asked for until it is there; `tell` is called with how far it is.
async function wait(path, signal, tell) {
  for (;;) {
    const answer = await api.get(path);
    if (signal.aborted || answer.findings) return answer;
    tell(answer);
    await sleep(200);
  }
}

const some = (list, all) => list.slice(0, 20).join(", ") + (all > 20 || list.length > 20 ? ", …" : "");

function where(finding) {
  if (finding.pairs.length) return some(finding.pairs.map((p) => `${p.line}~${p.other}`), finding.count);
  return finding.which ?? some(finding.lines, finding.count);
}

function what(finding) {
  if (finding.fix === "rows") return "\"rows\":{\"exclude\":[…]}";
  return finding.fix ? `"${finding.fix}":"${finding.option}"` : "";
}

function lengths(report) {
  const names = ["min", "p10", "median", "p90", "p99", "max", "mean"];
  return table("Lengths", ["", ...names], Object.entries(report.lengths).filter(([, of]) => of)
    .map(([name, of]) => [name, ...names.map((n) => Number(short(of[n])))]));
}

// What a model's vectors say, where one was named.
function meaning(found) {
  if (!found) return [];
  return [el("h2", {}, "By meaning"),
    el("p", {}, `${found.rows.toLocaleString()} rows. Vendi score ${short(found.vendi)} of at most ${found.most}; mean cosine of two rows ${short(found.mean_cosine)}.`),
    table("Groups by meaning", ["rows", "lines nearest to the middle"], found.clusters.map((c) => [c.rows, c.lines.join(", ")]))];
}

function show(report) {
  return [
    el("p", {}, `${report.rows.toLocaleString()} rows, ${short(report.seconds)} s. `,
      report.findings.length ? "" : "Nothing was found.", report.notes.map((note) => el("span", { class: "soft" }, ` ${note}.`))),
    report.findings.length ? table("Findings", ["severity", "finding", "rows", "what", "lines (of pairs: with the other one)", "in a submission"],
      report.findings.map((f) => [f.severity, f.code, f.count, f.message, where(f), what(f)])) : null,
    el("h2", {}, "Lengths"), lengths(report),
    el("h2", {}, "Diversity"), table("Diversity", ["figure", "value", "of the same words in random order", "meaning"],
      Object.entries(report.diversity).map(([name, f]) => [name, Number(short(f.value)), Number(short(f.reference)), f.meaning])),
    ...meaning(report.embeddings),
  ];
}

const CLASSES = 20; // that are shown

// What the data set is, for those who have just brought it.
function summary(data) {
  const place = ([role]) => roles.findIndex(([known]) => known === role);
  const columns = Object.entries(data.columns).sort((a, b) => place(a) - place(b)).map(([role, column]) => (role === column ? role : `${role} (“${column}”)`)).join(", ");
  const told = [`${data.rows.toLocaleString()} rows of ${columns}`, data.dropped ? `${data.dropped.toLocaleString()} left out` : "", data.format.toUpperCase(), bytes(data.bytes)];
  const unused = data.warnings.filter((w) => w.code === "ignored_column");
  const classes = data.problem !== "regression" && data.labels?.length;
  return el("section", { id: "data" }, el("p", {}, told.filter(Boolean).join(" · ")),
    data.problem === "regression" ? el("p", {}, `Labels are numbers to predict: ${data.label_count} different ones.`) : null,
    classes ? [el("h2", {}, `Rows of each of ${data.label_count} labels`), bars("Rows of each label", data.labels.slice(0, CLASSES).map((one) => ({ name: one.label, value: one.rows }))),
      data.label_count > CLASSES ? el("p", { class: "soft" }, `… and ${data.label_count - CLASSES} more`) : null] : null,
    unused.length ? el("p", { class: "soft" }, `Not used: ${unused.map((w) => w.message.match(/"(.*)"/)?.[1] ?? w.message).join(", ")}.`) : null,
    warnings(data.warnings.filter((w) => w.code !== "guessed_columns" && !unused.includes(w))),
    el("p", { class: "row" }, el("a", { class: "button main", href: `#/new?dataset=${data.id}` }, "Train on it"), el("a", { href: "#/data" }, "All data sets")));
}

export async function report(main, signal, id) {
  const [data, datasets, models] = await Promise.all([
    api.get(`/datasets/${id}`), api.get("/datasets?limit=1000"), api.get("/models?limit=1000")]);
  if (signal.aborted) return;
  const choice = (none, list) => el("select", {}, el("option", { value: "" }, none), list.map(([value, text]) => el("option", { value }, text)));
  const against = choice("no other data set", datasets.data.filter((d) => d.id !== id).map((d) => [d.id, d.name]));
  const model = choice("no tokens or vectors", models.data.map((m) => [m.name, m.name]));
  const answer = el("section", { id: "report", "aria-live": "polite" });
  const ask = async () => {
    const query = new URLSearchParams(Object.entries({ against: against.value, model: model.value }).filter(([, value]) => value));
    answer.replaceChildren(el("p", { class: "soft" }, "loading …"));
    try {
      const found = await wait(`/datasets/${id}/report?${query}`, signal, ({ progress, plan }) => answer.replaceChildren(
        el("p", { class: "soft" }, `${Math.round(100 * progress)} %${plan ? `, needs ${bytes(plan.bytes)} of memory` : ""}`)));
      if (!signal.aborted) answer.replaceChildren(...show(found).filter(Boolean));
    } catch (error) {
      if (!signal.aborted) answer.replaceChildren(problem(error));
    }
  };
  main.replaceChildren(el("h1", {}, data.name), summary(data), el("h2", {}, `Report on ${data.name}`),
    el("form", { class: "row", onsubmit: (event) => { event.preventDefault(); ask(); } },
      field("Leaks into", against), field("Tokens and vectors of", model), el("button", { class: "main" }, "Ask")), answer);
  await ask();
}
