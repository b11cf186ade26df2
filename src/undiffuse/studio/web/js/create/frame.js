// What an extension will add: the picture, and around it the pixels that are still to be painted.

import { stage } from "../ui/canvas.js";
import { h } from "../ui/dom.js";
import { colour } from "../ui/theme.js";

const SIDES = ["top", "bottom", "left", "right"];

/** As many pixels at every side as a quarter of the picture's shorter one. */
export function proposal(picture) {
  const quarter = Math.max(1, Math.round(Math.min(picture.naturalWidth, picture.naturalHeight) / 4));
  return Object.fromEntries(SIDES.map((side) => [side, quarter]));
}

/**
 * @param {object} options picture: a loaded <img>; sides: () -> { top, bottom, left, right } in pixels; signal.
 * @returns {{ element, redraw }}
 */
export function frameView({ picture, sides, signal }) {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const board = stage({ description: "", className: "frame-board", draw, signal });
  const said = h("p", { class: "hint" });

  function draw(context, wide) {
    const { left, top, right } = sides();
    const step = wide / (width + left + right);
    context.fillStyle = colour("noise-wash");
    context.fillRect(0, 0, wide, context.canvas.height);
    context.imageSmoothingEnabled = width > 128;
    context.drawImage(picture, left * step, top * step, width * step, height * step);
  }

  function redraw() {
    const { top, bottom, left, right } = sides();
    board.element.style.setProperty("--ratio", (width + left + right) / (height + top + bottom));
    const words = `From ${width} × ${height} to ${width + left + right} × ${height + top + bottom} pixels; what is tinted will be painted.`;
    said.textContent = words;
    board.describe(words);
    board.redraw();
  }
  redraw();
  return { element: h("div", { class: "mask" }, board.element, said), redraw };
}
