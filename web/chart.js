// The loss curve: training and validation over steps, on a canvas. Redrawn whole; a few thousand points take a millisecond.
import { el } from "/web/dom.js";

const MARGIN = { left: 56, right: 14, top: 12, bottom: 30 };

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * magnitude).find((s) => s >= raw);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) out.push(Number(v.toPrecision(12)));
  return out;
}

export class Chart {
  constructor() {
    this.train = [];
    this.val = [];
    this.sample = [];
    this.neutral = [];
    this.kl = el("span");
    this.canvas = el("canvas", { role: "img", tabindex: 0, "aria-label": "no values yet" });
    this.node = el("div", {}, this.canvas, el("p", { class: "row soft" },
      el("span", { class: "key-train" }, "training loss"), el("span", { class: "key-val" }, "validation loss"),
      el("span", { class: "key-sample" }, "training rows evaluated"), el("span", { class: "key-neutral", hidden: true }, "neutral text"), this.kl));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  add(row) {
    if (row.loss !== null && row.loss !== undefined) this.train.push([row.step, row.loss]);
    if (row.val_loss !== null && row.val_loss !== undefined) this.val.push([row.step, row.val_loss]);
    if (row.train_eval_loss !== null && row.train_eval_loss !== undefined) this.sample.push([row.step, row.train_eval_loss]);
    if (row.neutral_loss !== null && row.neutral_loss !== undefined) {
      this.neutral.push([row.step, row.neutral_loss]);
      this.node.querySelector(".key-neutral").hidden = false;
    }
    if (row.val_kl !== null && row.val_kl !== undefined) this.kl.textContent = `KL from the base ${row.val_kl.toPrecision(3)} at step ${row.step}`;
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => { this.waiting = false; this.draw(); });
    }
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const g = canvas.getContext("2d");
    g.scale(scale, scale);
    const all = [...this.train, ...this.val, ...this.sample, ...this.neutral];
    if (!all.length) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const xs = all.map((p) => p[0]), ys = all.map((p) => p[1]);
    const range = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    let [x0, x1] = range(xs), [y0, y1] = range(ys);
    if (x0 === x1) x1 = x0 + 1;
    const room = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    y0 -= room; y1 += room;
    const x = (v) => MARGIN.left + (v - x0) / (x1 - x0) * (width - MARGIN.left - MARGIN.right);
    const y = (v) => height - MARGIN.bottom - (v - y0) / (y1 - y0) * (height - MARGIN.top - MARGIN.bottom);
    g.font = "12px system-ui";
    g.fillStyle = color("--soft");
    g.strokeStyle = color("--line");
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const v of ticks(y0, y1, 5)) {
      g.beginPath(); g.moveTo(MARGIN.left, y(v)); g.lineTo(width - MARGIN.right, y(v)); g.stroke();
      g.fillText(String(v), MARGIN.left - 8, y(v));
    }
    g.textAlign = "center";
    g.textBaseline = "top";
    for (const v of ticks(x0, x1, 8)) if (Number.isInteger(v)) g.fillText(String(v), x(v), height - MARGIN.bottom + 8);
    const line = (points, name, dots) => {
      g.strokeStyle = g.fillStyle = color(name);
      g.lineWidth = 1.8;
      g.beginPath();
      points.forEach((p, i) => (i ? g.lineTo(x(p[0]), y(p[1])) : g.moveTo(x(p[0]), y(p[1]))));
      g.stroke();
      if (dots || points.length === 1) for (const p of points) { g.beginPath(); g.arc(x(p[0]), y(p[1]), 3, 0, 7); g.fill(); }
    };
    line(this.train, "--train", false);
    g.setLineDash([5, 4]);
    line(this.sample, "--train", false);
    line(this.neutral, "--soft", false);
    g.setLineDash([]);
    line(this.val, "--val", this.val.length < 100);
    const last = this.train.at(-1), judged = this.val.at(-1);
    canvas.setAttribute("aria-label", `loss by step${last ? `; training loss ${last[1].toPrecision(4)} at step ${last[0]}` : ""}` +
      `${judged ? `; validation loss ${judged[1].toPrecision(4)} at step ${judged[0]}` : ""}`);
  }
}
