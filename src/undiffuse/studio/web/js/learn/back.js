// Panel 3: the way back. x_t, the picture that the network believes in, and the noise that it believes in, step by step.

import { hasServer } from "../api.js";
import { button, segments, transport } from "../ui/controls.js";
import { calm, picture } from "../ui/canvas.js";
import { equation, h, hat, inline, row, sub, tinted } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { drawn, recorded } from "./walks.js";
import { readouts, whenNear } from "./readouts.js";

const SHAPE = [1, 28, 28];
/** Pictures in the film below. */
const FILM = 9;

const believedPicture = () => tinted("signal", hat("x", "0"));
const believedNoise = () => tinted("noise", hat("ε"));

export const chapter = {
  id: "back",
  title: "The way back",
  equation: () =>
    equation(
      "x s equals alpha s times the believed x zero plus sigma s times the believed epsilon",
      row(sub("x", "s"), "=", sub("α", "s"), believedPicture(), "+", sub("σ", "s"), believedNoise()),
    ),
  gloss: [
    "One step back, from ",
    inline("t"),
    " to an earlier ",
    inline("s"),
    ": the same sum as before, with what the network believes in place of the truth. Hats mark beliefs; either one gives the other, ",
    inline(row(believedPicture(), "=", "(", sub("x", "t"), "−", sub("σ", "t"), believedNoise(), ")", "/", sub("α", "t"))),
    ".",
  ],
  prose: [
    "Nobody can unshake a grain, but one can learn to guess. A neural network is a function with very many numbers to adjust, " +
      "650,000 in this one. It is shown drowned pictures, asked which noise was put in, and each time its numbers are moved a " +
      "little towards the right answer. That is all the training there is. To guess the noise is to guess the picture: take " +
      "the noise away, and see what is left.",
    "At first there is nothing to go by, and the guess is the mean of all sevens there are: a grey blur. Do not trust it yet. " +
      "Take away only a little of the noise, and ask again: now there is a trace to go by, and the guess is less vague.",
    "After some twenty questions the guess and the picture are the same. Nobody wrote this digit; how it would look was decided on the way.",
  ],
  hint:
    "Choose another digit. The noise at the start stays the same, pixel for pixel; only the wish is another. " +
    "Stop in the middle, and see when the network makes up its mind.",
  panel,
};

function panel(signal) {
  let walk = null;
  let seed = null; // the recording's, until other noise is asked for
  let name = "7";
  let waiting = null;

  const views = {
    x_t: picture({ description: "Where the walk stands", shape: SHAPE }),
    x0: picture({ description: "The picture that the network believes in", shape: SHAPE }),
    eps: picture({ description: "The noise that the network believes in", shape: SHAPE, low: -3, high: 3 }),
  };
  const film = Array.from({ length: FILM }, () => picture({ description: "", shape: SHAPE }));
  const figures = readouts([
    ["time", "time t"],
    ["alpha", "α"],
    ["sigma", "σ"],
    ["seed", "number of the noise"],
  ]);
  const bar = transport({
    label: "Steps taken, from noise to the picture",
    name: "the way back",
    steps: 24,
    seconds: 6,
    format: (k) => (walk && k === walk.steps.length ? "arrived: t = 0" : `step ${k}`),
    onStep: update,
    signal,
  });
  const choice = segments({
    label: "What is wished for",
    choices: Array.from("0123456789", (digit) => [digit, digit]),
    value: name,
    tight: true,
    onChange: (next) => ((name = next), fetchWalk(bar.value)),
  });
  const dice = button("Other noise", () => ((seed += 1), fetchWalk(0, true)), { sign: "dice" });

  /** The walk of this seed and class: the recorded one where there is one. A newer wish makes an older answer void. */
  async function fetchWalk(at, playThen = false) {
    waiting?.abort();
    waiting = new AbortController();
    const mine = waiting;
    try {
      const record = await recorded();
      seed ??= record.seed;
      const steps = record.walks.get(name).steps.length;
      const kept = seed === record.seed ? record.walks.get(name) : null;
      const found = kept ?? (await drawn({ seed, name, steps, signal: mine.signal }));
      if (mine.signal.aborted || signal.aborted) return;
      walk = found;
      bar.resize(walk.steps.length, Math.min(at, walk.steps.length));
      fillFilm();
      update();
      if (playThen) bar.playWhenSeen(trio);
    } catch (error) {
      if (error.name !== "AbortError" && !mine.signal.aborted) toast(error.message, { error: true });
    }
  }
  signal.addEventListener("abort", () => waiting?.abort());

  function update() {
    if (!walk) return;
    const k = bar.value;
    const arrived = k === walk.steps.length;
    // At the end nobody asks the network any more: the picture is its last belief.
    const { t, alpha, sigma, x_t, x0, eps } = arrived ? { ...walk.steps[k - 1], t: 0, alpha: 1, sigma: 0, x_t: walk.end, x0: walk.end } : walk.steps[k];
    views.x_t.show(x_t);
    views.x0.show(x0);
    views.eps.show(eps);
    figures.set({ time: t.toFixed(0), alpha: alpha.toFixed(3), sigma: sigma.toFixed(3), seed: String(seed) });
    views.x_t.describe(arrived ? `The finished picture, a ${name}` : `Where the walk stands at t ${t.toFixed(0)}, on its way to a ${name}`);
    bar.refresh();
  }

  function fillFilm() {
    film.forEach((view, i) => {
      const k = Math.round((i * walk.steps.length) / (FILM - 1));
      view.show(k === walk.steps.length ? walk.end : walk.steps[k].x0);
      view.describe(`The network’s picture after ${k} ${k === 1 ? "step" : "steps"}`);
    });
  }

  const part = (view, heading, ...words) => h("figure", {}, view.element, h("figcaption", {}, h("strong", {}, heading), words));
  const trio = h(
    "div",
    { class: "trio" },
    part(views.x_t, "Where it stands", inline(sub("x", "t")), ", between noise and picture"),
    part(views.x0, "The picture it believes in", inline(believedPicture()), ", a mean of all that it might become"),
    part(views.eps, "The noise it believes in", inline(believedNoise()), ", the rest of what it sees"),
  );
  whenNear(trio, () => fetchWalk(calm() ? 12 : 0, !calm()));
  return [
    h("div", { class: "panel-controls top" }, choice.element, hasServer() && dice),
    trio,
    bar.element,
    figures.element,
    h("figure", { class: "film-figure" }, h("div", { class: "film" }, film.map((view) => view.element)), h("figcaption", {}, "The belief ", inline(believedPicture()), " along the way: from the mean of all there are to one of its own.")),
  ];
}
