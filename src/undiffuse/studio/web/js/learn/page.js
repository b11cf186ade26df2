// The Learn page: chapters in the order in which they explain each other. learn.html shows the same without a server.

import { hasServer } from "../api.js";
import { h } from "../ui/dom.js";
import { chapter as ink } from "./ink.js";
import { chapter as drown } from "./drown.js";
import { chapter as back } from "./back.js";
import { chapter as flat } from "./flat.js";
import { chapter as guidance } from "./guidance.js";
import { chapter as few } from "./few.js";

// A chapter is { id, title, equation, gloss, prose, panel, hint }: the equation and what its letters mean, paragraphs, a
// function (signal) -> the panel's elements, and something to try.
const CHAPTERS = [ink, drown, back, flat, guidance, few];

/** Show all chapters, or `only` one of them; path[0] names the one to begin at. */
export function show(root, { path, only = null, signal }) {
  const chosen = CHAPTERS.filter(({ id }) => !only || id === only);
  if (!chosen.length) {
    root.append(h("p", {}, `There is no panel "${only}"; there are ${CHAPTERS.map(({ id }) => id).join(", ")}.`));
    return null;
  }
  if (!only) root.append(head());
  root.append(...chosen.map((chapter) => section(chapter, only, signal)));
  if (!only && hasServer()) root.append(ending());
  const moved = ({ path: [id] }) => document.getElementById(id)?.scrollIntoView();
  if (path[0] && !only) requestAnimationFrame(() => moved({ path }));
  return { moved };
}

function head() {
  const link = ({ id, title }, k) => h("a", { href: `#/learn/${id}` }, h("span", {}, `${k + 1} `), title);
  return h(
    "header",
    { class: "page-head" },
    h("h1", {}, "How pictures come out of noise"),
    h("p", { class: "lead" }, "Six moving pictures, one equation each, ten minutes. All of it is computed as you watch: drag it, play it, break it."),
    h("nav", { class: "contents", "aria-label": "Chapters" }, CHAPTERS.map(link)),
  );
}

/** Where to go from here. */
function ending() {
  return h(
    "section",
    { class: "ending", "aria-label": "And now" },
    h("h2", {}, "That is all there is to it."),
    h(
      "p",
      { class: "lead" },
      "Drown pictures, train a network to guess the noise, begin with nothing but noise and walk back. What draws cats and cathedrals does the same, " +
        "with more pixels, more pictures to learn from, and a wish in words.",
    ),
    h(
      "div",
      { class: "actions" },
      h("a", { class: "button primary", href: "#/create" }, "Draw digits yourself"),
      h("a", { class: "button", href: "#/train" }, "Train on your own pictures"),
    ),
  );
}

function section({ id, title, equation, gloss, prose, panel, hint }, only, signal) {
  const heading = `${id}-heading`;
  const number = CHAPTERS.findIndex((chapter) => chapter.id === id) + 1;
  return h(
    "section",
    { class: "chapter", id, "aria-labelledby": heading },
    h(
      "header",
      { class: "chapter-head" },
      h(
        "div",
        {},
        !only && h("p", { class: "chapter-number", "aria-hidden": "true" }, `${number} of ${CHAPTERS.length}`),
        h("h2", { id: heading }, title),
        h("div", { class: "equation" }, equation(), h("p", {}, gloss)),
      ),
      h("div", { class: "prose" }, prose.map((paragraph) => h("p", {}, paragraph))),
    ),
    h("figure", { class: "panel", "aria-labelledby": heading }, panel(signal)),
    hint && h("p", { class: "try" }, h("strong", {}, "Try it. "), hint),
  );
}
