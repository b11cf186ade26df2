// Panel 5: wishes, and how strongly. Classifier-free guidance in the flat world.

import { Mixture } from "../math/mixture.js";
import { Random } from "../math/random.js";
import { SAMPLERS, walk } from "../math/samplers.js";
import { VP, evenInLogSnr } from "../math/schedule.js";
import { segments, slider, transport } from "../ui/controls.js";
import { equation, h, inline, row, sub, tinted } from "../ui/dom.js";
import { whenNear } from "./readouts.js";
import { between, field, world } from "./world.js";

const SCHEDULE = new VP();
const STEPS = 40;
const TIMES = evenInLogSnr(SCHEDULE, STEPS);
const WALKERS = 500;
const STD = 0.42;

/** Two kinds of pictures that overlap, and both together: what a network knows that was told the kind, or was not. */
const KINDS = { left: [-0.75, 0.7, -0.75, -0.7], right: [0.75, 0.7, 0.75, -0.7] };
const TOLD = Object.fromEntries(Object.entries(KINDS).map(([name, means]) => [name, new Mixture({ means, std: STD })]));
const UNTOLD = new Mixture({ means: [...KINDS.left, ...KINDS.right], std: STD });

/** eps = eps_untold + w (eps_told - eps_untold), and x0 alike (Ho & Salimans 2022). */
export function guided(kind, w, x, marginal) {
  const [told, untold] = [TOLD[kind].denoise(x, marginal), UNTOLD.denoise(x, marginal)];
  const beyond = (a, b) => a.map((value, i) => value + w * (b[i] - value));
  return { x0: beyond(untold.x0, told.x0), eps: beyond(untold.eps, told.eps) };
}

export const chapter = {
  id: "guidance",
  title: "Wishing harder",
  equation: () =>
    equation(
      "epsilon equals epsilon without the wish plus w times the difference between epsilon with the wish and without it",
      row(tinted("noise", "ε"), "=", tinted("noise", sub("ε", "∅")), "+", "w", "(", tinted("noise", sub("ε", "c")), "−", tinted("noise", sub("ε", "∅")), ")"),
    ),
  gloss: [
    "The noise that the network believes in when it is told the wish ",
    inline("c"),
    ", and when it is told nothing, ",
    inline("∅"),
    ". At ",
    inline(row("w", "=", "1")),
    " it does as told; beyond, it exaggerates what the wish changed.",
  ],
  prose: [
    "A network can be told what to draw: “a seven”, “a cat on a roof”. Told and untold, it sees different noise in the same " +
      "picture, and the difference of the two is what the wish changed.",
    "Guidance takes that difference more than once. Here are two kinds of points that overlap, and a wish for one of them. With " +
      "guidance the points leave the ground that both kinds share, and each is plainly what was asked for. The price can be " +
      "seen as well: they crowd together. More obedience, less variety.",
  ],
  hint: "Move w from 0, where the wish is not heard, over 1 to 6. Keep an eye on the two figures: at which w would you stop?",
  panel,
};

function panel(signal) {
  let kind = "left";
  let states = { plain: [], guided: [] };
  let pending = 0;
  const start = new Random(0).normals(2 * WALKERS);
  const places = new Map();

  const bar = transport({
    label: "Steps taken, from noise to data",
    name: "both walks",
    steps: STEPS,
    value: STEPS,
    seconds: 4,
    format: (k) => `t = ${TIMES[k].toFixed(3)}`,
    onStep: show,
    signal,
  });
  const strength = slider({ label: "Guidance w", min: 0, max: 6, step: 0.25, value: 3, format: (w) => `w = ${w.toFixed(2)}`, onInput: schedule });
  const choice = segments({
    label: "The wish",
    choices: [
      ["left", "the left kind"],
      ["right", "the right kind"],
    ],
    value: kind,
    onChange: (next) => ((kind = next), compute()),
  });
  const views = { plain: view("plain", "As told, w = 1"), guided: view("guided", "With guidance") };

  function view(name, heading) {
    const figures = ["clear", "variety"].map((key) => h("dd", { "data-figure": `${name}-${key}` }));
    places.set(name, figures);
    const stage = world({ description: "", scene: () => scene(name), signal });
    const rows = h("dl", {}, h("dt", {}, "more likely of the other kind"), figures[0], h("dt", {}, "variety: mean distance from their middle"), figures[1]);
    return { stage, element: h("div", { class: "world" }, stage.element, h("h3", {}, heading), rows) };
  }

  function schedule() {
    pending ||= requestAnimationFrame(() => ((pending = 0), compute()));
  }
  signal.addEventListener("abort", () => cancelAnimationFrame(pending));

  function compute() {
    const run = (w) =>
      walk(SAMPLERS.dpm2m, { predict: (x, t) => guided(kind, w, x, SCHEDULE.at(t)), schedule: SCHEDULE, times: TIMES, x: start });
    states = { plain: run(1), guided: run(strength.value) };
    for (const [name, [clear, variety]] of places) {
      const end = states[name].at(-1);
      clear.textContent = `${(100 * strays(end, kind)).toFixed(1)} %`;
      variety.textContent = spread(end).toFixed(2);
    }
    show();
  }

  const timeNow = () => TIMES[Math.min(bar.value, STEPS - 1)];

  function show() {
    if (!states.plain.length) return;
    for (const [name, { stage }] of Object.entries(views)) {
      const w = name === "plain" ? 1 : strength.value;
      stage.describe(`${WALKERS} points at t ${timeNow().toFixed(2)}, asked to be of the kind on the ${kind}, with guidance ${w}`);
      stage.redraw();
    }
  }

  function scene(name) {
    if (!states[name].length) return null;
    const w = name === "plain" ? 1 : strength.value;
    return {
      field: field({
        predict: (x, q) => guided(kind, w, x, q),
        density: (x, y, q) => UNTOLD.density(x, y, q),
        marginal: SCHEDULE.at(timeNow()),
      }),
      particles: between(states[name], bar.value),
      tint: name === "plain" ? "ink" : "noise",
      paths: [],
      truth: [],
      probe: null,
    };
  }

  const worlds = h("div", { class: "worlds pair" }, views.plain.element, views.guided.element);
  whenNear(worlds, compute);
  return [
    h("div", { class: "panel-controls" }, choice.element, strength.element),
    worlds,
    bar.element,
    h("p", { class: "caption" }, "The haze is all data of both kinds, ", inline(row(sub("p", "t"), "(", "x", ")")), "; the arrows are what each walk follows."),
  ];
}

/** Share of the points that the other kind explains better. */
function strays(points, kind) {
  const other = kind === "left" ? "right" : "left";
  const data = { alpha: 1, sigma: 0 };
  let count = 0;
  for (let i = 0; i < points.length; i += 2) {
    count += TOLD[other].density(points[i], points[i + 1], data) > TOLD[kind].density(points[i], points[i + 1], data);
  }
  return count / (points.length / 2);
}

/** Mean distance from the mean. */
function spread(points) {
  const count = points.length / 2;
  let [x, y, sum] = [0, 0, 0];
  for (let i = 0; i < points.length; i += 2) [x, y] = [x + points[i] / count, y + points[i + 1] / count];
  for (let i = 0; i < points.length; i += 2) sum += Math.hypot(points[i] - x, points[i + 1] - y) / count;
  return sum;
}
