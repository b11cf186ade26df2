// Curves of a training: one or several lines over steps, with grid lines that a person would choose.

import { font, line, scale, stage } from "../ui/canvas.js";
import { h } from "../ui/dom.js";
import { colour } from "../ui/theme.js";

const MARGIN = { left: 56, right: 12, top: 12, bottom: 32 };
/** The most grid lines across a chart. */
const LINES = 5;

/** Where a line ends; of a line of one point it is all there is. */
function dot(context, x, y, tint) {
  if (!Number.isFinite(x + y)) return;
  context.beginPath();
  context.arc(x, y, 3.5, 0, 2 * Math.PI);
  context.fillStyle = tint;
  context.fill();
}

/** Round numbers that cut [low, high] into at most `most` parts. */
export function ticks(low, high, most = LINES) {
  const rough = (high - low) / most;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

/** As ticks, for [low, high] powers of ten: 1, 2 and 5 times powers, or fewer where these are too many. */
function logTicks(low, high, most = LINES + 1) {
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power += 1) found.push(...steps.map((step) => power + Math.log10(step)));
    const inside = found.filter((each) => each >= low && each <= high);
    if (inside.length <= most) return inside.length > 1 ? inside : ticks(low, high, 3);
  }
  return ticks(low, high).filter(Number.isInteger);
}

/** A number as short as it can be said: 1200 -> 1.2k, 0.000123 -> 1.2e-4. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** The middle of what is typical, so that the first steps' heights do not flatten the rest. */
function reach(lines, logarithmic) {
  const values = lines.flatMap(({ ys }) => ys.filter((y) => Number.isFinite(y) && (!logarithmic || y > 0)));
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) return [low - 0.5 * Math.abs(low || 1), high + 0.5 * Math.abs(high || 1)];
  return [low, high];
}

/**
 * A chart that is redrawn by show(lines).
 *
 * @param {object} options title; x: what the horizontal axis counts; logarithmic: of the vertical axis; signal.
 * @returns {{ element, show }} show([{ name, xs, ys, tint, faint, dashed }]): tint is a colour or a variable's name.
 */
export function chart({ title, x = "step", logarithmic = false, signal }) {
  let lines = [];
  const map = (y) => (logarithmic ? (y > 0 ? Math.log10(y) : NaN) : y);
  const board = stage({ description: title, className: "chart", draw, signal });
  const legend = h("ul", { class: "legend" });
  const tinted = (tint) => (tint.startsWith("#") ? tint : colour(tint));

  function draw(context, width, height) {
    const [low, high] = reach(lines, logarithmic).map(map);
    const last = Math.max(1, ...lines.flatMap(({ xs }) => xs.at(-1) ?? 1));
    const across = scale([0, last], [MARGIN.left, width - MARGIN.right]);
    const pad = 0.05 * (high - low || 1);
    const up = scale([low - pad, high + pad], [height - MARGIN.bottom, MARGIN.top]);
    context.font = font(12);
    context.fillStyle = colour("muted");
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of (logarithmic ? logTicks : ticks)(low - pad, high + pad)) {
      const y = Math.round(up(tick)) + 0.5;
      line(context, [MARGIN.left, width - MARGIN.right], [y, y], (each) => each, (each) => each);
      context.fillText(short(logarithmic ? 10 ** tick : tick), MARGIN.left - 8, y);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const tick of ticks(0, last, width < 420 ? 3 : LINES)) context.fillText(short(tick), Math.min(across(tick), width - 18), height - MARGIN.bottom + 8);
    for (const { xs, ys, tint, faint, dashed } of lines) {
      context.strokeStyle = tinted(tint);
      context.globalAlpha = faint ? 0.3 : 1;
      context.lineWidth = faint ? 1 : 2;
      context.setLineDash(dashed ? [5, 5] : []);
      line(context, xs, ys.map(map), across, up);
      if (!faint) dot(context, across(xs.at(-1)), up(map(ys.at(-1))), tinted(tint));
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  function show(next) {
    lines = next;
    const named = lines.filter(({ name }) => name);
    const keys = named.map(({ name, tint }) => {
      const key = h("span", { class: "key" });
      key.style.setProperty("--tint", tint.startsWith("#") ? tint : `var(--${tint})`);
      return h("li", {}, key, name);
    });
    legend.replaceChildren(...keys);
    const said = named.map(({ name, ys }) => `${name}: now ${short(ys.findLast(Number.isFinite) ?? NaN)}`);
    board.describe(`${title} over the ${x}s. ${said.join(". ")}`);
    board.redraw();
  }

  return { element: h("figure", { class: "chart-figure" }, h("figcaption", {}, title, h("span", {}, ` by ${x}`)), board.element, legend), show };
}

/** An average that follows a noisy curve: each value weighs less the further back it lies. */
export function smooth(values, keep = 0.9) {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (!Number.isFinite(value)) return NaN;
    [sum, weight] = [keep * sum + value, keep * weight + 1];
    return sum / weight;
  });
}
