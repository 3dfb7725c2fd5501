// The fields of the form, as the server's schema describes them: controls, values, and what is said beside each.
import { el, fill } from "/web/dom.js";
import { title } from "/web/submit_words.js";

const standard = (schema) => (schema.default === undefined || schema.default === null ? "default" : `default (${schema.default})`);

export function control(name, schema, value, write = JSON.stringify) {
  const shown = value ?? "";
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices)
    return el("select", { name }, el("option", { value: "" }, standard(schema)),
      choices.map((v) => el("option", { value: write(v), selected: v === value }, String(v))));
  return el("input", { name, value: typeof shown === "object" ? JSON.stringify(shown) : shown, maxlength: schema.maxLength,
    placeholder: schema.default === undefined ? "" : `default: ${schema.default ?? "none"}`,
    inputmode: ["integer", "number"].includes([schema.type].flat()[0]) && ![schema.type].flat().includes("string") ? "decimal" : "text" });
}

// Choices [value, text] with the value of before among them.
export function choose(name, options, value, attributes = {}) {
  const own = value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const known = options.some(([one]) => one === own) ? options : [...options, [own, `as before: ${own}`]];
  return el("select", { name, ...attributes }, known.map(([one, text]) => el("option", { value: one, selected: one === own }, text)));
}

// {name, node, label, tell, blame}: `tell` says what the value amounts to, `blame` what is wrong with it; both take it back without an argument.
export function row(name, node, help) {
  const effective = el("span", { class: "effective" }), wrong = el("span", { class: "error", id: `wrong-${name}` });
  node.setAttribute("aria-describedby", wrong.id);
  const label = el("label", { "data-field": name }, el("span", {}, title(name)), node, el("span", { class: "soft" }, help ?? ""), effective, wrong);
  const tell = (value, why) => fill(effective, value === undefined ? null : [el("strong", {}, `now ${value}`), why ? ` – ${why}` : ""]);
  const blame = (message) => {
    wrong.textContent = message ?? "";
    if (message) node.setAttribute("aria-invalid", "true");
    else node.removeAttribute("aria-invalid");
  };
  return { name, node, label, tell, blame };
}

export const read = (text) => {
  try { return JSON.parse(text); } catch { return text; }
};
