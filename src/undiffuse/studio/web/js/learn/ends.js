// The table of panel 6: where noises end in a world of ten pictures, after few evaluations and by a student's jump.

import { Pictures } from "../math/mixture.js";
import { Random } from "../math/random.js";
import { SAMPLERS, walk } from "../math/samplers.js";
import { evenInTime } from "../math/schedule.js";
import { picture } from "../ui/canvas.js";
import { h } from "../ui/dom.js";
import { recorded } from "./walks.js";

const SHAPE = [1, 28, 28];
const SIZE = 28 * 28;
/** Noises that are counted; those that are shown. */
const NOISES = 40;
const SHOWN = 3;
/** One level of grey of 255, in a picture from -1 to 1. */
const LEVEL = 2 / 255;

const rootMeanSquare = (a, b) => Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);

/**
 * A row for each noise shown, a column for each of `counts` and one for the jump of a student.
 *
 * @returns {{ element, show }} show({ seed, taught }): other noise, and a student of as many steps; a promise.
 */
export function ends({ schedule, counts, exactSteps }) {
  const columns = [...counts.map((count) => [`${count}`, `after ${count} ${count === 1 ? "evaluation" : "evaluations"}`]), ["jump", "by a student’s jump"]];
  const noises = Array.from({ length: SHOWN }, (_, i) => picture({ description: `Noise ${i + 1}`, shape: SHAPE, low: -3, high: 3 }));
  const shown = columns.map(([, words]) => noises.map((_, i) => picture({ description: `Noise ${i + 1} ${words}`, shape: SHAPE })));
  const figures = ["blur", "arrived"].map((key) => columns.map(([name]) => h("td", { "data-figure": `${key}-${name}` }, "–")));
  let kept = { seed: null };
  let asked = 0;

  /** For each noise: { noise, ends: Map of steps -> picture }. Noise by noise, so that the page stays alive meanwhile. */
  async function walksOf(seed, data) {
    const world = new Pictures(data);
    const random = new Random(seed);
    const predict = (x, t) => world.denoise(x, schedule.at(t));
    const found = [];
    while (found.length < NOISES) {
      const noise = random.normals(SIZE);
      const end = (steps) => walk(SAMPLERS.ddim, { predict, schedule, times: evenInTime(schedule, steps), x: noise }).at(-1);
      found.push({ noise, ends: new Map([...counts, exactSteps].map((steps) => [steps, end(steps)])) });
      await new Promise((go) => setTimeout(go));
    }
    return found;
  }

  async function show({ seed, taught }) {
    asked += 1;
    const mine = asked;
    const { classes, walks } = await recorded();
    const data = classes.map((name) => walks.get(name).end);
    if (kept.seed !== seed) kept = { seed, walks: walksOf(seed, data) };
    const found = await kept.walks;
    if (mine !== asked) return;
    noises.forEach((view, i) => view.show(found[i].noise));
    [...counts, taught].forEach((steps, column) => {
      shown[column].forEach((view, i) => view.show(found[i].ends.get(steps)));
      const blur = found.reduce((sum, { ends }) => sum + Math.min(...data.map((each) => rootMeanSquare(ends.get(steps), each))), 0) / NOISES;
      const arrived = found.filter(({ ends }) => rootMeanSquare(ends.get(steps), ends.get(exactSteps)) < LEVEL).length;
      figures[0][column].textContent = (blur / LEVEL).toFixed(1);
      figures[1][column].textContent = `${arrived}`;
    });
  }

  const head = (text) => h("th", { scope: "col" }, text);
  const cell = ({ element }) => h("td", {}, element);
  const foot = (text, cells) => h("tr", {}, h("th", { scope: "row" }, text), cells);
  const element = h(
    "figure",
    { class: "ends" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head("noise"), columns.map(([name]) => head(name)))),
      h("tbody", {}, noises.map((view, i) => h("tr", {}, cell(view), shown.map((views) => cell(views[i]))))),
      h("tfoot", {}, foot("blur", figures[0]), foot("arrived", figures[1])),
    ),
    h(
      "figcaption",
      {},
      h("strong", {}, "The same with pictures"),
      `A world of ten pictures, digits by the model that comes with undiffuse; the best network for it is known as well. Each row is one noise, then where it ends ` +
        "after 1, 2, 4 and 20 evaluations, and by one jump of the student. Blur: how far the end is from the nearest of the ten, in levels of grey " +
        `(255 from black to white). Arrived: how many of ${NOISES} noises end in the picture that is at the end of ${exactSteps} steps.`,
    ),
  );
  return { element, show };
}
