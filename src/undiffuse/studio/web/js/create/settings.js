// How pictures are drawn: sampler, steps, class or text, guidance, and everything else folded away.

import { field, select, slider } from "../ui/controls.js";
import { freshId, h } from "../ui/dom.js";
import { controls, folded } from "./fields.js";

/** Settings that have a control of their own. */
const OWN = ["sampler", "steps", "classes", "text", "guidance"];
/** Those that a student, which knows its own walk, leaves open beside the class, the text and its guidance. */
const OF_STUDENTS = ["vector", "morph_to", "morph", "weights", "micro_batch", "precision"];
/** Those that are for no edit: an edit begins with a picture, not with the noise of a seed. */
const OF_SAMPLES = ["morph_to", "morph"];
/** More classes than this are typed, not pressed. */
const CHIPS = 24;

/** Some of many, all visible: { element, value, set }. */
export function chips({ label, hint, choices, onChange }) {
  const inputs = choices.map((value) => h("input", { type: "checkbox", value, onchange: () => onChange?.() }));
  const note = freshId("chips");
  const short = choices.every((name) => name.length <= 2);
  const row = h("div", { class: short ? "chips even" : "chips" }, inputs.map((input) => h("label", {}, input, input.value)));
  if (short) row.style.setProperty("--columns", Math.ceil(choices.length / Math.ceil(choices.length / 7)));
  return {
    element: h(
      "fieldset",
      { class: "control", "aria-describedby": note },
      h("legend", { class: "label" }, label),
      row,
      h("p", { class: "hint", id: note }, hint),
    ),
    value: () => inputs.filter(({ checked }) => checked).map(({ value }) => value),
    set: (values) => inputs.forEach((input) => (input.checked = values.includes(input.value))),
  };
}

/** A note of the API as a sentence of the page. */
const sentence = (text) => text && `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Classes typed with commas between them, as `chips`. */
function typedClasses(classes) {
  const entry = field({ label: "Classes", hint: `Separated by commas; leave it empty for all ${classes.length} in turn.`, autocomplete: "off" });
  return {
    element: entry.element,
    // names may have commas, and the model knows which: the text goes there whole
    value: () => (entry.value.trim() ? [entry.value.trim()] : []),
    set: (values) => entry.set(values.map((name) => (name.includes(",") && values.length > 1 ? `"${name}"` : name)).join(", ")),
  };
}

/**
 * The form of the settings of sampling.
 *
 * @param {object} options descriptions: of all settings; samplers: as the API tells them; extra: elements beside the rarer ones.
 * @returns {{ element, show, settings, touched, restore, forEdits, forLive }}
 *   show(model): offers what a model can, at its recipe's values; settings(): all of them; touched(): those that the person
 *   changed, for edits, which have good values of their own; restore(settings): those of a picture; forEdits(whether) leaves
 *   sampler and steps to the edit, forLive(whether) class, guidance and steps to the sliders there.
 */
export function samplingForm({ descriptions, samplers, extra = [] }) {
  let given = {};
  let classes = null;
  let names = [];
  let student = null;
  const notes = new Map(samplers.map(({ name, note }) => [name, note]));
  const note = h("p", { class: "hint" });
  const say = () => (note.textContent = sentence(notes.get(sampler.value) ?? ""));
  const sampler = select({ label: "Sampler", choices: samplers.map(({ name }) => [name, name]), value: "ddim", onChange: say });
  sampler.element.append(note);
  // An edit has a sampler and steps that suit it: they stay its own until a person chooses.
  let ofEdit = false;
  let stepsOfEdit = false;
  /** What was chosen in the other of both: drawing, and changing a picture. */
  let aside = { sampler: "", stepsOfEdit: true };
  const steps = slider({
    label: "Steps",
    min: 1,
    max: 100,
    value: 20,
    format: (k) => (stepsOfEdit ? "the edit’s own" : String(k)),
    onInput: () => ((stepsOfEdit = false), steps.refresh()),
  });
  const ownSteps = select({ label: "Steps", choices: [], value: "", hint: "All that this model was made for." });
  const stepsPlace = h("div", {}, steps.element); // one of the two: a label names one control
  const text = field({ label: "What it shows", type: "textarea", hint: "In plain words, as the texts it was trained with.", maxlength: 1000 });
  const guidance = slider({
    label: "Guidance",
    min: 0,
    max: 8,
    step: 0.25,
    value: 1,
    format: (w) => (w === 1 ? "1, as learned" : String(w)),
    hint: "More follows the class or the text more closely, with less variety.",
  });
  const rest = controls(descriptions.filter(({ name }) => !OWN.includes(name)));
  const classPlace = h("div", { hidden: true });

  function setSteps(value) {
    steps.input.max = Math.max(100, value);
    steps.set(value);
  }

  function write(settings, asGiven) {
    const now = { ...given, ...settings };
    if (asGiven) given = now;
    if (!ofEdit) sampler.input.value = now.sampler;
    else if (asGiven) aside = { ...aside, sampler: now.sampler };
    say();
    setSteps(now.steps);
    if (student?.steps.includes(now.steps)) ownSteps.input.value = String(now.steps);
    if (!student) guidance.input.max = Math.max(8, now.guidance);
    guidance.set(now.guidance);
    text.set(now.text ?? "");
    const known = now.classes ?? [];
    const words = [":all", ":none", ...["all", "none"].filter((word) => !names.includes(word))];
    classes?.set(words.includes(known[0]) ? [] : known);
    rest.set(now, asGiven);
  }

  function show(model) {
    const chosen = changed();
    const withClasses = model.conditions.includes("class") && model.classes.length > 0;
    const few = model.classes.length <= CHIPS;
    classes = null;
    names = withClasses ? model.classes : [];
    if (withClasses) classes = few ? chips({ label: "Class", hint: "None chosen: all of them in turn.", choices: model.classes }) : typedClasses(model.classes);
    classPlace.replaceChildren(...(classes ? [classes.element] : []));
    classPlace.hidden = !classes;
    text.element.hidden = !model.conditions.includes("text");
    student = model.student ?? null;
    const scales = student ? student.scales : [0, 8];
    guidance.element.hidden = scales.length === 0 || model.conditions.length === 0;
    if (scales.length) [guidance.input.min, guidance.input.max] = scales;
    ownSteps.offer((student?.steps ?? []).map((n) => [String(n), String(n)]), String(student?.steps[0]));
    stepsPlace.replaceChildren(...(student ? (student.steps.length > 1 ? [ownSteps.element] : []) : [steps.element]));
    sampler.element.hidden = student !== null;
    offerRest();
    given = Object.fromEntries(descriptions.map(({ name, default: standard }) => [name, standard]));
    write(model.sampling, true);
    if (!chosen) return;
    write(chosen, false); // what a person has set stays, as far as this model knows it
  }

  const offerRest = () => rest.only((name) => (!student || OF_STUDENTS.includes(name)) && !(ofEdit && OF_SAMPLES.includes(name)));

  function forEdits(whether) {
    if (whether === ofEdit) return;
    const now = { sampler: sampler.value, stepsOfEdit };
    ofEdit = whether;
    stepsOfEdit = whether && aside.stepsOfEdit;
    const own = whether ? [["", "the edit’s own"]] : [];
    sampler.offer([...own, ...samplers.map(({ name }) => [name, name])], aside.sampler);
    aside = now;
    say();
    steps.refresh();
    offerRest();
  }

  function own() {
    const chosen = {};
    if (student?.steps.length > 1) chosen.steps = Number(ownSteps.value);
    if (student) return shownOf(chosen);
    if (sampler.value) chosen.sampler = sampler.value;
    if (!stepsOfEdit) chosen.steps = steps.value;
    return shownOf(chosen);
  }

  function shownOf(chosen) {
    if (!guidance.element.hidden) chosen.guidance = guidance.value;
    if (!text.element.hidden) chosen.text = text.value.trim();
    if (classes?.value().length) chosen.classes = classes.value();
    return chosen;
  }

  /** What a person has set otherwise than as given, or null where nothing was given yet. */
  function changed() {
    if (!Object.keys(given).length) return null;
    let found = {};
    try {
      found = rest.touched();
    } catch {
      // a field that says itself what is wrong with it
    }
    const other = ([name, value]) => JSON.stringify(value) !== JSON.stringify(given[name]);
    return { ...found, ...Object.fromEntries(Object.entries(own()).filter(other)) };
  }

  const differs = ([name, value]) => ["sampler", "steps"].includes(name) || JSON.stringify(value) !== JSON.stringify(given[name]);
  for (const slid of [classPlace, guidance.element, sampler.element, stepsPlace]) slid.classList.add("slid");
  const element = h(
    "div",
    { class: "stack" },
    classPlace,
    text.element,
    guidance.element,
    sampler.element,
    stepsPlace,
    folded("More settings", extra, rest.element),
  );
  return {
    element,
    show,
    forEdits,
    forLive: (whether) => element.classList.toggle("live-form", whether),
    restore: (settings) => write(settings, false),
    settings: () => ({ ...rest.values(), ...own() }),
    touched: () => ({ ...rest.touched(), ...Object.fromEntries(Object.entries(own()).filter(differs)) }),
  };
}
