// A view of the plane for panels 4 to 6: the density as a haze, the score as arrows, particles and their paths.

import { line, scale, stage } from "../ui/canvas.js";
import { colour } from "../ui/theme.js";

/** Half the width of what is seen; cells of the haze and arrows along a side. */
export const REACH = 3;
const HAZE = 48;
const ARROWS = 13;

/**
 * The haze and the arrows at one moment, shared by all views of a world.
 *
 * @param {object} options predict: (x, marginal) -> { eps }; density: (x, y, marginal) -> p; marginal.
 * @returns {{ haze: Float64Array, arrows: { x, eps } }} haze in [0, 1], rows from the top.
 */
export function field({ predict, density, marginal }) {
  const haze = new Float64Array(HAZE * HAZE);
  for (let i = 0; i < haze.length; i += 1) {
    const [column, line] = [i % HAZE, Math.floor(i / HAZE)];
    haze[i] = density(centre(column, HAZE), -centre(line, HAZE), marginal);
  }
  // Seen as an eye sees light, not as a detector counts it: the root keeps the faint parts visible.
  const peak = haze.reduce((a, b) => Math.max(a, b), 0);
  for (let i = 0; i < haze.length; i += 1) haze[i] = Math.sqrt(haze[i] / peak);
  const x = new Float64Array(2 * ARROWS * ARROWS);
  for (let i = 0; i < ARROWS * ARROWS; i += 1) {
    [x[2 * i], x[2 * i + 1]] = [centre(i % ARROWS, ARROWS), centre(Math.floor(i / ARROWS), ARROWS)];
  }
  return { haze, arrows: { x, eps: predict(x, marginal).eps } };
}

const centre = (cell, cells) => ((2 * (cell + 0.5)) / cells - 1) * REACH;

/**
 * One square view. `scene()` says what is in it now:
 *   { field, particles: flat places, paths: [flat places][], truth: [flat places][], tint: name of a colour, probe: [x, y] | null }
 */
export function world({ description, scene, signal, attributes, onPoint }) {
  const view = stage({ description, draw, signal, attributes });
  if (onPoint) {
    const point = (event) => {
      const box = view.element.getBoundingClientRect();
      const map = scale([-REACH, REACH], [0, box.width]);
      onPoint(map.back(event.clientX - box.left), -map.back(event.clientY - box.top));
    };
    view.element.addEventListener("pointermove", point);
    view.element.addEventListener("pointerdown", point);
  }

  function draw(context, width) {
    const shown = scene();
    if (!shown) return;
    const x = scale([-REACH, REACH], [0, width]);
    const y = scale([-REACH, REACH], [width, 0]);
    context.imageSmoothingEnabled = true;
    context.drawImage(hazePicture(shown.field.haze), 0, 0, width, width);
    drawArrows(context, shown.field.arrows, x, y, width);
    context.lineJoin = "round";
    context.lineWidth = 1.25;
    context.setLineDash([3, 3]);
    context.strokeStyle = colour("muted");
    for (const path of shown.truth) trace(context, path, x, y);
    context.setLineDash([]);
    context.lineWidth = 1.5;
    context.strokeStyle = colour("noise");
    for (const path of shown.paths) trace(context, path, x, y);
    drawParticles(context, shown, x, y, width);
    if (shown.probe) cross(context, x(shown.probe[0]), y(shown.probe[1]));
  }
  return view;
}

/** Haze -> { tint, canvas }: painted once for all views of a moment. */
const painted = new WeakMap();

function hazePicture(haze) {
  const tint = colour("signal");
  const kept = painted.get(haze);
  if (kept?.tint === tint) return kept.canvas;
  const canvas = new OffscreenCanvas(HAZE, HAZE);
  const brush = canvas.getContext("2d");
  const image = brush.createImageData(HAZE, HAZE);
  const [red, green, blue] = rgb(tint);
  for (let i = 0; i < haze.length; i += 1) {
    [image.data[4 * i], image.data[4 * i + 1], image.data[4 * i + 2]] = [red, green, blue];
    image.data[4 * i + 3] = 105 * haze[i];
  }
  brush.putImageData(image, 0, 0);
  painted.set(haze, { tint, canvas });
  return canvas;
}

function trace(context, path, x, y) {
  const count = path.length / 2;
  line(context, Array.from({ length: count }, (_, i) => path[2 * i]), Array.from({ length: count }, (_, i) => path[2 * i + 1]), x, y);
}

/** Arrows along sigma times the score, which is -eps: towards the data. The longest fill a cell, short ones are kept visible. */
function drawArrows(context, arrows, x, y, width) {
  const cell = width / ARROWS;
  context.strokeStyle = colour("strong-line");
  context.lineWidth = 1;
  context.globalAlpha = 0.8;
  context.beginPath();
  const longest = arrows.eps.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  for (let i = 0; i < arrows.x.length; i += 2) {
    const [dx, dy] = [-arrows.eps[i], arrows.eps[i + 1]];
    const size = Math.hypot(dx, dy);
    if (size < 1e-3 * longest) continue;
    const length = cell * 0.72 * Math.min(1, size / (0.6 * longest));
    const [ux, uy] = [dx / size, dy / size];
    const [left, top] = [x(arrows.x[i]) - (ux * length) / 2, y(arrows.x[i + 1]) - (uy * length) / 2];
    const [right, bottom] = [left + ux * length, top + uy * length];
    const head = Math.min(4, length / 2);
    context.moveTo(left, top);
    context.lineTo(right, bottom);
    context.moveTo(right - head * (ux + 0.6 * uy), bottom - head * (uy - 0.6 * ux));
    context.lineTo(right, bottom);
    context.lineTo(right - head * (ux - 0.6 * uy), bottom - head * (uy + 0.6 * ux));
  }
  context.stroke();
  context.globalAlpha = 1;
}

function drawParticles(context, { particles, tint }, x, y, width) {
  const size = Math.max(1.8, width / 150);
  context.globalAlpha = 0.85;
  context.fillStyle = colour(tint);
  context.beginPath();
  for (let i = 0; i < particles.length; i += 2) context.rect(x(particles[i]) - size / 2, y(particles[i + 1]) - size / 2, size, size);
  context.fill();
  context.globalAlpha = 1;
}

function cross(context, x, y) {
  context.strokeStyle = colour("ink");
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, 6, 0, 2 * Math.PI);
  context.moveTo(x - 10, y);
  context.lineTo(x + 10, y);
  context.moveTo(x, y - 10);
  context.lineTo(x, y + 10);
  context.stroke();
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** Where all points of a walk are at `moment` in [0, steps]: between two states on the straight line. */
export function between(states, moment) {
  const k = Math.min(Math.floor(moment), states.length - 1);
  const part = moment - k;
  if (part === 0 || k === states.length - 1) return states[k];
  return states[k].map((value, i) => value + part * (states[k + 1][i] - value));
}

/** The path of point i up to `moment`: flat places. */
export function pathTo(states, i, moment) {
  const whole = Math.min(Math.floor(moment), states.length - 1);
  const path = states.slice(0, whole + 1).flatMap((state) => [state[2 * i], state[2 * i + 1]]);
  const now = between(states, moment);
  return moment > whole ? [...path, now[2 * i], now[2 * i + 1]] : path;
}
