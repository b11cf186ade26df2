// Changing a picture: which edit, of which pictures, how.

import { ApiError } from "../api.js";
import { select, slider } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { controls, folded } from "./fields.js";
import { maskEditor } from "./mask.js";
import { source } from "./source.js";
import { gist, offered, verb } from "./verbs.js";

/** What the pictures of an edit are called, and how one is asked for. */
const PLACES = {
  image: ["The picture", "changed"],
  first: ["From", "where the walk begins"],
  second: ["To", "where the walk ends"],
};
/** Options that are rarely touched. */
const RARE = ["overlap", "fit"];

/**
 * @param {object} options edits: as the API tells them; pick: see gallery.js; easelPlace: where the mask is drawn; signal.
 * @returns {{ element, show, choose, request, words, edit }} show(model) offers what a model can; choose(name, item) begins with
 *   a picture; request(common) resolves to [path, FormData, count], or throws a sentence.
 */
export function changePane({ edits, pick, board, signal }) {
  const byName = new Map(edits.map((edit) => [edit.name, edit]));
  let name = null;
  let places = {};
  let options = null;
  let mask = null;
  let kept = null;
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
    const { images, options: fields } = byName.get(name);
    mask = null;
    board.replaceChildren();
    places = Object.fromEntries(images.filter((each) => each !== "mask").map((each) => [each, place(each)]));
    const usual = controls(fields.filter((each) => !RARE.includes(each.name)));
    const rare = controls(fields.filter((each) => RARE.includes(each.name)));
    options = () => ({ ...usual.touched(), ...rare.touched() });
    body.replaceChildren(
      ...Object.values(places).map((each) => each.element),
      usual.element,
      ...(name === "interpolate" ? [] : [copies.element]),
      folded("When the picture's size or colours are not the model's", rare.element),
    );
    const begin = places.image ?? places.first;
    if (kept) begin.put(kept);
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
      onChange: (image) => key === "image" && needsMask() && openMask(image),
    });
    return made;
  }

  const needsMask = () => byName.get(name).images.includes("mask");

  function openMask(image) {
    mask = maskEditor({ picture: image, signal });
    board.replaceChildren(mask.element);
  }

  function show(model) {
    const can = offered(edits.map((edit) => edit.name)).filter((each) => model.edits.includes(each));
    element.hidden = can.length === 0;
    if (!can.length) return;
    kind.offer(can.map((each) => [each, verb(each)]), name);
    if (!can.includes(name)) build(can[0]);
  }

  async function request({ model, seed, settings }) {
    for (const [key, each] of Object.entries(places)) {
      if (!each.filled) throw new ApiError(`Choose a picture first: “${PLACES[key][0]}” is empty.`);
    }
    if (needsMask() && !mask.marked()) throw new ApiError("Mark the part that is to be painted anew: draw over the picture.");
    const chosen = options();
    const n = name === "interpolate" ? 1 : copies.value;
    const form = new FormData();
    form.append("request", JSON.stringify({ model, seed, n, settings, options: chosen }));
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
