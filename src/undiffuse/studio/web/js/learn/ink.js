// Panel 1: ink in water. Particles that only shake, their histogram, and the exact density.

import { Random } from "../math/random.js";
import { Water } from "../math/water.js";
import { button, segments, transport } from "../ui/controls.js";
import { line, scale, stage, font, calm } from "../ui/canvas.js";
import { equation, h, inline, row, sub, sup, subsup, tinted } from "../ui/dom.js";
import { colour } from "../ui/theme.js";
import { readouts, whenNear } from "./readouts.js";

/** Half the width of the water, in lengths; bins of the histogram; moments of the walk. */
const REACH = 3.2;
const BINS = 64;
const MOMENTS = 240;
/** Moments for which the path of the one marked particle stays visible. */
const TRAIL = 36;

const WATERS = {
  free: { water: new Water({ diffusivity: 0.5, radius: 0.35 }), duration: 1, law: "0.35²/4 + 2 D t,  D = 0.5" },
  held: { water: new Water({ diffusivity: 1, theta: 1, radius: 0.35, centre: -1.6 }), duration: 2.5, law: "e⁻²ᵗ 0.35²/4 + 1 − e⁻²ᵗ" },
};

export const chapter = {
  id: "ink",
  title: "A drop of ink",
  equation: () =>
    equation(
      "x t equals x zero plus sigma t times epsilon, with sigma t squared equal to two D t",
      row(sub("x", "t"), "=", tinted("signal", sub("x", "0")), "+", tinted("noise", sub("σ", "t"), "ε")),
    ),
  gloss: [
    "Where a grain is at time ",
    inline("t"),
    ": where it began, and a push ",
    inline(tinted("noise", "ε")),
    " that chance draws from a bell curve. The push grows with the time: its variance, the square of its width, is ",
    inline(tinted("noise", subsup("σ", "t", "2")), "=", "2", "D", "t"),
    ", where ",
    inline("D"),
    " says how hard the water shakes.",
  ],
  prose: [
    "Let a drop of ink fall into water. Nobody stirs, and yet it spreads. Each grain is knocked about by the water around it, " +
      "left or right by pure chance: follow the marked one, and you cannot tell where it will go next.",
    "The crowd is another matter. At any moment the cloud is the drop, blurred by a bell curve (a Gaussian) that can be " +
      "computed to the last digit. Order is lost by chance, but by a law.",
    [
      "That is the first half of every diffusion model: to destroy, by small pushes whose law is known. Pictures use another " +
        "kind of water, which also pulls all grains gently to the middle. The cloud then forgets where the drop fell, and stays " +
        "as wide as ",
      inline(row(sup("σ", "2"), "=", "1")),
      ".",
    ],
  ],
  hint:
    "Choose the water that pulls to the middle, and play. The drop falls at the left; by the end nothing in the cloud tells you " +
    "so. What is left is the same bell curve, whatever the drop was.",
  panel,
};

function panel(signal) {
  let kind = "free";
  let seed = 0;
  let states = [];
  let times = [];
  const now = () => bar.value;

  const cloud = stage({ description: "Ink in water", className: "ink-water", draw: drawCloud, signal });
  const plot = stage({ description: "Histogram of the grains", className: "ink-plot", draw: drawPlot, signal });
  const figures = readouts([
    ["time", "time t"],
    ["measured", "variance of the grains, with its error"],
    ["exact", "variance by the law"],
    ["law", "the law, for a drop of radius 0.35"],
  ]);
  const bar = transport({
    label: "Time since the drop fell",
    name: "the spreading ink",
    steps: MOMENTS,
    seconds: 7,
    format: (k) => `t = ${moment(k).toFixed(2)}`,
    onStep: update,
    signal,
  });
  const choice = segments({
    label: "The water",
    choices: [
      ["free", "lets them go"],
      ["held", "pulls to the middle"],
    ],
    value: kind,
    onChange: (next) => {
      kind = next;
      pour();
    },
  });

  /** Times run as k^2: the width of a cloud grows as the root of t, so on the screen it then grows evenly. */
  function moment(k) {
    return WATERS[kind].duration * (k / MOMENTS) ** 2;
  }

  function pour() {
    times = Array.from({ length: MOMENTS + 1 }, (_, k) => moment(k));
    states = WATERS[kind].water.walk(times, new Random(seed));
    update();
    bar.refresh();
  }

  function update() {
    if (!states.length) return;
    const { water, law } = WATERS[kind];
    const t = times[now()];
    const { variance, error } = spread(states[now()]);
    figures.set({
      time: t.toFixed(3),
      measured: `${variance.toFixed(3)} ± ${error.toFixed(3)}`,
      exact: water.variance(t).toFixed(3),
      law,
    });
    cloud.describe(`${water.particles} grains of ink at time ${t.toFixed(2)}; their variance from left to right is ${variance.toFixed(2)}`);
    plot.describe(`Histogram of the grains from left to right, and over it the exact bell curve of variance ${water.variance(t).toFixed(2)}`);
    cloud.redraw();
    plot.redraw();
  }

  function drawCloud(context, width, height) {
    const water = context.createLinearGradient(0, 0, 0, height);
    water.addColorStop(0, colour("water-top"));
    water.addColorStop(1, colour("water-bottom"));
    context.fillStyle = water;
    context.fillRect(0, 0, width, height);
    if (!states.length) return;
    const x = scale([-REACH, REACH], [0, width]);
    const y = (value) => height / 2 - (value * width) / (2 * REACH);
    const places = states[now()];
    const size = Math.max(1.6, width / 480);
    context.fillStyle = colour("drop");
    context.globalAlpha = 0.5;
    for (let i = 0; i < places.length; i += 2) {
      context.fillRect(x(places[i]) - size / 2, y(places[i + 1]) - size / 2, size, size);
    }
    context.globalAlpha = 1;
    const trail = states.slice(Math.max(0, now() - TRAIL), now() + 1);
    context.strokeStyle = colour("noise");
    context.lineWidth = 1.5;
    line(context, trail.map((state) => state[0]), trail.map((state) => state[1]), x, y);
    context.beginPath();
    context.arc(x(places[0]), y(places[1]), 5, 0, 2 * Math.PI);
    context.fillStyle = colour("noise");
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = colour("surface");
    context.stroke();
  }

  function drawPlot(context, width, height) {
    if (!states.length) return;
    const { water } = WATERS[kind];
    const [t, base] = [times[now()], height - 22];
    const x = scale([-REACH, REACH], [0, width]);
    // As high as the curve a quarter of the way through; a drop that is taller reaches beyond the top.
    const peak = water.density(water.mean(times[MOMENTS / 4]), times[MOMENTS / 4]);
    const y = (density) => base - (density / (1.12 * peak)) * base;
    context.fillStyle = colour("signal-wash");
    histogram(states[now()]).forEach((density, bin) => {
      const left = x(-REACH + (2 * REACH * bin) / BINS);
      context.fillRect(left + 0.5, y(density), width / BINS - 1, base - y(density));
    });
    const grid = Array.from({ length: 301 }, (_, i) => -REACH + (2 * REACH * i) / 300);
    context.strokeStyle = colour("signal");
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    line(context, grid, grid.map((u) => water.density(u, t)), x, y);
    context.fillStyle = colour("muted");
    context.fillRect(0, base, width, 1);
    context.font = font(11.5);
    context.textAlign = "center";
    for (let tick = -3; tick <= 3; tick += 1) context.fillText(String(tick).replace("-", "−"), x(tick), height - 6);
    context.textAlign = "left";
    context.fillText("bars: the grains", 10, 18);
    context.fillStyle = colour("signal");
    context.fillText("curve: the law", 10, 35);
  }

  const again = button("Another drop", () => ((seed += 1), pour()), { sign: "dice" });
  const figure = h("div", { class: "ink-figure" }, cloud.element, plot.element);
  whenNear(figure, () => {
    pour();
    if (calm()) bar.seek(MOMENTS / 2);
    else bar.playWhenSeen(figure);
  });
  return [h("div", { class: "panel-controls top" }, choice.element, again), figure, bar.element, figures.element];
}

/** Variance from left to right, and its standard error, variance sqrt(2 / N) for a Gaussian. */
function spread(places) {
  const count = places.length / 2;
  let mean = 0;
  for (let i = 0; i < places.length; i += 2) mean += places[i] / count;
  let variance = 0;
  for (let i = 0; i < places.length; i += 2) variance += (places[i] - mean) ** 2 / (count - 1);
  return { variance, error: variance * Math.sqrt(2 / count) };
}

/** Share of the grains in each bin, over its width: a density. */
function histogram(places) {
  const bins = new Float64Array(BINS);
  const gain = BINS / (2 * REACH) / (places.length / 2);
  for (let i = 0; i < places.length; i += 2) {
    const bin = Math.floor(((places[i] + REACH) / (2 * REACH)) * BINS);
    if (bin >= 0 && bin < BINS) bins[bin] += gain;
  }
  return bins;
}
