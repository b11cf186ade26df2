// Controls made from the API's descriptions of settings, so that whatever the server can do is on the page.

import { ApiError } from "../api.js";
import { field, select, toggle } from "../ui/controls.js";
import { h } from "../ui/dom.js";

/** "guidance_rescale" as a label: "Guidance rescale". */
export const spoken = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

/** A value as it is typed. */
export function typed(value) {
  if (value === null || value === undefined) return "";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/**
 * What was typed, as the type that a setting has.
 *
 * @throws {ApiError} with a sentence where it is of another type.
 */
export function read(text, { name, type, list, optional, words, default: standard }) {
  const said = text.trim();
  if (words?.includes(said)) return said;
  if (list) return said ? said.split(",").map((part) => one(part.trim(), name, type)) : [];
  if (said === "") return optional || type !== "str" ? (optional ? null : standard) : "";
  return one(said, name, type);
}

function one(text, name, type) {
  if (type === "str") return text;
  const number = Number(text);
  const whole = type === "int";
  if (text === "" || !Number.isFinite(number) || (whole && !Number.isInteger(number))) {
    throw new ApiError(`${spoken(name)} is a ${whole ? "whole number" : "number"}, and “${text}” is none.`);
  }
  return number;
}

/**
 * A control for one setting: { name, element, value, set, touched }. Besides what the API says of it, a description may have a
 * `label`, and with `elsewhere`, the words for it, its value is decided there unless a person fills it.
 *
 * `value` reads it (and throws a sentence); `set` writes it, by default as what is given; `touched` says whether it
 * differs from what is given.
 */
export function control(description, onChange) {
  const { name, type, choices, help, default: standard, label = spoken(name) } = description;
  let given = standard;
  if (description.elsewhere) return open(description, label);
  if (type === "bool") {
    const { element, input } = toggle({ label, value: Boolean(standard), onChange });
    const set = (next) => (input.checked = Boolean(next));
    return made(name, h("div", { class: "control" }, element, h("p", { class: "hint" }, help)), () => input.checked, set);
  }
  if (choices && !description.list) {
    const list = description.optional ? [["", "automatic"], ...choices.map((each) => [each, each])] : choices.map((each) => [each, each]);
    const chooser = select({ label, choices: list, value: standard ?? "", hint: help, onChange });
    const set = (next) => (chooser.input.value = next ?? "");
    return made(name, chooser.element, () => chooser.value || null, set);
  }
  const numeric = type !== "str" && !description.list && !description.words;
  const entry = field({ label, value: typed(standard), hint: help, inputmode: numeric ? "decimal" : "text", autocomplete: "off", onChange });
  const value = () => {
    try {
      const found = read(entry.value, description);
      entry.complain(null);
      return found;
    } catch (error) {
      entry.complain(error.message);
      entry.input.closest("details")?.setAttribute("open", "");
      entry.input.focus();
      throw error;
    }
  };
  const set = (next) => {
    entry.set(typed(next));
    entry.complain(null);
  };
  return made(name, entry.element, value, set);

  function made(key, element, get, put) {
    const write = (next, asGiven = true) => {
      if (asGiven) given = next;
      put(next);
    };
    return { name: key, element, value: get, set: write, touched: () => typed(get()) !== typed(given) };
  }
}

/**
 * A control that stays empty until a person fills it, for settings whose value is decided elsewhere.
 *
 * What is decided elsewhere cannot be shown as if it were a default.
 */
function open(description, label) {
  const { name, type, choices, help, elsewhere } = description;
  const words = type === "bool" ? ["yes", "no"] : choices;
  const made = words && !description.list
    ? select({ label, choices: [["", elsewhere], ...words.map((each) => [each, each])], value: "", hint: help })
    : field({ label, value: "", hint: help, placeholder: elsewhere, autocomplete: "off" });
  const value = () => {
    if (type === "bool") return made.value === "yes";
    try {
      return read(made.value, description);
    } catch (error) {
      made.complain?.(error.message);
      for (let fold = made.input.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      made.input.focus();
      throw error;
    }
  };
  return { name, element: made.element, value, set: () => {}, touched: () => made.value.trim() !== "" };
}

/** Many controls: { element, values, touched, set, only }. only(wanted: name -> boolean) hides the others, which then are not told. */
export function controls(descriptions, onChange) {
  const all = descriptions.map((description) => control(description, onChange));
  const seen = () => all.filter(({ element }) => !element.hidden);
  const pairs = (chosen) => Object.fromEntries(chosen.map((each) => [each.name, each.value()]));
  return {
    element: h("div", { class: "fields" }, all.map(({ element }) => element)),
    values: () => pairs(seen()),
    touched: () => pairs(seen().filter((each) => each.touched())),
    only: (wanted) => all.forEach(({ name, element }) => (element.hidden = !wanted(name))),
    set: (values, asGiven = true) => all.forEach((each) => each.name in values && each.set(values[each.name], asGiven)),
  };
}

/** More settings, folded away until they are wanted. */
export const folded = (summary, ...children) => h("details", { class: "folded" }, h("summary", {}, summary), children);
