// Figures below a panel, each with its name.

import { h } from "../ui/dom.js";

/**
 * @param {[string, string][]} rows [key, label] of each figure.
 * @returns {{ element, set }} set({ key: text }) writes some of them; data-figure="key" finds them.
 */
export function readouts(rows) {
  const places = new Map(rows.map(([key]) => [key, h("dd", { "data-figure": key }, "–")]));
  const element = h("dl", { class: "readouts" }, rows.map(([key, label]) => h("div", { class: "readout" }, h("dt", {}, label), places.get(key))));
  return {
    element,
    set(values) {
      for (const [key, text] of Object.entries(values)) places.get(key).textContent = text;
    },
  };
}

/** Call `then` once the element is near the screen: panels that compute much wait until somebody comes. */
export function whenNear(element, then) {
  const watch = new IntersectionObserver(
    ([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      then();
    },
    { rootMargin: "400px" },
  );
  watch.observe(element);
}
