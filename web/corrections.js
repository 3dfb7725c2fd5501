// Rows that may have a wrong label, and what to do about each: a corrected copy of their data set leaves them out or gives them another label.
import * as api from "/web/api.js";
import { el, fill, problem, short, table } from "/web/dom.js";

const shown = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

// A list of rows {line, text, label, predicted, p, why} of the data set `of`, with two choices for each; `labels`: names, or none where none can be set.
// `then(copy)` gives the links to what can be done with the copy.
export function correctable(of, labels, then) {
  const rows = el("div"), said = el("div", { "aria-live": "polite" }), changes = new Map();
  const make = el("button", { class: "main", onclick: () => send() });
  const count = () => {
    make.disabled = !changes.size;
    make.textContent = `Make a corrected copy (${changes.size} change${changes.size === 1 ? "" : "s"})`;
  };
  const change = (line, what) => {
    if (what) changes.set(line, what);
    else changes.delete(line);
    count();
  };
  const send = async () => {
    const all = [...changes];
    make.disabled = true;
    said.textContent = "working …";
    try {
      const copy = await api.post(`/datasets/${of}/corrections`, {
        exclude: { lines: all.filter(([, what]) => what.out).map(([line]) => line) },
        labels: all.filter(([, what]) => !what.out).map(([line, what]) => ({ line, label: what.label })),
      });
      fill(said, el("p", { class: "row" }, `${copy.rows} rows: `, el("a", { href: `#/data/${copy.id}` }, copy.name), ...then(copy)));
    } catch (error) {
      said.replaceChildren(problem(error));
    }
    count();
  };
  const choices = ({ line, label, predicted }) => {
    const out = el("input", { type: "checkbox", "aria-label": `leave out line ${line}` });
    const others = labels.filter((name) => name !== shown(label)).sort((a, b) => (b === predicted) - (a === predicted));
    const set = el("select", { "aria-label": `label of line ${line}` }, el("option", { value: "" }, "as it is"), others.map((name) => el("option", { value: name }, name)));
    const read = () => {
      set.disabled = out.checked;
      change(line, out.checked ? { out: true } : set.value ? { label: set.value } : null);
    };
    const now = changes.get(line);
    out.checked = now?.out ?? false;
    set.value = now?.label ?? "";
    set.disabled = out.checked;
    out.addEventListener("change", read);
    set.addEventListener("change", read);
    return [out, ...(labels.length ? [set] : [])];
  };
  count();
  const show = (list) => rows.replaceChildren(list.length
    ? table("Rows", ["line", "text", "label", "predicted", "p of the label", "why", "leave out", ...(labels.length ? ["set label"] : [])],
      list.map((row) => [row.line, el("pre", {}, row.text + (row.truncated ? " …" : "")), shown(row.label), shown(row.predicted), short(row.p), row.why ?? "", ...choices(row)]))
    : el("p", { class: "soft" }, "There is no such row."));
  return { node: el("div", {}, rows, el("p", { class: "row" }, make), said), show };
}

// Names of the classes that a data set's labels are, as far as they are told; none where a row has several or they are values.
export const classes = (data) => (data.problem === "single_label" && data.labels ? data.labels.map((one) => one.label) : []);

const sorts = { single_label: ["mislabelled", "hard", "forgotten", "memorised"], generation: ["hard", "mislabelled", "memorised"] };

// A job's training rows, by what is to be looked at in them.
export function examples(job) {
  const section = el("section", { id: "examples" }, el("h2", {}, "Training rows to look at"));
  const told = (error) => section.append(error.status === 409 ? el("p", { class: "soft" }, error.message) : problem(error));
  const begin = async () => {
    const data = await api.get(`/datasets/${job.dataset}`);
    const sort = el("select", { "aria-label": "Order" }, (sorts[job.problem ?? job.task] ?? ["hard"]).map((name) => el("option", {}, name)));
    const list = correctable(job.dataset, classes(data), (copy) => [el("a", { href: `#/new?from=${job.id}&dataset=${copy.id}` }, "Train on it")]);
    const more = el("button", { onclick: () => load(next) }, "More rows");
    let rows = [], next = 0;
    const load = async (after) => {
      try {
        const page = await api.get(`/jobs/${job.id}/examples?sort=${sort.value}&after=${after}`);
        rows = after ? [...rows, ...page.data] : page.data;
        next = page.next;
        more.hidden = next === null;
        list.show(rows);
      } catch (error) {
        told(error);
      }
    };
    sort.addEventListener("change", () => load(0));
    section.append(el("p", { class: "row" }, sort), list.node, more);
    await load(0);
  };
  if (job.datasets) section.append(el("p", { class: "soft" }, "The job trained on several data sets: see GET /jobs/{id}/examples."));
  else begin().catch(told);
  return section;
}

const SUSPECTS = 50; // of a sweep, at most

// The likeliest wrong labels of folds: of each row what the run said that did not train on it.
export function suspects(sweep) {
  const section = el("section", { id: "suspects" }, el("h2", {}, "Labels that look wrong"));
  const { dataset } = sweep.request.job;
  const again = (copy) => el("button", { onclick: async (event) => {
    event.target.disabled = true;
    try {
      const { id } = await api.post("/sweeps", { ...sweep.request, job: { ...sweep.request.job, dataset: copy.id } });
      location.hash = `#/sweeps/${id}`;
    } catch (error) {
      event.target.after(problem(error));
    }
  } }, "The same folds on it");
  const begin = async () => {
    const told = (await api.text(`/sweeps/${sweep.id}/rows?sort=mislabelled`)).split("\n", SUSPECTS).filter(Boolean).map((line) => JSON.parse(line)).filter((row) => !row.right);
    const [data, texts] = await Promise.all([api.get(`/datasets/${dataset}`),
      told.length ? api.get(`/datasets/${dataset}/rows?lines=${told.map((row) => row.line).join(",")}`) : { data: [] }]);
    const text = new Map(texts.data.map((row) => [row.line, row]));
    const list = correctable(dataset, classes(data), (copy) => [again(copy)]);
    list.show(told.map((row) => ({ ...row, why: `fold ${row.fold}`, text: text.get(row.line)?.text ?? "", truncated: text.get(row.line)?.truncated })));
    section.append(list.node);
  };
  begin().catch((error) => section.append(problem(error)));
  return section;
}
