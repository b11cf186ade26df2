// The Train page: data, recipe and budget, and the runs that are here, each to be watched live.

import { get, post } from "../api.js";
import { button, field, segments, select, slider, toggle } from "../ui/controls.js";
import { exchange, h } from "../ui/dom.js";
import { controls, folded, spoken } from "../create/fields.js";
import { duration, plural } from "../create/job.js";
import { dataPane } from "./data.js";
import { called, liveRun } from "./live.js";

/** Sections of the settings that the form offers; the others belong to the recipe. */
const SECTIONS = ["optimizer", "ema", "loop", "network", "diffusion", "objective", "conditions"];
/** What has a control of its own or is no question of a form. */
const OWN = ["steps", "images", "minutes", "parallel", "condition"];
/** The largest part of the pictures that need not be learned, in per cent. */
const MOST_HELD_OUT = 50;
/** As many names as say what the classes are. */
const NAMED = 6;
/** Seconds between two looks at the list of runs. */
const EVERY = 5;

export async function show(root, { path, signal }) {
  root.append(
    h(
      "header",
      { class: "page-head compact" },
      h("h1", {}, "Train"),
      h("p", { class: "lead" }, "Choose pictures and a budget, and watch a model learn. It trains in the background: close this page if you like."),
    ),
  );
  const [status, { recipes }, settings] = await Promise.all(["/v1/status", "/v1/recipes", "/v1/settings"].map((each) => get(each, { signal })));
  const watch = h("div", { class: "watch" });
  const list = runList(signal);
  const form = startForm({ status, recipes, descriptions: settings.train ?? {}, onRows: list.name, signal });
  root.append(watch, list.element, form.element);
  let leave = new AbortController();

  function moved({ path: [id] }) {
    leave.abort();
    leave = new AbortController();
    const both = AbortSignal.any([signal, leave.signal]);
    watch.replaceChildren(...(id ? [liveRun(id, { onState: () => list.soon(), signal: both })] : []));
    list.mark(id);
  }
  moved({ path });
  await list.refresh();
  form.begin();
  return { moved };
}

/** The runs that are here, the newest first, kept up to date. */
function runList(signal) {
  let chosen = null;
  let timer = 0;
  let found = [];
  let names = new Map();
  const rows = h("ul", { class: "runs" });
  const none = h("p", { class: "gallery-empty", hidden: true }, "No run is here yet. The first one is started below.");
  const element = h("section", { class: "run-list", "aria-labelledby": "runs-heading" }, h("h2", { id: "runs-heading" }, "Runs"), none, rows);

  async function refresh() {
    clearTimeout(timer);
    try {
      ({ runs: found } = await get("/v1/runs", { signal }));
      show();
    } catch (error) {
      if (signal.aborted) return;
      none.hidden = false;
      none.textContent = error.message;
    }
    if (!signal.aborted) timer = setTimeout(refresh, 1000 * EVERY);
  }

  function show() {
    exchange(rows, found.map(row));
    none.hidden = found.length > 0;
  }

  function row(run) {
    const active = ["starting", "running", "stopping"].includes(run.state);
    const details = [run.data && `learns ${names.get(run.data) ?? run.data}`, run.recipe && `by the recipe ${run.recipe}`].filter(Boolean).join(" ");
    const far = active
      ? h("progress", { class: "progress", max: 1, value: run.progress ?? 0, "aria-label": `How far ${run.name} is` })
      : h("span", { class: "run-step" }, `${plural(run.step ?? 0, "step")}`);
    const state = h("span", { class: `run-state ${run.state}` }, active && Number.isFinite(run.eta) ? `${called(run.state)}, ${duration(run.eta)} to go` : called(run.state));
    const link = h("a", { href: `#/train/${encodeURIComponent(run.id)}` }, h("span", { class: "run-name" }, run.name), h("span", {}, details), state, far);
    if (run.id === chosen) link.setAttribute("aria-current", "true");
    return h("li", {}, link);
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    element,
    refresh,
    mark(id) {
      chosen = id ?? null;
      for (const link of rows.querySelectorAll("a")) {
        if (link.hash === `#/train/${encodeURIComponent(chosen)}`) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    },
    /** Uploads have ids; this says what a person called them. */
    name(data) {
      names = new Map(data.map((each) => [each.id, each.name]));
      show();
    },
    /** A run changed: look again soon, but not with every event. */
    soon() {
      clearTimeout(timer);
      timer = setTimeout(refresh, 1000);
    },
  };
}

/** Data, recipe, budget, start. */
function startForm({ status, recipes, descriptions, onRows, signal }) {
  const go = button("Start training", start, { kind: "primary go", disabled: true });
  const wrong = h("p", { class: "form-error", role: "alert" });
  const data = dataPane({ limits: status.limits, descriptions: descriptions.data ?? [], onChange: chosen, onRows, signal });
  const about = h("p", { class: "hint" });
  const recipe = select({ label: "Recipe", choices: recipes.map(({ name }) => [name, name]), value: recipes[0]?.name, onChange: describe });
  recipe.element.append(about);
  const told = toldPart(status);
  const kind = segments({ label: "Budget", choices: [["minutes", "minutes"], ["steps", "steps"]], value: "minutes", onChange: showBudget });
  const minutes = slider({ label: "Minutes", min: 1, max: 120, value: 5, format: (m) => (m === 1 ? "1 minute" : `${m} minutes`) });
  const steps = field({ label: "Steps", value: "3000", inputmode: "numeric", autocomplete: "off", hint: "Each looks at one batch of pictures." });
  const heldOut = slider({ label: "Held out", min: 0, max: MOST_HELD_OUT, value: 0, format: (part) => (part ? `${part} % of the pictures` : "none"), hint: "Pictures that it does not learn. Their loss is drawn beside that of the training: where it rises, pictures are learned by heart." });
  const name = field({ label: "Name", autocomplete: "off", hint: "Of the run's folder. Left empty, one is found." });
  const rest = SECTIONS.filter((each) => descriptions[each]?.length).map((each) => [each, controls(descriptions[each].filter((row) => !OWN.includes(row.name)).map((row) => ({ ...row, elsewhere: "the recipe’s" })))]);
  const element = h(
    "form",
    { class: "start", novalidate: true, "aria-labelledby": "start-heading", onsubmit: (event) => (event.preventDefault(), go.disabled || start()) },
    h("h2", { id: "start-heading" }, "A new run"),
    h(
      "div",
      { class: "start-columns" },
      h("section", { class: "stack", "aria-label": "Data" }, h("h3", {}, "What it learns from"), data.element),
      h(
        "section",
        { class: "stack", "aria-label": "Recipe and budget" },
        h("h3", {}, "How, and for how long"),
        recipe.element,
        told.element,
        kind.element,
        minutes.element,
        steps.element,
        heldOut.element,
        name.element,
        folded("Settings that you want otherwise", h("p", { class: "hint" }, "What you leave empty is the recipe’s choice."), rest.map(([title, each]) => folded(spoken(title), each.element))),
        wrong,
        go,
      ),
    ),
  );

  function describe() {
    const found = recipes.find((each) => each.name === recipe.value);
    about.textContent = found ? [found.description, found.needs].filter(Boolean).join(" ") : "";
  }

  function showBudget() {
    minutes.element.hidden = kind.value !== "minutes";
    steps.element.hidden = kind.value !== "steps";
  }

  function chosen(found) {
    go.disabled = found === null;
    told.show(found?.info);
    const fitting = found && (recipes.some((each) => each.name === found.name) ? found.name : "small");
    if (fitting && recipes.some((each) => each.name === fitting)) recipe.input.value = fitting;
    describe();
  }

  async function start() {
    wrong.textContent = "";
    const count = Number(steps.value);
    const counted = kind.value !== "steps" || (Number.isInteger(count) && count > 0);
    steps.complain(counted ? null : `Steps are a whole number from 1, and “${steps.value}” is none.`);
    if (!counted) return steps.input.focus();
    go.disabled = true;
    try {
      const { size, channels, crop, ...cut } = data.cut();
      const overrides = Object.assign({}, ...rest.map(([, each]) => each.touched()), told.value(), cut);
      const body = { data: data.chosen.id, recipe: recipe.value, overrides, ...(size && { size: Number(size) }), ...(channels && { channels }), ...(crop && { crop }) };
      body[kind.value] = kind.value === "minutes" ? minutes.value : count;
      if (heldOut.value) body.validation = heldOut.value / 100;
      if (name.value.trim()) body.name = name.value.trim();
      const run = await post("/v1/runs", body, { signal });
      name.set("");
      location.hash = `#/train/${encodeURIComponent(run.id)}`;
      scrollTo(0, 0);
    } catch (error) {
      if (!signal.aborted) wrong.textContent = error.message;
    }
    go.disabled = data.chosen === null;
    return undefined;
  }

  describe();
  showBudget();
  return { element, begin: () => data.refresh() };
}

/** What the data say of their pictures, each with a box: what a network is told while it learns can be asked for later. */
function toldPart(status) {
  const boxes = { class: toggle({ label: "Learn the classes" }), text: toggle({ label: "Learn the texts" }) };
  const hints = { class: h("p", { class: "hint" }), text: h("p", { class: "hint" }) };
  const rows = Object.keys(boxes).map((kind) => h("div", { class: "control", hidden: true }, boxes[kind].element, hints[kind]));
  const element = h("div", { class: "stack", hidden: true }, rows);

  function show(info) {
    if (!info) return; // still looking: what was ticked stays
    const classes = info.classes ?? [];
    const some = classes.slice(0, NAMED).join(", ");
    hints.class.textContent = `Then each of the ${classes.length} can be asked for (${some}${classes.length > NAMED ? ", …" : ""}); without it all are drawn as one.`;
    const missing = status.extras?.text === false ? " This needs the optional part “text”: pip install 'undiffuse[text]'." : "";
    hints.text.textContent = `Then pictures can be asked for in words, as the ${plural(info.texts ?? 0, "text")} of the data.${missing}`;
    const there = { class: classes.length > 1, text: info.texts > 0 };
    Object.keys(boxes).forEach((kind, k) => {
      rows[k].hidden = !there[kind];
      if (!there[kind]) boxes[kind].input.checked = false;
    });
    element.hidden = !Object.values(there).some(Boolean);
  }

  return {
    element,
    show,
    /** The setting, where a box is ticked. */
    value() {
      const condition = Object.keys(boxes).filter((kind) => boxes[kind].input.checked);
      return condition.length ? { condition } : {};
    },
  };
}
