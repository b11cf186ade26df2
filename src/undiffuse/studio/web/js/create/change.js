// Changing a picture: which edit, of which pictures, how.

import { ApiError } from "../api.js";
import { select, slider } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { controls, folded } from "./fields.js";
import { frameView, proposal } from "./frame.js";
import { maskEditor } from "./mask.js";
import { source } from "./source.js";
import { gist, offered, verb } from "./verbs.js";

/** What the pictures of an edit are called, and how one is asked for. */
const PLACES = {
  image: ["The picture", "changed"],
  first: ["From", "where the walk begins"],
  second: ["To", "where the walk ends"],
};
/** Options that say how the model goes about it, and those for pictures that are not of its kind: folded away. */
const MANNER = ["method", "scale", "jump", "repeats", "way", "exact", "iterations", "within"];
const FIT = ["overlap", "fit"];
/** Options that have a plainer name here than on the command line. */
const LABELS = { std: "Blur", to: "Into", source: "What it is", within: "Exact within" };
/** Edits with many good answers, of which a person wants to see some. */
const SEVERAL = ["inpaint", "vary"];

/**
 * @param {object} options edits: as the API tells them; pick: see gallery.js; board: where a mask or a frame is shown; signal.
 * @returns {{ element, show, choose, request, words, edit }} show(model) offers what a model can; choose(name, item) begins with
 *   a picture; request(common) resolves to [path, FormData, count], or throws a sentence.
 */
export function changePane({ edits, pick, board, signal }) {
  const byName = new Map(edits.map((edit) => [edit.name, edit]));
  let name = null;
  let places = {};
  let groups = [];
  let mask = null;
  let frame = null;
  let kept = null;
  let model = null;
  const kind = select({ label: "What to do", choices: [], value: "", onChange: (chosen) => build(chosen) });
  const about = h("p", { class: "hint" });
  kind.element.append(about);
  const copies = slider({ label: "Results", min: 1, max: 16, value: 4 });
  const body = h("div", { class: "stack" });
  const element = h("div", { class: "stack" }, kind.element, body);

  function build(chosen) {
    name = chosen;
    kind.input.value = name;
    about.textContent = gist(name);
    const { images, copies: several, options: fields } = byName.get(name);
    mask = frame = null;
    board.replaceChildren();
    places = Object.fromEntries(images.filter((each) => each !== "mask").map((each) => [each, place(each)]));
    const parts = [(field) => ![...MANNER, ...FIT].includes(field), (field) => MANNER.includes(field), (field) => FIT.includes(field)];
    groups = parts.map((wanted) => controls(fields.filter((field) => wanted(field.name)).map(asked), follow));
    const [usual, manner, fit] = groups;
    copies.set(SEVERAL.includes(name) ? 4 : 1);
    body.replaceChildren(
      ...Object.values(places).map((each) => each.element),
      usual.element,
      ...(several ? [copies.element] : []),
      ...(manner.element.children.length ? [folded("How the model goes about it", manner.element)] : []),
      folded("When the picture's size or colours are not the model's", fit.element),
    );
    follow();
    const begin = places.image ?? places.first;
    if (kept) begin.put(kept);
  }

  /** A field as the page asks for it: the classes that a model knows are chosen, not typed. */
  function asked(field) {
    const named = { ...field, label: LABELS[field.name] };
    if (model.student && field.name === "method") return { ...named, choices: ["replace"], default: "replace" };
    if (model.student && field.name === "strength") return { ...named, ...ofStudent(field) };
    if (name !== "translate" || !["to", "source"].includes(field.name)) return named;
    if (field.name === "to") return { ...named, choices: model.classes, default: field.default || model.classes[0] };
    const nothing = model.classes.includes("none") ? ":none" : "none"; // a class goes before the word
    return { ...named, choices: [nothing, ...model.classes], default: nothing };
  }

  /** A student begins at one of its times alone; nearest to what is usual, unless a person says another. */
  function ofStudent(field) {
    const allowed = model.student.strengths[model.student.steps[0]];
    const near = allowed.reduce((a, b) => (Math.abs(b - field.default) < Math.abs(a - field.default) ? b : a));
    const words = allowed.map((part) => Number(part.toFixed(3))).join(", ");
    return { default: Number(near.toFixed(3)), help: `How far into noise: ${words}. This model was made for ${allowed.length === 1 ? "one step" : "these steps"} alone.` };
  }

  const options = () => Object.assign({}, ...groups.map((group) => group.values()));
  const touched = () => ({ ...Object.assign({}, ...groups.map((group) => group.touched())), ...(name === "translate" && { to: options().to }) });

  /** Show the options that mean something now. */
  function follow() {
    for (const group of groups) group.only(() => true);
    let all;
    try {
      all = options();
    } catch {
      return; // the field says itself what is wrong with it
    }
    const beside = new Map(byName.get(name).options.map((field) => [field.name, field.acts_with ?? {}]));
    const means = (field) => {
      return Object.entries(beside.get(field)).every(([other, values]) => !(other in all) || values.includes(all[other]));
    };
    for (const group of groups) group.only(means);
    frame?.redraw();
  }

  const sides = () => {
    const { top = 0, bottom = 0, left = 0, right = 0 } = options();
    return { top, bottom, left, right };
  };

  function openFrame(image) {
    if (Object.values(sides()).every((side) => side === 0)) groups[0].set(proposal(image), false);
    frame = frameView({ picture: image, sides, signal });
    return lay(frame.element);
  }

  /** Put on the board what is drawn on, where a person sees it: on a narrow page the board lies above the form. */
  function lay(content) {
    board.replaceChildren(content);
    const narrow = board.getBoundingClientRect().top < element.getBoundingClientRect().top - 200;
    if (narrow) board.scrollIntoView({ block: "start" });
    return narrow;
  }

  function place(key) {
    const [label, what] = PLACES[key];
    const made = source({
      label,
      what,
      pick: async (asked) => {
        const item = await pick(asked);
        if (item && key !== "second") kept = item;
        return item;
      },
      onChange: (image) => {
        if (needsMask()) return openMask(image);
        return name === "outpaint" && openFrame(image);
      },
    });
    return made;
  }

  const needsMask = () => byName.get(name).images.includes("mask");

  function openMask(image) {
    mask = maskEditor({ picture: image, signal });
    return lay(mask.element);
  }

  function show(shown) {
    const otherKind = Boolean(model?.student || shown.student);
    model = shown;
    const can = offered(edits.map((edit) => edit.name)).filter((each) => model.edits.includes(each));
    element.hidden = can.length === 0;
    if (!can.length) return;
    kind.offer(can.map((each) => [each, verb(each)]), name);
    // the classes that can be turned into are those of the model
    if (!can.includes(name) || name === "translate" || otherKind) build(can.includes(name) ? name : can[0]);
  }

  async function request({ model, seed, settings }) {
    for (const [key, each] of Object.entries(places)) {
      if (!each.filled) throw new ApiError(`Choose a picture first: “${PLACES[key][0]}” is empty.`);
    }
    if (needsMask() && !mask.marked()) throw new ApiError("Mark the part that is to be painted anew: draw over the picture.");
    const chosen = touched();
    const n = copies.element.isConnected ? copies.value : 1;
    const form = new FormData();
    form.append("request", JSON.stringify({ model, seed, n, quick: true, settings, options: chosen }));
    for (const [key, each] of Object.entries(places)) each.append(form, key);
    if (needsMask()) form.append("mask", await mask.blob(), "mask.png");
    const frames = byName.get(name).options.find((field) => field.name === "frames");
    return [`/v1/edits/${name}`, form, name === "interpolate" ? (chosen.frames ?? frames?.default ?? 1) : n];
  }

  return {
    element,
    show,
    request,
    choose(edit, item) {
      kept = item;
      build(edit);
    },
    get edit() {
      return name;
    },
    get possible() {
      return !element.hidden;
    },
  };
}
