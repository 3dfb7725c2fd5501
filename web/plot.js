// Small plots as SVG: points and a line over two axes, with the numbers at their ends.
import { short } from "/web/dom.js";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 200, LEFT = 58, BOTTOM = 28, TOP = 10, RIGHT = 12;

export function node(name, attributes, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const range = (values) => {
  const low = Math.min(...values), high = Math.max(...values);
  return low === high ? [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05] : [low, high];
};

// points: [{x, y, label, best}]; x may be texts, which stand side by side. options: {title, log, line}.
export function plot(points, { title, xName = "", yName = "", log = false, line = false }) {
  const texts = points.some((p) => typeof p.x !== "number") ? [...new Set(points.map((p) => String(p.x)))].sort() : null;
  const number = (p) => (texts ? texts.indexOf(String(p.x)) : log ? Math.log(p.x) : p.x);
  const [x0, x1] = range(points.map(number)), [y0, y1] = range(points.map((p) => p.y));
  const x = (p) => LEFT + (number(p) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
  const y = (p) => HEIGHT - BOTTOM - (p.y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP);
  const text = (value, at, anchor) => node("text", { x: at[0], y: at[1], "text-anchor": anchor }, value);
  const ends = texts ? texts.map((t, i) => text(t, [LEFT + (texts.length > 1 ? (i - x0) / (x1 - x0) : 0.5) * (WIDTH - LEFT - RIGHT), HEIGHT - 10], "middle"))
    : [text(short(log ? Math.exp(x0) : x0), [LEFT, HEIGHT - 10], "start"), text(short(log ? Math.exp(x1) : x1), [WIDTH - RIGHT, HEIGHT - 10], "end")];
  return node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": title },
    node("path", { class: "axes", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
    text(short(y1), [LEFT - 6, TOP + 8], "end"), text(short(y0), [LEFT - 6, HEIGHT - BOTTOM], "end"), ...ends,
    text(yName, [LEFT + 4, TOP + 8], "start"), text(xName, [(LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10], "middle"),
    ...(line && points.length > 1 ? [node("path", { class: "line", d: "M" + points.map((p) => `${x(p)} ${y(p)}`).join("L") })] : []),
    ...points.map((p) => node("circle", { cx: x(p), cy: y(p), r: p.best ? 5 : 3, class: p.best ? "best" : "" }, node("title", {}, p.label))));
}
