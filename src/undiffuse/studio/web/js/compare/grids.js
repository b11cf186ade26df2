// Pictures side by side that begin from the same noise: of several models, or of several samplers and numbers of steps.

import { ApiError, at, get } from "../api.js";
import { begin, duration, plural } from "../create/job.js";
import { chips } from "../create/settings.js";
import { shown } from "../create/canvas.js";
import { button, field, select, slider } from "../ui/controls.js";
import { h } from "../ui/dom.js";

/** Numbers of steps that samplers are compared at. */
const STEPS = [5, 10, 20, 50];
/** Samplers that are compared at first, where there are such. */
const FIRST = ["ddim", "dpm++2m", "dpm++2m-sde"];

/** One cell: pictures with a line that says what became of them. */
function cell(label) {
  const pictures = h("div", { class: "cell-pictures" });
  const said = h("p", { class: "hint" }, "Not drawn yet.");
  return {
    element: h("div", { class: "cell", role: "group", "aria-label": label }, pictures, said),
    /** Draw into it; every picture on the way and at the end. */
    async fill(body, signal, own) {
      pictures.replaceChildren();
      said.textContent = "waiting";
      const tiles = new Map();
      const paint = (index, src) => {
        if (!tiles.has(index)) {
          tiles.set(index, shown(src, `${label}, number ${index}`));
          pictures.append(tiles.get(index));
        }
        tiles.get(index).src = at(src);
      };
      const told = {
        step: ({ k, of, previews }) => {
          said.textContent = `step ${k} of ${of}`;
          for (const { index, x_t: src } of previews ?? []) paint(index, src);
        },
        image: ({ index, url }) => paint(index, url),
      };
      try {
        const job = await begin("/v1/samples", body, told, { signal });
        own.add(job);
        const done = await job.finished;
        own.delete(job);
        said.textContent = done ? `${duration(done.seconds)}, ${plural(done.evaluations, "evaluation")}` : "cancelled";
      } catch (error) {
        if (!signal.aborted) said.textContent = error.message;
      }
    },
  };
}

/** Seed, draw and cancel, common to both kinds: tasks(seed) gives functions that each fill a cell, run one by one. */
function bench({ words, controls, tasks, signal }) {
  const own = new Set();
  let stopped = false;
  const seed = field({ label: "Seed", value: "0", inputmode: "numeric", autocomplete: "off" });
  const wrong = h("p", { class: "form-error", role: "alert" });
  const go = button(words, start, { kind: "primary" });
  const stop = button("Cancel", cancel, { sign: "stop", hidden: true });

  function cancel() {
    stopped = true;
    for (const job of own) job.cancel().catch((error) => (wrong.textContent = error.message));
  }

  async function start() {
    wrong.textContent = "";
    const number = Number(seed.value.trim() || NaN);
    if (!Number.isInteger(number) || number < 0) return seed.complain(`The seed is a whole number from 0, and “${seed.value}” is none.`);
    seed.complain(null);
    stopped = false;
    [go.hidden, stop.hidden] = [true, false];
    try {
      for (const task of tasks(number)) {
        if (stopped || signal.aborted) break;
        await task(signal, own);
      }
    } catch (error) {
      wrong.textContent = error.message;
    }
    [go.hidden, stop.hidden] = [false, true];
    return undefined;
  }

  return [h("div", { class: "bench" }, controls, seed.element, go, stop), wrong];
}

/** Grids of several models from one seed's noise. */
export function noiseGrid({ models, signal }) {
  const count = slider({ label: "Pictures of each", min: 1, max: 16, value: 8 });
  const steps = slider({ label: "Steps", min: 1, max: 100, value: 20 });
  const cells = models.map((model) => ({ model, place: cell(model.name) }));
  const columns = h("div", { class: "columns" }, cells.map(({ model, place }) => h("div", {}, h("h3", {}, model.name), place.element)));
  const tasks = (seed) =>
    cells.map(({ model, place }) => async (end, own) => {
      const settings = (await get(`/v1/models/${encodeURIComponent(model.id)}`, { signal })).student ? {} : { steps: steps.value };
      return place.fill({ model: model.id, n: count.value, seed, previews: count.value, keep: false, settings }, end, own);
    });
  return h("div", { class: "stack" }, bench({ words: "Draw from the same noise", controls: [count.element, steps.element], tasks, signal }), columns);
}

/** One model: samplers down, steps across, the same noise everywhere. */
export function samplerGrid({ models, samplers, signal }) {
  const names = samplers.map(({ name }) => name);
  const usual = FIRST.filter((name) => names.includes(name));
  const model = select({ label: "Model", choices: models.map(({ id, name }) => [id, name]), value: models[0]?.id });
  const chosen = chips({ label: "Samplers", hint: `Each is drawn with ${STEPS.slice(0, -1).join(", ")} and ${STEPS.at(-1)} steps.`, choices: names });
  chosen.set(usual.length ? usual : names.slice(0, 2));
  const grid = h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": "Samplers against steps" });

  function tasks(seed) {
    const rows = chosen.value();
    if (!rows.length) throw new ApiError("Choose a sampler or more.");
    const cells = rows.map((sampler) => STEPS.map((steps) => ({ sampler, steps, place: cell(`${sampler}, ${steps} steps`) })));
    const top = h("tr", {}, h("td", {}), STEPS.map((steps) => h("th", { scope: "col" }, `${steps} steps`)));
    const body = cells.map((row) => h("tr", {}, h("th", { scope: "row" }, row[0].sampler), row.map(({ place }) => h("td", {}, place.element))));
    grid.replaceChildren(h("table", { class: "sampler-table" }, h("thead", {}, top), h("tbody", {}, body)));
    return cells.flat().map(({ sampler, steps, place }) => (end, own) => place.fill({ model: model.value, n: 2, seed, previews: 2, keep: false, settings: { sampler, steps } }, end, own));
  }

  return h(
    "section",
    { class: "compare-section", "aria-label": "Samplers against steps" },
    h("h2", {}, "Samplers against steps"),
    h("p", {}, "One model and one noise; only the way out of it differs."),
    chosen.element,
    bench({ words: "Draw them all", controls: [model.element], tasks, signal }),
    grid,
  );
}
