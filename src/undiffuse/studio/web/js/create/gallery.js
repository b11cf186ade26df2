// Every picture that was kept, the newest first. While something asks for a picture, a press gives it that one.

import { get } from "../api.js";
import { button, select } from "../ui/controls.js";
import { exchange, h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { shown } from "./canvas.js";

const KINDS = {
  sample: "drawn",
  inpaint: "painted anew",
  outpaint: "extended",
  upscale: "enlarged",
  colorize: "coloured",
  deblur: "sharpened",
  denoise: "cleaned",
  vary: "varied",
  interpolate: "morphed",
  invert: "inverted",
  translate: "translated",
};

/** Pictures that are loaded at a time. */
const PAGE = 48;

/** What was done to get a picture, in a word. */
export const madeHow = (kind) => KINDS[kind] ?? kind;

/** Whether a picture lies between two seeds. */
export const isMorph = ({ settings }) => (settings?.morph_to ?? null) !== null;

/** What a sample is called under its picture. */
const caption = (recipe) => (isMorph(recipe) ? `seed ${recipe.seed} to ${recipe.settings.morph_to}` : `seed ${recipe.seed}, no. ${recipe.index ?? 0}`);

/** A picture in a few words: "mnist, drawn, seed 3, number 0". */
function inWords({ kind, model, recipe }) {
  const seed = recipe.seed === null || recipe.seed === undefined ? "" : `, seed ${recipe.seed}${isMorph(recipe) ? ` to ${recipe.settings.morph_to}` : ""}`;
  return `${model}, ${madeHow(kind)}${seed}, number ${recipe.index ?? 0}`;
}

/**
 * @param {object} options onOpen: item -> void; aside: an element beside the pictures; signal.
 * @returns {{ element, refresh, pick }} pick(what) resolves to the item that is pressed next, null if none is wanted.
 */
export function gallery({ onOpen, aside, signal }) {
  let items = [];
  let more = false;
  let picking = null;
  const grid = h("ul", { class: "gallery-grid" });
  const empty = h("p", { class: "gallery-empty" });
  const older = button("Older pictures", () => load(items.at(-1)?.id));
  const kind = select({
    label: "Show",
    choices: [["", "everything"], ...Object.entries(KINDS)],
    value: "",
    onChange: () => load(),
  });
  const asked = h("p", {});
  const asking = h("div", { class: "asking", hidden: true, role: "status" }, asked, button("Never mind", () => answer(null)));
  const heading = h("h2", { id: "gallery-heading", tabindex: "-1" }, "Gallery");
  const element = h(
    "section",
    { class: "gallery", "aria-labelledby": "gallery-heading" },
    h("header", { class: "gallery-head" }, heading, kind.element),
    asking,
    grid,
    empty,
    older,
    aside,
  );

  async function load(before = null) {
    const query = new URLSearchParams({ limit: PAGE });
    if (before) query.set("before", before);
    if (kind.value) query.set("kind", kind.value);
    try {
      const found = await get(`/v1/gallery?${query}`, { signal });
      items = before ? [...items, ...found.items] : found.items;
      more = found.more;
      show();
    } catch (error) {
      if (!signal.aborted) toast(error.message, { error: true });
    }
  }

  function show() {
    exchange(grid, items.map(tile));
    older.hidden = !more;
    empty.hidden = items.length > 0;
    empty.textContent = kind.value
      ? `Nothing here was ${madeHow(kind.value)} yet.`
      : "Nothing is kept yet. What you draw comes here, each picture with the recipe it was made by.";
  }

  function tile(item) {
    const press = () => (picking ? answer(item) : onOpen(item));
    const words = h("span", { class: "caption", "aria-hidden": "true" }, item.kind === "sample" ? caption(item.recipe) : madeHow(item.kind));
    return h(
      "li",
      {},
      h("button", { type: "button", class: "tile done", "aria-label": inWords(item), onclick: press }, shown(item.url, "", item.width), words),
    );
  }

  function answer(item) {
    picking?.(item);
    picking = null;
    asking.hidden = true;
    element.classList.remove("picking");
  }

  function pick(what) {
    answer(null);
    asked.textContent = items.length ? `Press the picture that is to be ${what}.` : "There is no picture yet: draw one first.";
    asking.hidden = false;
    element.classList.add("picking");
    element.scrollIntoView({ block: "start" });
    (grid.querySelector("button") ?? heading).focus({ preventScroll: true });
    return new Promise((resolve) => (picking = resolve));
  }

  // what was drawn in another tab, or deleted there, is seen when somebody comes back to this one
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && items.length <= PAGE && !picking && load(), { signal });
  return { element, refresh: () => load(), pick };
}
