// The picture on the home page: one noise, and the nine digits that the shipped model makes of it when asked.

import { h, icon } from "../ui/dom.js";
import { calm, picture } from "../ui/canvas.js";
import { mix, recorded } from "./walks.js";

const SECONDS = 7;
const GAP = 2;

/** A square of nine walks that plays once, again at the press of its button; with less motion wished for, its end. */
export function dissolving({ signal }) {
  const side = 3 * 28 + 2 * GAP;
  const view = picture({ description: "Nine handwritten digits, 1 to 9, drawn by the model that comes with undiffuse, all from one noise", shape: [1, side, side] });
  const again = h("button", { type: "button", class: "icon-button", "aria-label": "Play again", onclick: () => play() }, icon("again"));
  let frame = 0;
  let walks = [];

  /** All nine at a moment between 0, noise, and 1, the digits. */
  function show(moment) {
    const values = new Float32Array(side * side).fill(-1);
    walks.forEach((walk, w) => {
      const tile = at(walk, moment);
      const [top, left] = [Math.floor(w / 3) * (28 + GAP), (w % 3) * (28 + GAP)];
      for (let i = 0; i < 28; i += 1) values.set(tile.subarray(28 * i, 28 * (i + 1)), (top + i) * side + left);
    });
    view.show(values);
  }

  function play() {
    cancelAnimationFrame(frame);
    const start = performance.now();
    const tick = (now) => {
      const moment = Math.min(1, Math.max(0, (now - start) / (1000 * SECONDS)));
      show(moment);
      if (moment < 1) frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  }

  signal.addEventListener("abort", () => cancelAnimationFrame(frame));
  recorded().then((record) => {
    if (signal.aborted) return;
    walks = "123456789".split("").map((name) => record.walks.get(name));
    if (calm()) show(1);
    else play();
  });
  return [view.element, h("figcaption", {}, h("span", {}, "One noise, nine wishes: the model that comes with undiffuse."), again)];
}

/** x_t between two recorded steps: x0 and eps of the earlier one hold until the next, which is what DDIM does. */
function at({ steps, end }, moment) {
  const k = Math.min(Math.floor(moment * steps.length), steps.length - 1);
  const part = moment * steps.length - k;
  const [here, next] = [steps[k], steps[k + 1] ?? { alpha: 1, sigma: 0 }];
  if (moment === 1) return end;
  const alpha = here.alpha + part * (next.alpha - here.alpha);
  const sigma = here.sigma + part * (next.sigma - here.sigma);
  return mix(here.x0, here.eps, { alpha, sigma });
}
