// Marking the part of a picture that is to be painted anew, by pointer, finger or keyboard.
//
// The mask has the picture's pixels: 1 is painted anew. On the keyboard the arrows move the brush, Space lays it down
// or lifts it, and while it is down it paints where it goes.

import { button, segments, slider } from "../ui/controls.js";
import { freshId, h } from "../ui/dom.js";
import { stage } from "../ui/canvas.js";
import { colour } from "../ui/theme.js";

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** Strength of the veil over what is marked. */
const VEIL = 0.62;

/** Set the pixels of a mask within a brush of this diameter around (x, y). */
function stamp(mask, width, height, x, y, diameter, value) {
  const radius = diameter / 2;
  for (let row = Math.max(0, Math.floor(y - radius)); row <= Math.min(height - 1, Math.ceil(y + radius)); row += 1) {
    for (let column = Math.max(0, Math.floor(x - radius)); column <= Math.min(width - 1, Math.ceil(x + radius)); column += 1) {
      if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= Math.max(radius ** 2, 0.5)) mask[row * width + column] = value;
    }
  }
}

/** A mask as a PNG: white is painted anew. */
function asPng(mask, width, height) {
  const canvas = h("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  mask.forEach((marked, k) => image.data.set([255 * marked, 255 * marked, 255 * marked, 255], 4 * k));
  context.putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * @param {object} options picture: a loaded <img>; signal.
 * @returns {{ element, marked, blob }} marked(): how many pixels are; blob(): the mask as a PNG.
 */
export function maskEditor({ picture, signal }) {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const mask = new Uint8Array(width * height);
  const brush = { x: width / 2, y: height / 2, down: false, over: false };
  let value = 1;
  let last = null;
  const veil = h("canvas", { width, height });
  const ink = veil.getContext("2d");
  const marked = () => mask.reduce((sum, each) => sum + each, 0);
  const help = freshId("mask-help");

  const board = stage({
    description: "The picture, with what is marked veiled",
    className: "mask-board",
    draw,
    signal,
    attributes: { tabindex: "0", role: "application", "aria-roledescription": "drawing board", "aria-describedby": help },
  });
  board.element.style.setProperty("--ratio", width / height);
  const size = slider({
    label: "Its width",
    min: 1,
    max: Math.max(4, Math.round(Math.min(width, height) / 2)),
    value: Math.max(1, Math.round(Math.min(width, height) / 5)),
    format: (d) => `${d} pixel${d === 1 ? "" : "s"}`,
    onInput: () => board.redraw(),
  });
  const mode = segments({ label: "The brush", choices: [[1, "marks"], [0, "wipes"]], value: 1, onChange: (chosen) => (value = chosen) });
  const said = h("p", { class: "status", role: "status" });
  const say = () => {
    const share = (100 * marked()) / mask.length;
    said.textContent = share ? `${share < 1 ? "Less than 1" : Math.round(share)} % of the picture is marked.` : "Nothing is marked yet.";
  };
  const whole = (fill) => () => {
    fill(mask);
    refresh();
    say();
  };

  function refresh() {
    const [red, green, blue] = rgb(colour("noise"));
    const image = ink.createImageData(width, height);
    mask.forEach((each, k) => each && image.data.set([red, green, blue, 255 * VEIL], 4 * k));
    ink.putImageData(image, 0, 0);
    board.redraw();
  }

  function draw(context, wide, high) {
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, wide, high);
    context.drawImage(veil, 0, 0, wide, high);
    if (!brush.over && document.activeElement !== board.element) return;
    const step = wide / width;
    context.beginPath();
    context.arc(brush.x * step, brush.y * step, Math.max(3, (size.value * step) / 2), 0, 2 * Math.PI);
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.stroke();
    context.lineWidth = 1.5;
    context.strokeStyle = "#000";
    context.stroke();
  }

  /** Paint from where the brush was to where it is, without gaps. */
  function paint() {
    const from = last ?? brush;
    const count = Math.max(1, Math.ceil(2 * Math.hypot(brush.x - from.x, brush.y - from.y)));
    for (let k = 0; k <= count; k += 1) {
      const part = k / count;
      stamp(mask, width, height, from.x + part * (brush.x - from.x), from.y + part * (brush.y - from.y), size.value, value);
    }
    last = { x: brush.x, y: brush.y };
    refresh();
  }

  function follow(event) {
    const box = board.element.getBoundingClientRect();
    brush.x = ((event.clientX - box.left) / box.width) * width;
    brush.y = ((event.clientY - box.top) / box.height) * height;
    brush.over = true;
    board.redraw();
  }

  const on = (name, act) => board.element.addEventListener(name, act);
  on("pointerdown", (event) => {
    board.element.setPointerCapture(event.pointerId);
    follow(event);
    last = null;
    paint();
  });
  on("pointermove", (event) => {
    follow(event);
    if (board.element.hasPointerCapture(event.pointerId)) paint();
  });
  on("pointerup", say);
  on("pointerleave", () => ((brush.over = false), board.redraw()));
  on("focus", board.redraw);
  on("blur", () => ((brush.down = false), board.redraw()));
  on("keydown", (event) => {
    if (event.key === " ") {
      brush.down = !brush.down;
      last = null;
      if (brush.down) paint();
      say();
    } else if (event.key in MOVES) {
      const [dx, dy] = MOVES[event.key];
      const step = Math.max(1, Math.round(size.value / 2));
      brush.x = Math.min(width - 0.5, Math.max(0.5, brush.x + dx * step));
      brush.y = Math.min(height - 0.5, Math.max(0.5, brush.y + dy * step));
      if (brush.down) paint();
      board.redraw();
      say();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("themechange", refresh, { signal });

  say();
  const element = h(
    "div",
    { class: "mask" },
    board.element,
    h("p", { class: "hint", id: help }, "Draw over what is to be painted anew. On the keyboard the arrows move the brush and Space lays it down or lifts it."),
    h("div", { class: "mask-tools" }, size.element, mode.element),
    h(
      "div",
      { class: "row" },
      button("Clear", whole((all) => all.fill(0))),
      button("Swap", whole((all) => all.forEach((each, k) => (all[k] = 1 - each)))),
    ),
    said,
  );
  return { element, marked, blob: () => asPng(mask, width, height) };
}

/** Red, green and blue of a colour written as #rrggbb. */
const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
