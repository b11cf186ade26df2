// Panel 6: few evaluations. The same noise by few leaps of DDIM, each to a mean, and by the jumps of a student.

import { cloud, clouds } from "../math/mixture.js";
import { Random } from "../math/random.js";
import { SAMPLERS, walk } from "../math/samplers.js";
import { cosine, evenInTime } from "../math/schedule.js";
import { STUDENT_SAMPLERS, student } from "../math/students.js";
import { button, segments, transport } from "../ui/controls.js";
import { calm } from "../ui/canvas.js";
import { equation, h, inline, row, sub, tinted } from "../ui/dom.js";
import { energyDistance, rootMeanSquare, small, spread } from "./distances.js";
import { ends } from "./ends.js";
import { whenNear } from "./readouts.js";
import { mix } from "./walks.js";
import { between, field, pathTo, world } from "./world.js";

const SCHEDULE = cosine();
const SHAPES = { clouds: clouds(), cloud: cloud() };
const COUNTS = [1, 2, 4, 20];
/** Steps of the walk that is called exact; each of COUNTS divides it. */
const EXACT_STEPS = 200;
/** Walkers; those whose path is drawn; points of the data that they are compared with; moments of the slider. */
const WALKERS = 400;
const DRAWN = 9;
const DATA = 800;
const MOMENTS = 100;

const VIEWS = {
  teacher: "Teacher: DDIM",
  jump: "Student: jumps",
  renoise: "Student: fresh noise",
  data: "The data",
};
const FIGURES = { spread: "spread", error: "its error", path: "off the path", distance: "off the shape" };

const noise = () => tinted("noise", sub("x", "T"));
const data = () => tinted("signal", sub("x", "0"));

export const chapter = {
  id: "few",
  title: "All the way in one leap",
  equation: () =>
    equation("D of x T equals the expectation of x zero given x T", row("D", "(", noise(), ")", "=", "E", "[", data(), "|", noise(), "]")),
  gloss: [
    "The best answer ",
    inline("D"),
    " to pure noise ",
    inline(noise()),
    " is the mean of all pictures ",
    inline(data()),
    " that could have drowned in it, and any of them could. A leap of DDIM to ",
    inline(row("t", "=", "0")),
    " lands on that answer.",
  ],
  prose: [
    "To draw is to ask the network some twenty times, and each question costs the same. Why not leap all the way at the first answer? " +
      "Choose one evaluation: every point lands on the cross, the mean of the data, where no data is. Of pictures, that mean is a grey blur.",
    "A walk of many small steps ends elsewhere: each noise has one end of its own. So let another network, a student, learn from the " +
      "first, its teacher, where that walk ends. Its answer is one place and no mean, and one jump lands where two hundred steps do.",
    [
      "It learns nothing that its teacher lost. Twenty steps of DDIM leave a cloud a little too narrow, and so does the student of such a " +
        "walk. To drown what the student drew in fresh noise and ask again costs evaluations and does not bring the missing spread back; one cloud loses more of it. ",
      h("code", {}, "undiffuse distill"),
      " makes a student of a model of yours; ",
      h("code", {}, "docs/use/distillation.md"),
      " tells when that pays.",
    ],
  ],
  hint:
    "Go from 1 evaluation to 2, 4 and 20, and watch the first square grow while the second one stays. Then choose one cloud and a student " +
    "of 20 steps, and compare the spreads: does fresh noise help, however often?",
  panel,
};

function panel(signal) {
  let shape = "clouds";
  let count = 1;
  let taught = EXACT_STEPS;
  let seed = 0;
  let exact = null;
  let points = null;
  let drowned = null;
  let now = null;
  let states = {};

  const bar = transport({
    label: "Time, from noise to data",
    name: "the leaps",
    steps: MOMENTS,
    seconds: 4,
    format: (k) => `t = ${timeAt(k)} of ${SCHEDULE.tMax}`,
    onStep: show,
    signal,
  });
  const choices = [
    segments({ label: "Evaluations of the network", choices: COUNTS.map((n) => [n, `${n}`]), value: count, onChange: (next) => ((count = next), compute()) }),
    segments({
      label: "The student has learned the walk of",
      choices: [
        [20, "20 steps"],
        [EXACT_STEPS, `${EXACT_STEPS} steps`],
      ],
      value: taught,
      onChange: (next) => ((taught = next), compute(), table.show({ seed, taught })),
    }),
    segments({
      label: "The data",
      choices: [
        ["clouds", "five clouds"],
        ["cloud", "one cloud"],
      ],
      value: shape,
      onChange: (next) => ((shape = next), begin()),
    }),
  ];
  const dice = button("Other noise", () => ((seed += 1), begin(), table.show({ seed, taught })), { sign: "dice" });
  const table = ends({ schedule: SCHEDULE, counts: COUNTS, exactSteps: EXACT_STEPS });

  const predict = (x, t) => SHAPES[shape].denoise(x, SCHEDULE.at(t));
  const views = Object.entries(VIEWS).map(([key, heading]) => view(key, heading));

  function view(key, heading) {
    const places = Object.fromEntries(Object.keys(FIGURES).map((name) => [name, h("dd", { "data-figure": `${key}-${name}` })]));
    const stage = world({ description: "", scene: () => scene(key), signal });
    const rows = h("dl", {}, Object.entries(FIGURES).map(([name, label]) => [h("dt", {}, label), places[name]]));
    return { key, heading, stage, places, element: h("div", { class: "world" }, stage.element, h("h3", {}, heading), rows) };
  }

  /** A new shape or new noise: the walk of many steps, and everything after it. */
  function begin() {
    const random = new Random(seed);
    const x = random.normals(2 * WALKERS);
    points = SHAPES[shape].draw(DATA, random);
    drowned = { x0: SHAPES[shape].draw(WALKERS, random), eps: random.normals(2 * WALKERS) };
    exact = walk(SAMPLERS.ddim, { predict, schedule: SCHEDULE, times: evenInTime(SCHEDULE, EXACT_STEPS), x });
    compute();
  }

  function compute() {
    if (!exact) return;
    const given = { schedule: SCHEDULE, times: evenInTime(SCHEDULE, count), x: exact[0] };
    const learned = student({ predict, schedule: SCHEDULE, times: evenInTime(SCHEDULE, taught) });
    states = {
      teacher: walk(SAMPLERS.ddim, { ...given, predict }),
      jump: walk(STUDENT_SAMPLERS.jump, { ...given, predict: learned }),
      renoise: walk(STUDENT_SAMPLERS.renoise, { ...given, predict: learned, random: new Random(seed + 1000) }),
    };
    for (const { key, places } of views) {
      const drawn = key !== "data";
      const end = drawn ? states[key].at(-1) : drowned.x0;
      const { value, error } = drawn ? spread(end) : { value: SHAPES[shape].moments().spread, error: 0 };
      const random = !drawn || (key === "renoise" && count > 1);
      places.spread.textContent = value.toFixed(3);
      places.error.textContent = error.toFixed(3);
      places.path.textContent = random ? "dice" : rootMeanSquare(end, exact.at(-1)).toFixed(3);
      places.distance.textContent = small(energyDistance(end, points));
    }
    show();
  }

  function timeAt(k) {
    return Math.round(SCHEDULE.tMax * (1 - k / MOMENTS));
  }

  function show() {
    if (!exact) return;
    const mixture = SHAPES[shape];
    // at 0 itself there is no noise to point away from
    const marginal = SCHEDULE.at(Math.max(1, timeAt(bar.value)));
    now = field({ predict: (x, q) => mixture.denoise(x, q), density: (x, y, q) => mixture.density(x, y, q), marginal });
    for (const { key, heading, stage } of views) {
      const how = key === "data" ? "" : `, in ${count} ${count === 1 ? "evaluation" : "evaluations"}`;
      stage.describe(`${heading}: ${WALKERS} points at t ${timeAt(bar.value)}${how}`);
      stage.redraw();
    }
  }

  function scene(key) {
    if (!now) return null;
    const part = bar.value / MOMENTS;
    const common = { field: now, tint: "ink", probe: SHAPES[shape].moments().mean };
    if (key === "data") return { ...common, particles: mix(drowned.x0, drowned.eps, SCHEDULE.at(timeAt(bar.value))), paths: [], truth: [] };
    // paths that jump about hide more than they show: few of them
    const dice = key === "renoise";
    const several = Array.from({ length: dice ? DRAWN / 3 : DRAWN }, (_, i) => i);
    return {
      ...common,
      particles: between(states[key], part * count),
      paths: several.map((i) => pathTo(states[key], i, part * count)),
      truth: dice ? [] : several.map((i) => pathTo(exact, i, part * EXACT_STEPS)),
    };
  }

  const worlds = h("div", { class: "worlds" }, views.map(({ element }) => element));
  whenNear(worlds, () => {
    begin();
    if (calm()) bar.seek(MOMENTS);
    else bar.playWhenSeen(worlds);
  });
  whenNear(table.element, () => table.show({ seed, taught }));
  return [
    h("div", { class: "panel-controls top" }, choices.map(({ element }) => element), dice),
    worlds,
    bar.element,
    h(
      "p",
      { class: "caption" },
      "All three start from the same points of noise. The cross is the mean of the data; dashed is the walk of 200 steps, red are the leaps. Spread: the " +
        "root of the mean squared distance from the middle; that of the data is exact. Off the path: how far points end from where the 200 steps end. Off the shape: how far they are from the data, ≈ 0 if less than so many points can tell.",
    ),
    table.element,
  ];
}
