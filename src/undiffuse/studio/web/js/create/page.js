// The Create page: what is to be drawn on the left, where it appears on the right, all that was kept below.

import { get, post, postForBlob } from "../api.js";
import { button, field, iconButton, select, slider } from "../ui/controls.js";
import { freshId, h } from "../ui/dom.js";
import { tabs, toast, trouble } from "../ui/overlays.js";
import { changePane } from "./change.js";
import { openDetails, save } from "./details.js";
import { canvas } from "./canvas.js";
import { gallery } from "./gallery.js";
import { livePane } from "./live.js";
import { samplingForm } from "./settings.js";
import { droppable, filePicker } from "./source.js";
import { offered, verb } from "./verbs.js";

const LARGEST = 2 ** 31;
/** Conditions that have no slider: the form's own controls stay for them. */
const ASKED_LIVE = ["text", "vector"];
/** Moments of a walk that are shown and kept for looking back. */
const MOMENTS = 100;

export async function show(root, { query, signal }) {
  root.append(
    h("header", { class: "page-head compact" }, h("h1", {}, "Create"), h("p", { class: "lead" }, "Choose, press Draw, and watch pictures come out of the noise.")),
  );
  const load = (path) => get(path, { signal });
  const [status, { models }, { samplers }, settings, { edits }] = await Promise.all(
    ["/v1/status", "/v1/models", "/v1/samplers", "/v1/settings", "/v1/edits"].map(load),
  );
  if (!models.length) {
    root.append(trouble("There is no model here yet. Train one first, or give runs to `undiffuse studio RUN`."));
    return;
  }
  const page = createPage({ status, models, samplers, settings, edits, signal });
  root.append(page.element);
  const wanted = query.get("model");
  const known = !wanted || models.some(({ id }) => id === wanted);
  if (!known) toast(`There is no model “${wanted}” here (any more); this is “${models[0].name}”.`, { error: true });
  page.begin(known && wanted ? wanted : models[0].id);
}

function createPage({ status, models, samplers, settings, edits, signal }) {
  let model = null;
  let asked = 0;
  let mode = "draw";
  const usual = new Map(settings.sample.map(({ name, default: standard }) => [name, standard]));
  const count = slider({ label: "Pictures", min: 1, max: status.limits.count, value: 8, onInput: () => waiting() });
  const seed = field({ label: "Seed", value: "0", inputmode: "numeric", autocomplete: "off", hint: "The same seed makes the same pictures." });
  const first = field({
    label: "First number",
    value: "0",
    inputmode: "numeric",
    autocomplete: "off",
    hint: "A seed makes any number of pictures, numbered from 0: begin with this one.",
  });
  const form = samplingForm({ descriptions: settings.sample, samplers, extra: [first.element] });
  const dice = iconButton("dice", "Another seed", () => (seed.set(Math.floor(Math.random() * 100000)), seed.complain(null)));
  const chooser = select({ label: "Model", choices: models.map(choice), value: "", onChange: useModel });
  const about = h("p", { class: "hint", "aria-live": "polite" });
  chooser.element.append(about);
  const board = h("div", { class: "board" });
  const stage = canvas({
    onOpen: (image) => openPicture(image.id),
    onDone: () => shelf.refresh(),
    onBusy: (busy) => ((together.disabled = busy), (go.disabled = busy || !model)),
    signal,
  });
  const shelf = gallery({ onOpen: (item) => openPicture(item.id), aside: restorer(), signal });
  const change = changePane({ edits, pick: shelf.pick, board, signal });
  const wrong = h("p", { class: "form-error", role: "alert" });
  const desk = freshId("form");
  const go = button("Draw", null, { kind: "primary go", type: "submit", form: desk, disabled: true });
  const live = livePane({ settings: () => form.settings(), onSeed: (number) => seed.set(number), onKept: () => shelf.refresh(), signal });
  let drawn = [];
  const together = button("All as one PNG", allAsOne, { sign: "download", hidden: true });
  stage.element.append(together);
  const drawPane = h("div", { class: "stack" }, count.element);
  const changeTab = h("div", { class: "stack" }, change.element);
  const asks = h("div", { class: "stack asks", hidden: true }, form.element);
  const seedRow = h("div", { class: "seed" }, seed.element, dice);
  const goRow = h("div", { class: "go-row" }, go, wrong);
  const modes = tabs({
    label: "Draw or change",
    tabs: [["draw", "Draw anew", drawPane], ["change", "Change a picture", changeTab], ["live", "Live", live.pane]],
    onChange: (chosen) => enter(chosen),
  });
  modes.offer("live", false);
  const element = h(
    "div",
    {},
    h(
      "div",
      { class: "workshop" },
      h(
        "form",
        { id: desk, class: "workshop-form", novalidate: true, "aria-label": "What to make", onsubmit: (event) => (event.preventDefault(), start()) },
        chooser.element,
        modes.element,
        seedRow,
        asks,
      ),
      h("div", { class: "workshop-stage" }, goRow, board, live.stage, stage.element),
    ),
    shelf.element,
  );
  droppable(element, ([file]) => restore(file));
  asks.addEventListener("input", () => live.refresh());

  function enter(chosen) {
    mode = chosen;
    board.hidden = mode !== "change";
    for (const part of [seedRow, goRow, stage.element]) part.hidden = mode === "live";
    if (mode !== "live") live.leave();
    if (!model) return;
    first.element.hidden = mode !== "draw";
    form.forLive(mode === "live");
    form.forEdits(mode === "change");
    asks.hidden = mode === "live" && !model.conditions.some((name) => ASKED_LIVE.includes(name));
    if (mode === "live") return live.enter(Number(seed.value) || 0);
    go.textContent = mode === "draw" ? "Draw" : "Change it";
    wrong.textContent = "";
    if (mode === "draw") waiting();
    else clear();
  }

  function clear() {
    finished(null);
    stage.clear("Choose a picture on the left, or press one in the gallery; what becomes of it appears here.");
  }

  function waiting() {
    finished(null);
    if (model && mode === "draw") stage.wait(model, count.value, "Pictures begin as noise like this.");
  }

  /** Load a model. Until it is here nothing can be asked of it: what depends on it is not there, or cannot be touched. */
  async function useModel(id) {
    const now = (asked += 1);
    chooser.input.value = id;
    about.textContent = "Loading …";
    model = null;
    for (const part of [asks, changeTab, live.pane]) part.inert = true;
    live.rest();
    go.disabled = true;
    let found;
    try {
      found = await get(`/v1/models/${encodeURIComponent(id)}`, { signal });
    } catch (error) {
      if (!signal.aborted && now === asked) about.replaceChildren(`${error.message} `, button("Try again", () => useModel(id)));
      return;
    }
    if (now !== asked) return; // another one was chosen meanwhile
    model = found;
    describe();
    form.show(model);
    change.show(model);
    live.show(model);
    const alive = model.live.steps.length > 0;
    modes.offer("live", alive);
    asks.hidden = false;
    for (const part of [asks, changeTab, live.pane]) part.inert = false;
    go.disabled = stage.busy;
    if (mode === "live" && !alive) modes.choose("draw");
    else enter(mode);
  }

  function describe() {
    const [channels, ...sides] = model.shape;
    const kind = { 1: "grey", 3: "colour" }[channels] ?? `${channels} channels`;
    const far = ["training", "stopped"].includes(model.state) ? `; as it was at step ${(model.step ?? 0).toLocaleString("en-GB")} of its training` : "";
    const fast = model.student ? `; ${model.student.words}` : "";
    const size = `${sides.join(" × ")}, ${kind}, ${(model.parameters / 1e6).toFixed(1)} million parameters${far}${fast}`;
    about.textContent = model.live.why ? `${size}. ${model.live.why}.` : size;
  }

  function whole(entry, name) {
    const value = Number(entry.value.trim() || NaN);
    const good = Number.isInteger(value) && value >= 0 && value < LARGEST;
    entry.complain(good ? null : `The ${name} is a whole number from 0, and “${entry.value}” is none.`);
    if (!good) entry.input.focus();
    return good ? value : null;
  }

  async function start() {
    if (!model || stage.busy || mode === "live") return;
    wrong.textContent = "";
    const number = whole(seed, "seed");
    if (number === null) return;
    try {
      if (mode === "draw") await draw(number);
      else await alter(number);
    } catch (error) {
      wrong.textContent = error.message;
    }
  }

  async function draw(number) {
    const from = whole(first, "first number");
    if (from === null) return;
    const chosen = form.settings();
    const n = count.value;
    const previews = Math.min(n, status.limits.previews);
    const body = { model: model.id, n, seed: number, first: from, settings: chosen, previews, preview_every: Math.ceil((chosen.steps ?? model.sampling.steps) / MOMENTS) };
    reveal();
    finished(await stage.run("/v1/samples", body, { count: n, first: from }));
  }

  async function alter(number) {
    const [path, body, results] = await change.request({ model: model.id, seed: number, settings: form.touched() });
    reveal();
    finished(await stage.run(path, body, { count: results, verb: `${verb(change.edit)}:` }));
  }

  function finished(told) {
    drawn = told?.images.map(({ id }) => id) ?? [];
    const step = told?.images[0]?.recipe?.step;
    if (model && step && step !== model.step) {
      model = { ...model, step }; // a newer checkpoint of a run that trains
      describe();
    }
    together.hidden = drawn.length < 2;
  }

  async function allAsOne() {
    try {
      save(await postForBlob("/v1/gallery/grid", { ids: drawn }, { signal }), `${model.id}-${seed.value}.png`);
    } catch (error) {
      if (!signal.aborted) toast(error.message, { error: true });
    }
  }

  /** On a narrow page the canvas lies below the form: bring it into view. */
  function reveal() {
    const { top, bottom } = stage.element.getBoundingClientRect();
    if (top > innerHeight * 0.6 || bottom < 80) stage.element.scrollIntoView({ block: "start" });
  }

  const openPicture = (id) =>
    openDetails(id, {
      status,
      usual,
      edits: offered(edits.map(({ name }) => name)).filter((name) => model?.edits.includes(name)),
      onEdit: (name, item) => {
        modes.choose("change");
        change.choose(name, item);
        element.scrollIntoView();
      },
      onReuse: ({ recipe }) => reuse({ ...recipe, first: recipe.index, n: 1 }),
      onChanged: shelf.refresh,
      signal,
    });

  function reuse({ seed: number, first: from, n, settings: chosen }) {
    modes.choose("draw");
    seed.set(number ?? 0);
    first.set(from ?? 0);
    count.set(Math.min(n, status.limits.count));
    form.restore(chosen);
    waiting();
    element.scrollIntoView();
  }

  function restorer() {
    return h(
      "div",
      { class: "drop" },
      h("p", {}, "Drop a PNG made here anywhere on this page, and its settings come back."),
      filePicker("Choose a PNG", ([file]) => restore(file), { accept: "image/png" }),
    );
  }

  async function restore(file) {
    const body = new FormData();
    body.append("file", file, file.name);
    try {
      const found = await post("/v1/restore", body, { signal });
      if (found.model && found.model !== model?.id) await useModel(found.model);
      reuse(found);
      toast(found.note ?? `The settings of ${file.name} are back.`);
    } catch (error) {
      if (!signal.aborted) toast(error.message, { error: true });
    }
  }

  return {
    element,
    begin(id) {
      useModel(id);
      shelf.refresh();
    },
  };
}

const choice = ({ id, name, state, kind, step }) => {
  if (state === "training") return [id, `${name}, still training`];
  if (state === "stopped") return [id, `${name}, half trained (step ${(step ?? 0).toLocaleString("en-GB")})`];
  return [id, kind === "shipped" ? `${name}, comes with undiffuse` : name];
};
