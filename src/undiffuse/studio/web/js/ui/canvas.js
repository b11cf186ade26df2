// Canvases that are sharp on every screen, follow their box and the theme, and plots on them.

import { h } from "./dom.js";

/**
 * A canvas that calls draw(context, width, height) in CSS pixels whenever it must: on request, when its size or the
 * theme changes; at most once a frame.
 *
 * @param {object} options
 *   description: what it shows, in words, for those who do not see it; className; draw;
 *   signal: ends it; attributes: of the element, such as tabindex.
 * @returns {{ element, redraw, width, height, describe }}
 */
export function stage({ description, className = "", draw, signal, attributes = {} }) {
  const element = h("canvas", { class: `stage ${className}`, role: "img", "aria-label": description, ...attributes });
  const context = element.getContext("2d");
  let pending = 0;
  let width = 0;
  let height = 0;

  function paint() {
    pending = 0;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
      element.width = Math.round(width * ratio);
      element.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    draw(context, width, height);
  }
  const redraw = () => (pending ||= requestAnimationFrame(paint));

  const watch = new ResizeObserver(([entry]) => {
    ({ width, height } = entry.contentRect);
    redraw();
  });
  watch.observe(element);
  document.addEventListener("themechange", redraw, { signal });
  signal?.addEventListener("abort", () => (watch.disconnect(), cancelAnimationFrame(pending)));
  return {
    element,
    redraw,
    get width() {
      return width;
    },
    get height() {
      return height;
    },
    describe: (text) => element.setAttribute("aria-label", text),
  };
}

/** A linear map from [low, high] of the data to [start, end] of the canvas; `back` is its inverse. */
export function scale([low, high], [start, end]) {
  const slope = (end - start) / (high - low);
  const map = (value) => start + (value - low) * slope;
  map.back = (place) => low + (place - start) / slope;
  return map;
}

/** A line through (x[i], y[i]), mapped; NaN and infinite values interrupt it. */
export function line(context, xs, ys, mapX, mapY) {
  context.beginPath();
  let down = false;
  for (let i = 0; i < xs.length; i += 1) {
    const x = mapX(xs[i]);
    const y = mapY(ys[i]);
    if (!Number.isFinite(x + y)) {
      down = false;
      continue;
    }
    if (down) context.lineTo(x, y);
    else context.moveTo(x, y);
    down = true;
  }
  context.stroke();
}

/** A knob to drag, drawn alike everywhere. */
export function knob(context, x, y, fill, rim) {
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 2.5;
  context.strokeStyle = rim;
  context.stroke();
}

/** The canvas font of a size in pixels. */
export const font = (size, weight = 400) => `${weight} ${size}px Inter, system-ui, sans-serif`;

/**
 * A picture of values, one canvas pixel a value; CSS enlarges it without smoothing.
 *
 * @param {object} options description; shape: [channels, height, width], 1 or 3 channels; low, high: what is black, white.
 * @returns {{ element, show }} show(values) paints channel-major values.
 */
export function picture({ description, shape, low = -1, high = 1, className = "" }) {
  const element = h("canvas", { class: `picture ${className}`, role: "img", "aria-label": description });
  // kept where the processor writes: its pixels are computed one by one
  const context = element.getContext("2d", { willReadFrequently: true });
  let size = [0, 0, 0];
  let image = null;
  const reshape = (next) => {
    if (String(next) === String(size)) return;
    size = next;
    [, element.height, element.width] = size;
    image = context.createImageData(element.width, element.height);
  };
  reshape(shape);
  return {
    element,
    reshape,
    show(values) {
      const [channels] = size;
      const area = element.width * element.height;
      const gain = 255 / (high - low);
      for (let i = 0; i < area; i += 1) {
        for (let c = 0; c < 3; c += 1) {
          // Uint8Clamped: rounds and clips by itself.
          image.data[4 * i + c] = (values[channels === 3 ? c * area + i : i] - low) * gain;
        }
        image.data[4 * i + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    },
    describe: (text) => element.setAttribute("aria-label", text),
  };
}

/** Dragging with pointer or finger: move(x, y) in CSS pixels of the element while it is held. */
export function draggable(element, move) {
  const at = (event) => {
    const box = element.getBoundingClientRect();
    move(event.clientX - box.left, event.clientY - box.top);
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    at(event);
  });
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && at(event));
}

/** Whether a person asked their system for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
