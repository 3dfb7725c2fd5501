// A run's curves: loss with the range of what was left out, the task's metrics, learning rate, gradient norm, speed; over steps, epochs, tokens or time.
import * as api from "/web/api.js";
import { el, problem } from "/web/dom.js";
import { Panel, dygraphs, smoothed, together } from "/web/panel.js";

const POINTS = 1500; // training rows in view, about

// Panels by the fields of a row. `rest`: every other val_ metric; those that leave 0 to 1 get panels of their own.
const LOSSES = [["loss", "training loss", "--train"], ["val_loss", "validation loss", "--val"], ["train_eval_loss", "training rows evaluated", "--train"],
  ["neutral_loss", "neutral text", "--soft"]];
const OTHERS = [["learning_rate", "learning rate"], ["grad_norm", "gradient norm"], ["tokens_per_second", "tokens a second"]];
const COLOURS = ["--val", "--train", "--good", "--wait", "--bad", "--accent", "--soft"];
const AXES = { step: "step", epoch: "epoch", tokens: "tokens", time: "time" };
const MARKS = { best: "B", exported: "E", checkpoint: "C", warning: "W", resumed: "R" }; // on flags

const present = (value) => value !== null && value !== undefined;

export class Curves {
  // Of the job `id`.
  constructor(id) {
    this.id = id;
    this.rows = [];   // of the whole run
    this.detail = []; // of what is in view, where that has more
    this.view = null; // [from, to] on the axis
    this.marks = [];
    this.total = 0;
    this.axis = "step";
    this.panels = new Map();
    this.untie = () => {};
    this.choice = el("select", { "aria-label": "Horizontal axis", onchange: () => this.turn(this.choice.value) }, Object.entries(AXES).map(([value, name]) => el("option", { value }, `by ${name}`)));
    this.smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, "aria-label": "Smoothing of the training loss", oninput: () => this.later() });
    this.log = el("input", { type: "checkbox", onchange: () => this.later() });
    this.reset = el("button", { disabled: true, onclick: () => this.panels.forEach((panel) => panel.reset()) }, "Whole run");
    this.note = el("span", { class: "soft" });
    this.plots = el("div", { class: "curves" });
    this.trouble = el("div");
    this.node = el("div", {}, el("p", { class: "row" }, this.choice, el("label", { class: "inline" }, "smooth ", this.smooth), el("label", { class: "inline" }, this.log, " logarithmic"), this.reset,
      this.note), this.trouble, this.plots);
  }

  // Rows of these steps, thinned; of all without any.
  async range(from, to) {
    return (await api.get(`/jobs/${this.id}/metrics?points=${POINTS}${from === null ? "" : `&from=${from}&to=${to}`}`)).data;
  }

  async load() {
    this.rows = await this.range(null, null);
    this.later();
    return this.rows.at(-1)?.step ?? -1;
  }

  add(row) {
    this.rows.push(row);
    if (this.rows.length > 4 * POINTS && !this.thinning) this.thin();
    this.later();
  }

  // A run that grew long while it was watched.
  async thin() {
    this.thinning = true;
    try {
      const data = await this.range(null, null);
      this.rows = [...data, ...this.rows.filter((row) => row.step > (data.at(-1)?.step ?? -1))];
    } catch { /* as long as it is */ }
    this.thinning = false;
  }

  // total: planned steps; left: seconds to go; marks: [{kind, step, text}].
  plan({ total, left, marks }) {
    this.total = total || this.total;
    this.left = left;
    this.marks = marks ?? this.marks;
    this.later();
  }

  later() {
    this.waiting ??= requestAnimationFrame(async () => {
      try {
        await dygraphs();
        this.waiting = null;
        if (this.node.isConnected) this.draw();
      } catch (error) {
        this.trouble.replaceChildren(problem(error));
      }
    });
  }

  turn(axis) {
    this.axis = axis;
    this.detail = [];
    this.view = null;
    this.untie();
    this.panels.forEach((panel) => panel.node.remove());
    this.panels.clear();
    this.untie = () => {};
    this.reset.disabled = true;
    this.later();
  }

  // Rows with where they stand on the axis, in order. An evaluation has no tokens: those of the step before it count.
  placed() {
    const first = this.detail[0]?.step, last = this.detail.at(-1)?.step;
    const rows = this.detail.length ? [...this.rows.filter((r) => r.step < first), ...this.detail, ...this.rows.filter((r) => r.step > last)] : this.rows;
    let tokens = 0, at = -Infinity;
    return rows.map((row) => {
      tokens = row.tokens ?? tokens;
      const x = { step: row.step, epoch: row.epoch, tokens, time: Date.parse(row.time) }[this.axis] ?? at;
      at = Math.max(at, x);
      return { row, x: at };
    });
  }

  // Where the run is planned to end, on the axis.
  end(placed) {
    const last = placed.at(-1);
    if (!last || last.row.step >= this.total || !last.row.step) return null;
    if (this.axis === "time") return present(this.left) ? Date.now() + 1000 * this.left : null;
    return this.axis === "step" ? this.total : last.x * this.total / last.row.step;
  }

  panel(key, title, small) {
    let panel = this.panels.get(key);
    if (!panel) {
      panel = new Panel(title, { small, told: (x) => this.told(x), zoomed: (from, to) => this.zoomed(from, to) });
      this.panels.set(key, panel);
      this.plots.append(panel.node);
      this.fresh = true;
    }
    return panel;
  }

  told(x) {
    return this.axis === "time" ? new Date(x).toLocaleString() : `${AXES[this.axis]} ${Number(x.toPrecision(6)).toLocaleString()}`;
  }

  draw() {
    const placed = this.placed();
    if (!placed.length) return;
    const end = this.end(placed), dates = this.axis === "time";
    const place = (x) => (dates ? new Date(x) : x);
    const plot = (panel, rows, series, options = {}) => {
      const empty = options.bars ? series.map(() => [null, null, null]) : series.map(() => null);
      panel.draw([...rows.map(([x, ...values]) => [place(x), ...values]), ...(end === null ? [] : [[place(end), ...empty]])], series, { ...options, dates });
    };
    this.drawLoss(placed, plot);
    const names = [...new Set(placed.flatMap(({ row }) => Object.keys(row)))].filter((name) => name.startsWith("val_") && name !== "val_loss");
    const wide = names.filter((name) => placed.some(({ row }) => present(row[name]) && Math.abs(row[name]) > 1));
    const shared = names.filter((name) => !wide.includes(name));
    const simple = (key, title, fields) => {
      const rows = placed.filter(({ row }) => fields.some((name) => present(row[name]))).map(({ row, x }) => [x, ...fields.map((name) => row[name] ?? null)]);
      if (rows.length) plot(this.panel(key, title, true), rows, fields.map((name, i) => ({ label: name.replace(/^val_/, "").replaceAll("_", " "), colour: COLOURS[i % COLOURS.length], points: rows.length < 100 })));
    };
    if (shared.length) simple("metrics", "metrics on validation rows", shared);
    for (const name of wide) simple(name, `${name.slice(4).replaceAll("_", " ")} on validation rows`, [name]);
    for (const [name, title] of OTHERS) simple(name, title, [name]);
    this.tell(placed);
    if (this.fresh) {
      this.untie();
      this.untie = together([...this.panels.values()]);
      this.fresh = false;
    }
  }

  // How much of what is in view is drawn, and what the flags mean.
  tell(placed) {
    const [from, to] = this.view ?? [-Infinity, Infinity];
    const seqs = placed.filter(({ x, row }) => x >= from && x <= to && present(row.seq)).map(({ row }) => row.seq);
    const all = seqs.length ? seqs.at(-1) - seqs[0] + 1 : 0, kinds = new Set(this.marks.map((m) => m.kind));
    const drawn = all > seqs.length ? `${seqs.length.toLocaleString()} of ${all.toLocaleString()} rows drawn, as ranges with their mean: drag to see more` : "every row drawn; drag to zoom in";
    this.note.textContent = [drawn, ...Object.entries(MARKS).filter(([kind]) => kinds.has(kind)).map(([kind, letter]) => `${letter} ${kind}`)].join(" · ");
  }

  // Training rows as measured lie behind the smooth line. Where rows are left out, three make
  // a range and their mean: the last one alone would be the least or greatest of its bucket too often.
  drawLoss(placed, plot) {
    const train = placed.map((p, i) => ({ ...p, i })).filter(({ row }) => present(row.loss)), weight = Number(this.smooth.value);
    const groups = [];
    for (let i = 0; i < train.length;) {
      const third = train[i + 2], gap = third && third.row.seq - train[i].row.seq > third.i - train[i].i;
      const own = train.slice(i, i + (gap ? 3 : 1)), losses = own.map(({ row }) => row.loss);
      groups.push({ x: own.at(-1).x, low: Math.min(...losses), value: losses.reduce((sum, loss) => sum + loss, 0) / losses.length, high: Math.max(...losses) });
      i += own.length;
    }
    const smooth = smoothed(groups.map((g) => g.value), weight);
    const bar = (value) => (present(value) ? [value, value, value] : [null, null, null]);
    const fields = LOSSES.slice(1).filter(([name]) => placed.some(({ row }) => present(row[name])));
    const measured = placed.filter(({ row }) => fields.some(([name]) => present(row[name])));
    const rows = [...groups.map((g, i) => [g.x, [g.low, g.value, g.high], bar(smooth[i]), ...fields.map(() => bar(null))]),
      ...measured.map(({ row, x }) => [x, bar(null), bar(null), ...fields.map(([name]) => bar(row[name]))])].sort((a, b) => a[0] - b[0]);
    if (!rows.length) return;
    const series = [{ label: "as measured", colour: "--train-faint", faint: true }, { label: LOSSES[0][1], colour: LOSSES[0][2] },
      ...fields.map(([name, label, colour]) => ({ label, colour, dashed: name !== "val_loss", points: measured.length < 100 }))];
    plot(this.panel("loss", "loss", false), rows, series, { bars: true, log: this.log.checked, markers: this.markers(groups, placed) });
    const last = train.at(-1)?.row, judged = measured.at(-1)?.row;
    this.panels.get("loss").plot.setAttribute("aria-label", `loss by ${AXES[this.axis]}${last ? `; training loss ${last.loss.toPrecision(4)} at step ${last.step}` : ""}` +
      `${present(judged?.val_loss) ? `; validation loss ${judged.val_loss.toPrecision(4)} at step ${judged.step}` : ""}`);
  }

  // At the point of the training loss that is nearest; several of one place share a flag.
  markers(groups, placed) {
    const flags = new Map();
    for (const mark of this.marks) {
      const at = placed.find(({ row }) => row.step >= mark.step)?.x ?? placed.at(-1).x;
      const near = groups.reduce((best, g) => (best === null || Math.abs(g.x - at) < Math.abs(best - at) ? g.x : best), null);
      if (near !== null) flags.set(near, [...(flags.get(near) ?? []), mark]);
    }
    return [...flags].map(([x, marks]) => ({ series: "as measured", x, kind: marks[0].kind, shortText: [...new Set(marks.map((m) => MARKS[m.kind]))].join(""),
      width: 10 + 8 * new Set(marks.map((m) => m.kind)).size, text: marks.map((m) => m.text).join("; ") }));
  }

  // What is in view is asked for again where rows were left out there.
  async zoomed(from, to) {
    this.reset.disabled = from === null;
    this.view = from === null ? null : [from, to];
    const turn = this.turned = {};
    if (from === null) {
      this.detail = [];
      return this.later();
    }
    const placed = this.placed(), inside = placed.filter(({ x }) => x >= from && x <= to);
    const before = placed.filter(({ x }) => x < from).at(-1)?.row ?? placed[0].row, behind = placed.find(({ x }) => x > to)?.row ?? placed.at(-1).row;
    const rows = [before, ...inside.map(({ row }) => row), behind].filter((row) => present(row.seq));
    if (!rows.some((row, i) => i && row.seq - rows[i - 1].seq > 1)) return this.later();
    try {
      const data = await this.range(before.step, behind.step);
      if (this.turned !== turn || !data.length) return;
      this.detail = data;
      this.trouble.replaceChildren();
      this.later();
    } catch (error) {
      this.trouble.replaceChildren(problem(error));
    }
  }
}
