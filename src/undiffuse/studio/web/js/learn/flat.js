// Panel 4: the flat world. Pictures of two pixels, whose best network can be written down: score, particles, samplers.

import { clouds, moons, spiral } from "../math/mixture.js";
import { Random } from "../math/random.js";
import { SAMPLERS, stepsFor, walk } from "../math/samplers.js";
import { VP, evenInLogSnr, logSnr } from "../math/schedule.js";
import { button, segments, slider, transport } from "../ui/controls.js";
import { calm } from "../ui/canvas.js";
import { equation, frac, freshId, h, hat, inline, minus, named, row, sub, tinted } from "../ui/dom.js";
import { energyDistance, rootMeanSquare, small } from "./distances.js";
import { whenNear } from "./readouts.js";
import { REACH, between, field, pathTo, world } from "./world.js";

const SHAPES = { moons: moons(), clouds: clouds(), spiral: spiral() };
const SCHEDULE = new VP();
/** Walkers; those whose path is drawn; those whose path is compared with the exact one; steps of the exact walk. */
const WALKERS = 400;
const DRAWN = 9;
const COMPARED = 80;
const EXACT_STEPS = 160;
const DATA = 800;
/** Moments of the time slider, even in log-SNR. */
const MOMENTS = 200;
const ENDS = [SCHEDULE.tMax, SCHEDULE.tMin].map((t) => logSnr(SCHEDULE.at(t)));

export const chapter = {
  id: "flat",
  title: "The flat world",
  equation: () =>
    equation(
      "the gradient of log p t at x equals minus the believed epsilon, divided by sigma t",
      row("∇", named("log"), sub("p", "t"), "(", "x", ")", "=", minus(), frac(tinted("noise", hat("ε"), "(", "x", ",", "t", ")"), sub("σ", "t"))),
    ),
  gloss: [
    "On the left the score: the direction in which ",
    inline("x"),
    " becomes more likely. It is the noise that a perfect network believes in, turned round. The arrows show it, times ",
    inline(sub("σ", "t")),
    ".",
  ],
  prose: [
    "Nobody can look into 784 directions. So let a picture have two pixels: it is a point in the plane, all pictures there are " +
      "make a shape, and the best network that could ever be trained is known exactly.",
    "A sampler is a way of walking back: ask for the arrow where you stand, leap, ask again. The four squares start with the " +
      "same points of noise. Dashed are the paths that infinitely many small steps would take; red are the leaps.",
    "With few questions the leaps cut corners, and samplers differ in how cleverly they do it. DDPM throws dice at each step: " +
      "its points end in the right shape, but along no path that could be foretold.",
  ],
  hint:
    "Set three questions and let it play, then ten, then forty. Which sampler is the first to land on the shape? Heun looks before " +
    "it leaps, which costs it every second question: with few it leaps far past the edge. Then point between the two moons, and " +
    "watch the arrow there turn as the noise falls.",
  panel,
};

function panel(signal) {
  let shape = "moons";
  let seed = 0;
  let exact = null;
  let data = null;
  let now = null;
  let probe = null;
  let pending = 0;
  const runs = new Map();

  const bar = transport({
    label: "Time, from noise to data",
    name: "the four samplers",
    steps: MOMENTS,
    seconds: 7,
    format: (k) => `t = ${timeAt(k).toFixed(3)}`,
    onStep: show,
    signal,
  });
  const budget = slider({ label: "Questions to the network, for each point", min: 3, max: 64, value: 10, format: (n) => `${n} questions`, onInput: schedule });
  const choice = segments({
    label: "The data",
    choices: [
      ["moons", "two moons"],
      ["clouds", "five clouds"],
      ["spiral", "a spiral"],
    ],
    value: shape,
    onChange: (next) => ((shape = next), begin()),
  });
  const dice = button("Other noise", () => ((seed += 1), begin()), { sign: "dice" });
  const probeWords = h("p", { class: "probe", "aria-live": "polite", id: freshId("probe") }, "Point at a square, or focus the first one and press the arrow keys, to ask the network there.");

  const predict = (x, t) => SHAPES[shape].denoise(x, SCHEDULE.at(t));
  const views = Object.entries(SAMPLERS).map(([key, sampler], k) => view(key, sampler, k === 0));

  function view(key, sampler, first) {
    const places = Object.fromEntries(["steps", "path", "distance"].map((name) => [name, h("dd", { "data-figure": `${key}-${name}` })]));
    const stage = world({
      description: "",
      scene: () => scene(key),
      signal,
      onPoint: (x, y) => ask(x, y),
      attributes: first ? { tabindex: "0", "aria-describedby": probeWords.id } : {},
    });
    if (first) stage.element.addEventListener("keydown", moveProbe);
    const element = h(
      "div",
      { class: "world" },
      stage.element,
      h("h3", {}, sampler.name),
      h("dl", {}, h("dt", {}, "steps"), places.steps, h("dt", {}, "off the path"), places.path, h("dt", {}, "off the shape"), places.distance),
    );
    return { key, sampler, stage, places, element };
  }

  /** A new shape or new noise: the exact paths, and everything after them. */
  function begin() {
    const random = new Random(seed);
    const x = random.normals(2 * WALKERS);
    data = SHAPES[shape].draw(DATA, random);
    exact = walk(SAMPLERS.heun, { predict, schedule: SCHEDULE, times: evenInLogSnr(SCHEDULE, EXACT_STEPS), x: x.slice(0, 2 * COMPARED) });
    runs.set("start", x);
    compute();
  }

  /** Dragging the slider asks for more than can be computed: once a frame is enough. */
  function schedule() {
    pending ||= requestAnimationFrame(() => ((pending = 0), compute()));
  }
  signal.addEventListener("abort", () => cancelAnimationFrame(pending));

  function compute() {
    for (const { key, sampler, places } of views) {
      const steps = stepsFor(sampler, budget.value);
      const times = evenInLogSnr(SCHEDULE, steps);
      const states = walk(sampler, { predict, schedule: SCHEDULE, times, x: runs.get("start"), random: new Random(seed + 1000) });
      runs.set(key, states);
      places.steps.textContent = `${steps}`;
      places.path.textContent = sampler.random ? "dice" : rootMeanSquare(states.at(-1), exact.at(-1)).toFixed(3);
      places.distance.textContent = small(energyDistance(states.at(-1), data));
    }
    show();
  }

  function timeAt(k) {
    return SCHEDULE.inverseLogSnr(ENDS[0] + ((ENDS[1] - ENDS[0]) * k) / MOMENTS);
  }

  /** How far a walk of `states` is at this moment: its steps but the last are even in log-SNR, as the slider is. */
  const momentIn = (states) => (bar.value === MOMENTS ? states.length - 1 : (bar.value / MOMENTS) * (states.length - 2));

  function show() {
    if (!exact) return;
    const marginal = SCHEDULE.at(timeAt(bar.value));
    const mixture = SHAPES[shape];
    now = field({ predict: (x, q) => mixture.denoise(x, q), density: (x, y, q) => mixture.density(x, y, q), marginal });
    for (const { sampler, stage, places } of views) {
      stage.describe(`${sampler.name}: ${WALKERS} points on their way from noise to the data, at t ${timeAt(bar.value).toFixed(2)}; ${places.steps.textContent} steps in all`);
      stage.redraw();
    }
    if (probe) ask(...probe);
  }

  function scene(key) {
    const states = runs.get(key);
    if (!states || !now) return null;
    const moment = momentIn(states);
    const { random } = SAMPLERS[key];
    // paths that jump about hide more than they show: few of them
    const several = Array.from({ length: random ? DRAWN / 3 : DRAWN }, (_, i) => i);
    return {
      field: now,
      particles: between(states, moment),
      tint: "ink",
      paths: several.map((i) => pathTo(states, i, moment)),
      truth: random ? [] : several.map((i) => pathTo(exact, i, momentIn(exact))),
      probe,
    };
  }

  function ask(x, y) {
    probe = [x, y];
    const t = timeAt(bar.value);
    const marginal = SCHEDULE.at(t);
    const { x0 } = predict(probe, t);
    const pair = ([a, b]) => `(${a.toFixed(3)}, ${b.toFixed(3)})`.replaceAll("-", "−");
    probeWords.textContent = `At x = ${pair(probe)}, t = ${t.toFixed(4)}: the score is ${pair(SHAPES[shape].score(probe, marginal))}, the picture believed in ${pair(x0)}.`;
    for (const { stage } of views) stage.redraw();
  }

  function moveProbe(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const [x, y] = probe ?? [0, 0];
    const inside = (value) => Math.min(REACH, Math.max(-REACH, Math.round(value * 10) / 10));
    ask(inside(x + dx / 10), inside(y + dy / 10));
  }

  const worlds = h("div", { class: "worlds" }, views.map(({ element }) => element));
  whenNear(worlds, () => {
    begin();
    if (calm()) bar.seek(0.7 * MOMENTS);
    else bar.playWhenSeen(worlds);
  });
  return [
    h("div", { class: "panel-controls top" }, choice.element, dice),
    worlds,
    h("div", { class: "panel-controls" }, bar.element, budget.element),
    h(
      "p",
      { class: "caption" },
      "The haze is where drowned pictures are at this moment, ",
      inline(row(sub("p", "t"), "(", "x", ")")),
      "; the arrows lead to where there are more of them. Below each square: how far its points end from where the exact paths end, and from the shape.",
    ),
    probeWords,
  ];
}
