// Panel 2: a picture drowns. x_t = alpha x0 + sigma eps, its two parts, and the schedule that mixes them.

import { cosine, linear, logSnr } from "../math/schedule.js";
import { Random } from "../math/random.js";
import { segments, transport } from "../ui/controls.js";
import { picture } from "../ui/canvas.js";
import { equation, freshId, h, icon, inline, row, sub, sup, tinted } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { curves } from "./curves.js";
import { digits, hills, own } from "./pictures.js";
import { mix } from "./walks.js";
import { readouts } from "./readouts.js";

const SCHEDULES = { cosine: cosine(), linear: linear() };
const T = 1000;
/** Pictures in the two strips, evenly spaced in t. */
const STRIP = 11;

const xt = () => sub("x", "t");
const signalPart = () => tinted("signal", sub("α", "t"), sub("x", "0"));
const noisePart = () => tinted("noise", sub("σ", "t"), "ε");

export const chapter = {
  id: "drown",
  title: "A picture drowns",
  equation: () => equation("x t equals alpha t times x zero plus sigma t times epsilon", row(xt(), "=", signalPart(), "+", noisePart())),
  gloss: [
    "Every pixel is the same sum: some of the ",
    h("span", { class: "signal" }, "signal"),
    ", some of the ",
    h("span", { class: "noise" }, "noise"),
    ". As ",
    inline("t"),
    " grows, ",
    inline(tinted("signal", "α")),
    " falls from 1 to 0 and ",
    inline(tinted("noise", "σ")),
    " rises from 0 to 1, always with ",
    inline(row(sup("α", "2"), "+", sup("σ", "2"), "=", "1")),
    ".",
  ],
  prose: [
    "A picture is a list of numbers: 784 of them for a digit of 28 × 28 pixels. So it is one point, one grain of ink, in a " +
      "space of 784 directions. Shake every number as water shakes a grain, let the picture fade meanwhile, and after a while " +
      "each pixel holds a bell curve’s chance and nothing else.",
    "Nobody has to walk there step by step: any moment is one sum away. Drag the slider, or the point on the curves, and watch " +
      "the two parts of the sum.",
    "How fast to drown is a choice, called the schedule. The older one is called linear, for what each step adds; it spends " +
      "its last third on pictures that nobody could recognise. The cosine one spends its steps more evenly.",
  ],
  hint: "Find the t at which you can just tell what the picture is, for a digit and then for the hills. Large things survive longer than small ones.",
  panel,
};

function panel(signal) {
  let schedule = "cosine";
  let current = hills();
  let eps = noiseFor(current);
  const state = () => ({ name: schedule, t: bar.value });

  const views = {
    whole: picture({ description: "The noisy picture", shape: current.shape }),
    signal: picture({ description: "What is left of the picture", shape: current.shape }),
    noise: picture({ description: "The noise in it", shape: current.shape }),
  };
  const factors = { alpha: h("span", { class: "signal", "data-figure": "alpha" }), sigma: h("span", { class: "noise", "data-figure": "sigma" }) };
  const bar = transport({
    label: "Time t, from picture to noise",
    name: "the drowning picture",
    steps: T,
    value: 300,
    seconds: 8,
    format: (t) => `t = ${t} of ${T}`,
    onStep: update,
    signal,
  });
  const choice = segments({
    label: "Schedule",
    choices: [
      ["cosine", "cosine"],
      ["linear", "linear"],
    ],
    value: schedule,
    onChange: (next) => ((schedule = next), update()),
  });
  const figures = readouts([
    ["snr", "log signal-to-noise ratio, log(α²/σ²)"],
    ["share", "share of the variance that is signal, α²"],
  ]);

  const common = { schedules: SCHEDULES, state, onDrag: (t) => bar.seek(t), signal };
  const plots = [
    curves({
      ...common,
      range: [0, 1.04],
      ticks: [0, 0.5, 1],
      lines: [
        { of: ({ alpha }) => alpha, colour: "signal", name: "α", at: 0.62 },
        { of: ({ sigma }) => sigma, colour: "noise", name: "σ", at: 0.62 },
      ],
      describe: ({ name, t }) => {
        const { alpha, sigma } = SCHEDULES[name].at(t);
        return `Alpha falls and sigma rises with t; at t ${t} of the ${name} schedule alpha is ${alpha.toFixed(2)} and sigma ${sigma.toFixed(2)}`;
      },
    }),
    curves({
      ...common,
      range: [-11, 11],
      ticks: [-10, -5, 0, 5, 10],
      lines: [{ of: logSnr, colour: "ink" }],
      describe: ({ name, t }) => `The log signal-to-noise ratio falls with t; at t ${t} of the ${name} schedule it is ${decimal(logSnr(SCHEDULES[name].at(t)), 1)}`,
    }),
  ];
  const strips = Object.keys(SCHEDULES).map((name) => strip(name, (t) => (choice.set(name), (schedule = name), bar.seek(t))));

  function update() {
    const t = bar.value;
    const marginal = SCHEDULES[schedule].at(t);
    const { alpha, sigma } = marginal;
    views.whole.show(mix(current.values, eps, marginal));
    views.signal.show(current.values.map((value) => alpha * value));
    views.noise.show(eps.map((value) => sigma * value));
    factors.alpha.textContent = alpha.toFixed(3);
    factors.sigma.textContent = sigma.toFixed(3);
    figures.set({ snr: decimal(logSnr(marginal), 2), share: `${(100 * alpha ** 2).toFixed(1)} %` });
    views.whole.describe(`${current.label}, at t ${t}: ${(100 * alpha ** 2).toFixed(0)} percent of the variance is signal`);
    for (const plot of plots) plot.update();
    for (const { mark } of strips) mark(schedule, t);
  }

  function choose(next) {
    current = next;
    eps = noiseFor(current);
    for (const view of Object.values(views)) view.reshape(current.shape);
    for (const { fill } of strips) fill(current, eps);
    update();
  }

  const part = (view, ...caption) => h("figure", {}, view.element, h("figcaption", {}, caption));
  const sum = h(
    "div",
    { class: "sum" },
    part(views.whole, inline(xt()), ", what there is to see"),
    h("span", { class: "sum-sign" }, "="),
    part(views.signal, inline(signalPart()), ", the signal: α = ", factors.alpha),
    h("span", { class: "sum-sign" }, "+"),
    part(views.noise, inline(noisePart()), ", the noise: σ = ", factors.sigma),
  );

  const thumbs = chooser(choose, signal);
  choose(current);
  return [
    h("div", { class: "panel-controls top" }, thumbs, choice.element),
    sum,
    bar.element,
    figures.element,
    h(
      "div",
      { class: "curves" },
      h("figure", {}, plots[0].element, h("figcaption", {}, "How much signal and how much noise: drag the point. Dashed, the other schedule.")),
      h("figure", {}, plots[1].element, h("figcaption", {}, "The logarithm of the signal-to-noise ratio. Dashed, the other schedule.")),
    ),
    h("div", { class: "strips" }, strips.map(({ element }) => element)),
  ];
}

const decimal = (value, digitsAfter) => (Number.isFinite(value) ? value.toFixed(digitsAfter).replace("-", "−") : "∞");

const noiseFor = ({ values }) => Float32Array.from(new Random(1).normals(values.length));

/** The picture at eleven times of one schedule; a click goes there. */
function strip(name, onChoose) {
  const times = Array.from({ length: STRIP }, (_, k) => (T * k) / (STRIP - 1));
  const views = times.map((t) => picture({ description: `${name} schedule at t ${t}`, shape: [1, 28, 28] }));
  const buttons = views.map((view, k) =>
    h("button", { type: "button", onclick: () => onChoose(times[k]), "aria-label": `Go to t ${times[k]} of the ${name} schedule` }, view.element),
  );
  return {
    element: h("figure", {}, h("figcaption", {}, `The ${name} schedule, t = 0 to ${T}`), h("div", { class: "strip" }, buttons)),
    fill(current, eps) {
      views.forEach((view, k) => {
        view.reshape(current.shape);
        view.show(mix(current.values, eps, SCHEDULES[name].at(times[k])));
      });
    },
    mark(schedule, now) {
      buttons.forEach((button, k) => button.setAttribute("aria-current", schedule === name && Math.abs(times[k] - now) <= T / (STRIP - 1) / 2));
    },
  };
}

/** Small pictures to choose from, and a place for one's own. */
function chooser(choose, signal) {
  const group = freshId("pictures");
  const place = h("div", { class: "thumbs" });
  const add = (candidate, checked) => {
    const view = picture({ description: candidate.label, shape: candidate.shape, className: "smooth" });
    view.show(candidate.values);
    const input = h("input", { type: "radio", name: group, checked, "aria-label": candidate.label, onchange: () => choose(candidate) });
    place.insertBefore(h("label", { class: "thumb", title: candidate.label }, view.element, input), ownThumb);
  };
  const upload = h("input", { type: "file", accept: "image/*", "aria-label": "A picture of your own; it stays on this page" });
  const ownThumb = h("label", { class: "thumb own", title: "A picture of your own; it stays on this page" }, icon("upload"), upload);
  upload.addEventListener("change", async () => {
    try {
      const candidate = await own(upload.files[0]);
      add(candidate, true);
      choose(candidate);
    } catch {
      toast("That file is no picture that this browser can read: try a PNG or JPEG.", { error: true });
    }
  });
  place.append(ownThumb);
  add(hills(), true);
  digits(signal).then((found) => signal.aborted || found.forEach((candidate) => add(candidate, false)));
  return h("fieldset", { class: "control" }, h("legend", { class: "label" }, "The picture"), place);
}
