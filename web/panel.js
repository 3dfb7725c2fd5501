// One chart: dygraphs with the page's colours, and the values under the pointer as text below it. dygraphs is loaded with the first chart.
import { el, short } from "/web/dom.js";

let loaded = null;

function script(src) {
  return new Promise((resolve, reject) => document.head.append(el("script", { src, onload: resolve, onerror: () => reject(new Error(`${src} could not be loaded`)) })));
}

// Its own legend writes style attributes, which the page's policy forbids: each panel has a legend of ours.
export function dygraphs() {
  loaded ??= (async () => {
    document.head.append(el("link", { rel: "stylesheet", href: "/web/dygraph.min.css" }));
    await script("/web/dygraph.min.js");
    await script("/web/synchronizer.js");
    const { Dygraph } = window;
    Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);
    return Dygraph;
  })();
  return loaded;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || name;

// Numbers of an axis: as short as they can be told apart.
const tick = (value) => (Math.abs(value) >= 1e-4 || value === 0 ? value.toLocaleString(undefined, { maximumSignificantDigits: 5 }) : value.toExponential(1));

export class Panel {
  // told(x) says where the pointer is; zoomed(from, to) hears what is in view, (null, null) for all of it.
  constructor(title, { small = false, told = (x) => tick(x), zoomed = () => {} } = {}) {
    this.small = small;
    this.told = told;
    this.zoomed = zoomed;
    this.series = [];
    this.plot = el("div", { class: small ? "curve small" : "curve", role: "img", "aria-label": title });
    this.legend = el("p", { class: "row soft legend" });
    this.node = el("figure", { class: "panel" }, el("figcaption", {}, title), this.plot, this.legend);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.graph?.updateOptions(this.looks()));
  }

  looks() {
    return {
      series: Object.fromEntries(this.series.map((s) => [s.label, {
        color: colour(s.colour), strokeWidth: s.faint ? 1 : 1.8, strokePattern: s.dashed ? [5, 4] : null, drawPoints: Boolean(s.points), pointSize: 2.5,
        highlightCircleSize: s.faint ? 0 : 4, drawHighlightPointCallback: s.faint ? () => {} : null,
      }])),
      gridLineColor: colour("--line"), axisLineColor: colour("--line"),
    };
  }

  // rows: [[x, value …]], a value per series {label, colour, dashed, faint, points}, or [low, value, high] of each with `bars`.
  draw(rows, series, { bars = false, log = false, dates = false, markers = [] } = {}) {
    const { Dygraph } = window;
    this.series = series;
    const options = {
      ...this.looks(), file: rows, labels: ["x", ...series.map((s) => s.label)], customBars: bars, fillAlpha: 0.22, connectSeparatedPoints: true, logscale: log,
      axes: { x: { drawGrid: false, pixelsPerLabel: this.small ? 50 : 70, ...(dates ? {} : { axisLabelFormatter: tick }) }, y: { axisLabelFormatter: tick, axisLabelWidth: 56 } },
    };
    if (!this.graph) {
      this.graph = new Dygraph(this.plot, rows, {
        ...options, file: undefined, axisLabelFontSize: 12, rightGap: 12, yRangePad: 8, resizable: "passive",
        plugins: [{ activate: () => ({ select: ({ selectedX, selectedPoints }) => this.point(selectedX, selectedPoints), deselect: () => this.point(null, []) }), toString: () => "legend" }],
        zoomCallback: (from, to) => this.zoomed(...(this.graph.isZoomed("x") ? [from, to] : [null, null])),
      });
    } else this.graph.updateOptions(options);
    this.graph.setAnnotations(markers.map((m) => ({ attachAtBottom: true, tickHeight: 6, cssClass: `marker ${m.kind}`, ...m })));
    this.point(null, []);
  }

  // The legend: names and colours, and the values where the pointer is.
  point(x, points) {
    const values = Object.fromEntries(points.map((p) => [p.name, p.yval]));
    this.legend.replaceChildren(el("span", { class: "at" }, x === null ? "" : this.told(x)), ...this.series.filter((s) => !s.faint).map((s) => {
      const key = el("i", { class: s.dashed ? "key dashed" : "key" });
      key.style.setProperty("--key", colour(s.colour));
      return el("span", {}, key, s.label, values[s.label] === undefined ? "" : ` ${short(values[s.label])}`);
    }));
  }

  reset() {
    this.graph?.resetZoom();
  }
}

// Panels that zoom and point together. Returns what ends it.
export function together(panels) {
  const graphs = panels.map((panel) => panel.graph);
  if (graphs.length < 2) return () => {};
  const tie = window.Dygraph.synchronize(graphs, { zoom: true, selection: true, range: false });
  return () => tie.detach();
}

// Mean that forgets: weight 0 leaves values as they are. Its start is not drawn towards 0.
export function smoothed(values, weight) {
  let sum = 0, mass = 0;
  return values.map((value) => {
    if (value === null || !weight) return value;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}
