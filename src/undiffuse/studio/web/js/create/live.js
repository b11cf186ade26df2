// Live: a picture that follows sliders, and morphs from one seed to another, by a model that needs a few evaluations.

import { at, post } from "../api.js";
import { button, iconButton, segments, slider } from "../ui/controls.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { SMALL } from "./canvas.js";
import { begin, plural } from "./job.js";

/** The last seed on a slider, unless a larger one was typed. */
const SEEDS = 999;

/** A part of the way between two seeds: "38 %". */
const percent = (part) => `${Math.round(100 * part)} %`;

/** A slider of seeds with a die beside it: { element, value, set }. */
function seedSlider({ label, dice, value, onInput }) {
  const moved = slider({ label, min: 0, max: SEEDS, value, onInput });
  const set = (seed) => {
    moved.input.max = Math.max(SEEDS, seed);
    moved.set(seed);
  };
  const die = iconButton("dice", dice, () => {
    set(Math.floor(Math.random() * (SEEDS + 1)));
    onInput();
  });
  return {
    element: h("div", { class: "live-seed" }, moved.element, die),
    get value() {
      return moved.value;
    },
    set,
  };
}

/** A picture and what it shows: { element, key, show, forget }. `key` says of which request it is the answer. */
function place(element, image) {
  return {
    element,
    key: null,
    show(key, url, width) {
      this.key = key;
      image.src = at(url);
      image.classList.toggle("pixels", width <= SMALL);
      image.hidden = false;
    },
    forget() {
      this.key = null;
      image.hidden = true;
      image.removeAttribute("src");
    },
  };
}

/**
 * Requests follow the controls: what is shown is compared with what they say, and the first place that differs is asked
 * for. One request is under way at most, so answers come in the order of the wishes, and while one is awaited all moves but
 * the last are passed over.
 *
 * @param {object} options settings: () -> the other settings of the form; onSeed: seed -> void, when it is chosen here;
 *   onKept: () -> void; signal.
 * @returns {{ pane, stage, rest, show, enter, leave, refresh }} pane: the sliders; stage: the picture; rest(): no model is
 *   there; show(model): offers what one can; enter(seed): begins there; refresh(): something of `settings` has changed.
 */
export function livePane({ settings, onSeed, onKept, signal }) {
  let model = null;
  let here = false;
  let asking = null;
  let failed = null;
  let kept = null;
  let last = null;

  const follow = () => (label(), run());
  const seed = seedSlider({ label: "Seed", dice: "Another seed", value: 0, onInput: () => (onSeed(seed.value), follow()) });
  const goal = seedSlider({ label: "Morph to seed", dice: "Another seed to morph to", value: 1, onInput: follow });
  const classSlider = slider({ label: "Class", min: 0, max: 1, value: 0, format: (k) => model?.classes[k] ?? "", onInput: follow });
  const guidance = slider({ label: "Guidance", min: 0, max: 1, step: 0.05, value: 1, format: (w) => String(Number(w.toFixed(2))), onInput: follow });
  const stepsPlace = h("div", { hidden: true });
  let steps = null;
  const sliders = [seed.element, goal.element, classSlider.element, guidance.element, stepsPlace];
  const pane = h("div", { class: "stack" }); // with sliders while they are seen: other panes have some of these names

  const image = h("img", { hidden: true, alt: "", draggable: "false" });
  const said = h("p", { class: "moment", "aria-live": "off" });
  const wrong = h("p", { class: "form-error", role: "alert" });
  const way = slider({ label: "Between the seeds", min: 0, max: 1, step: 0.01, value: 0, format: percent, onInput: follow });
  const ends = [0, 1].map(end);
  const picture = place(h("div", { class: "tile live-picture" }, image), image);
  const keep = button("Keep this picture", keepIt, { sign: "download", disabled: true });
  const stage = h(
    "section",
    { class: "live-stage", "aria-label": "The picture", hidden: true },
    picture.element,
    h("div", { class: "live-morph" }, ends[0].element, way.element, ends[1].element),
    wrong,
    h("div", { class: "live-foot" }, said, keep),
  );

  /** One end of the morph, which a press goes to. */
  function end(part) {
    const small = h("img", { hidden: true, alt: "", draggable: "false" });
    const press = () => {
      way.set(part);
      follow();
    };
    return place(h("button", { type: "button", class: "tile live-end", onclick: press }, small), small);
  }

  /** What the controls ask for at a part of the way; at its ends the plain sample of a seed. */
  function wish(part) {
    const { morph, morph_to, ...others } = settings();
    const chosen = { ...others };
    delete chosen.classes;
    if (model.classes.length) chosen.classes = [model.classes[classSlider.value]];
    if (model.student.scales.length) chosen.guidance = guidance.value;
    if (steps) chosen.steps = Number(steps.value);
    if (part > 0 && part < 1 && seed.value !== goal.value) [chosen.morph_to, chosen.morph] = [goal.value, part];
    return { model: model.id, seed: part < 1 ? seed.value : goal.value, settings: chosen };
  }

  /** The first place that does not show what it should, and what it should show. */
  function due() {
    for (const [where, part] of [[picture, way.value], [ends[0], 0], [ends[1], 1]]) {
      const body = wish(part);
      const key = JSON.stringify(body);
      if (where.key !== key) return { where, body, key };
    }
    return null;
  }

  async function run() {
    if (asking || !here || !model) return;
    const mine = new AbortController();
    asking = mine;
    for (let next = wanted(); next && next.key !== failed; next = wanted()) await ask(next, mine.signal);
    if (asking === mine) asking = null;

    /** Nothing for one who has left, or holds a setting that is none, which is said. */
    function wanted() {
      try {
        return mine.signal.aborted ? null : due();
      } catch (error) {
        wrong.textContent = error.message;
        return null;
      }
    }
  }

  async function ask({ where, body, key }, stopped) {
    const began = performance.now();
    try {
      const told = await post("/v1/live", body, { signal: stopped });
      if (stopped.aborted) return;
      failed = null;
      wrong.textContent = "";
      where.show(key, told.url, told.width);
      if (where === picture) shown(body, told, performance.now() - began);
    } catch (error) {
      if (stopped.aborted) return;
      failed = key; // until something is moved, it is not asked again
      wrong.textContent = error.message;
    }
  }

  function shown(body, { evaluations }, milliseconds) {
    last = body;
    image.alt = inWords(body);
    said.textContent = `${Math.round(milliseconds)} ms, ${plural(evaluations, "evaluation")}`;
    keep.disabled = kept !== null;
  }

  function inWords({ seed: number, settings: { morph_to: other, morph, classes, guidance: scale } }) {
    const from = other === undefined ? `Seed ${number}` : `${percent(morph)} of the way from seed ${number} to seed ${other}`;
    return [from, classes && `class ${classes[0]}`, scale !== undefined && `guidance ${scale}`].filter(Boolean).join(", ");
  }

  /** What the ends are called follows the seeds at once. */
  function label() {
    [seed.value, goal.value].forEach((number, k) => {
      ends[k].element.title = `Seed ${number}`;
      ends[k].element.setAttribute("aria-label", `Go to seed ${number}`);
    });
  }

  /** The picture that is seen becomes one of the gallery: the sample of its seed, or a morph with both. */
  async function keepIt() {
    if (!last || kept) return;
    kept = last;
    keep.disabled = true;
    try {
      const job = await begin("/v1/samples", { ...kept, n: 1, previews: 0 }, {}, { signal });
      if (!(await job.finished)) return;
      toast(`Kept: ${inWords(kept)}.`);
      onKept();
    } catch (error) {
      if (!signal.aborted) toast(error.message, { error: true });
    } finally {
      kept = null;
      keep.disabled = last === null;
    }
  }

  function stop() {
    asking?.abort();
    asking = null;
    failed = null;
  }

  /** Another model is loading: nothing is drawn with the one before. */
  function rest() {
    stop();
    model = null;
    last = null;
    keep.disabled = true;
  }

  function show(next) {
    rest();
    model = next.live.steps.length ? next : null;
    said.textContent = "";
    wrong.textContent = "";
    for (const each of [picture, ...ends]) each.forget();
    if (!model) return;
    const { classes, student, live } = model;
    const before = classSlider.value;
    classSlider.element.hidden = classes.length === 0;
    classSlider.input.max = Math.max(1, classes.length - 1);
    classSlider.set(Math.min(before, classes.length - 1));
    guidance.element.hidden = student.scales.length === 0;
    if (student.scales.length) {
      [guidance.input.min, guidance.input.max] = student.scales;
      guidance.set(student.guidance);
    }
    const chosen = live.steps.includes(Number(steps?.value)) ? Number(steps.value) : live.steps[0];
    steps = null;
    if (live.steps.length > 1 || student.steps.length > 1) {
      const choices = [...live.steps].sort((a, b) => a - b).map((n) => [String(n), String(n)]);
      steps = segments({ label: "Evaluations", choices, value: String(chosen), onChange: follow });
    }
    stepsPlace.replaceChildren(...(steps ? [steps.element] : []));
    stepsPlace.hidden = !steps;
  }

  /** Begin with the class and the guidance of the form; what is wrong there is said when it is drawn by. */
  function takeOver() {
    try {
      const { classes, guidance: scale } = settings();
      const known = model.classes.indexOf(classes?.[0]);
      if (known >= 0) classSlider.set(known);
      if (scale !== undefined && model.student.scales.length) guidance.set(scale);
    } catch {
      // a field that says itself what is wrong with it
    }
  }

  function enter(number) {
    if (!here) {
      pane.append(...sliders);
      takeOver();
    }
    here = true;
    stage.hidden = false;
    seed.set(number);
    if (goal.value === seed.value) goal.set(seed.value + 1);
    follow();
  }

  function leave() {
    here = false;
    stage.hidden = true;
    pane.replaceChildren();
    stop();
  }

  label();
  signal.addEventListener("abort", stop);
  return { pane, stage, rest, show, enter, leave, refresh: run };
}
