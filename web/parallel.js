// Parallel coordinates: a line a trial over an axis a setting, the result last; the better the result, the stronger the line.
import { short } from "/web/dom.js";
import { node } from "/web/plot.js";

const WIDTH = 900, HEIGHT = 260, TOP = 40, BOTTOM = 22, SIDE = 70;

// A scale of one setting: numbers by size (`log` by their logarithm), anything else side by side. Null where all are the same.
function scale(values, log) {
  const given = values.filter((value) => value !== undefined && value !== null), numbers = given.every((value) => typeof value === "number");
  const known = [...new Set(given.map((value) => (numbers ? value : String(value))))];
  if (known.length < 2) return null;
  if (!numbers) return { at: (value) => known.indexOf(String(value)) / (known.length - 1), ends: [known[0], known.at(-1)] };
  const even = log && known.every((value) => value > 0) ? Math.log : (value) => value;
  const low = Math.min(...known), high = Math.max(...known);
  return { at: (value) => (even(value) - even(low)) / (even(high) - even(low)), ends: [short(low), short(high)] };
}

// trials: [{settings, value, label, best}]; axes: [{name, log}]. Null where nothing differs.
export function parallel(trials, axes, metric, smaller) {
  const valued = trials.filter((trial) => trial.value !== null);
  const scales = axes.map(({ name, log }) => ({ name, get: (trial) => trial.settings[name], scale: scale(valued.map((trial) => trial.settings[name]), log) }));
  const result = { name: metric, get: (trial) => trial.value, scale: scale(valued.map((trial) => trial.value), false) };
  const shown = [...scales.filter((one) => one.scale), ...(result.scale ? [result] : [])];
  if (shown.length < 2 || !result.scale) return null;
  const x = (i) => SIDE + i / (shown.length - 1) * (WIDTH - 2 * SIDE), y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const good = (trial) => (smaller ? 1 - result.scale.at(trial.value) : result.scale.at(trial.value));
  const line = (trial) => node("path", {
    d: shown.map((axis, i) => [axis.get(trial), i, axis]).filter(([value]) => value !== undefined && value !== null).map(([value, i, axis], k) => `${k ? "L" : "M"}${x(i)} ${y(axis.scale.at(value))}`).join(""),
    class: trial.best ? "trial best" : "trial", "stroke-opacity": trial.best ? 1 : (0.15 + 0.6 * good(trial)).toFixed(2),
  }, node("title", {}, trial.label));
  const axis = ({ name, scale: { ends } }, i) => node("g", {}, node("path", { class: "axes", d: `M${x(i)} ${TOP}V${HEIGHT - BOTTOM}` }),
    node("text", { x: x(i), y: TOP - 22, "text-anchor": "middle", class: "name" }, name.replaceAll("_", " ")), node("text", { x: x(i), y: TOP - 7, "text-anchor": "middle" }, ends[1]),
    node("text", { x: x(i), y: HEIGHT - 6, "text-anchor": "middle" }, ends[0]));
  return node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot parallel", role: "img", "aria-label": `settings of ${valued.length} trials and their ${metric}` },
    ...shown.map(axis), ...[...valued].sort((a, b) => Boolean(a.best) - Boolean(b.best)).map(line));
}
