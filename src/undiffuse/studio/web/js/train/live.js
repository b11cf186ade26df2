// One training, live: how far it is, how it learns, what it draws; pause, go on, stop.

import { at, events, get, post } from "../api.js";
import { button, transport } from "../ui/controls.js";
import { exchange, h, tell } from "../ui/dom.js";
import { trouble } from "../ui/overlays.js";
import { folded } from "../create/fields.js";
import { duration } from "../create/job.js";
import { chart, short, smooth } from "./chart.js";

/** Points of a curve that are asked for. */
const POINTS = 500;
/** What the states are called, and which of pause and resume they allow. */
const STATES = {
  starting: ["starting", []],
  running: ["training", ["pause"]],
  stopping: ["finishing its step and saving", []],
  stopped: ["paused", ["resume"]],
  done: ["done", []],
  failed: ["failed", ["resume"]],
};

/** What a state is called. */
export const called = (state) => STATES[state]?.[0] ?? state;

/**
 * @param {string} id of the run. @param {object} options onState(run), signal.
 * @returns {HTMLElement} which fills itself and follows the run until signal aborts.
 */
export function liveRun(id, { onState, signal }) {
  const path = `/v1/runs/${encodeURIComponent(id)}`;
  let run = null;
  let lines = [];
  let looks = [];
  let pictures = [];
  let offered = null;
  const state = h("p", { class: "status", role: "status" });
  const bar = h("progress", { class: "progress", max: 1, value: 0, "aria-label": "How far the training is" });
  const figures = h("dl", { class: "figures" });
  const loss = chart({ title: "Loss", logarithmic: true, signal });
  const quarters = chart({ title: "Loss by noise, from little to much", logarithmic: true, signal });
  const image = h("img", { class: "pixels", alt: "" });
  const waiting = h("p", { class: "hint samples-none" }, "What it draws is shown here from its first samples on.");
  const scrub = transport({
    label: "What it draws from the same noise",
    name: "the samples over time",
    steps: 0,
    seconds: 4,
    format: (k) => (pictures[k] ? `step ${pictures[k].step.toLocaleString("en-GB")}` : "none yet"),
    onStep: showPicture,
    signal,
  });
  const samples = h("div", { class: "samples" }, waiting, image, scrub.element);
  const picturesShown = (some) => ([waiting.hidden, image.hidden, scrub.element.hidden] = [some, !some, !some]);
  picturesShown(false);
  const actions = h("div", { class: "row" });
  const wrong = h("p", { class: "form-error", role: "alert" });
  const log = h("pre", { tabindex: "0", "aria-label": "The last lines of the log" });
  const command = h("pre", { tabindex: "0", "aria-label": "The command" });
  const settings = h("div", { class: "stack" });
  const more = folded("Command, settings and log", command, settings, log);
  more.addEventListener("toggle", () => more.open && about());
  const element = h(
    "section",
    { class: "live", "aria-label": `The run ${id}` },
    h("header", { class: "live-head" }, h("h2", {}, id), actions),
    state,
    bar,
    figures,
    wrong,
    h("div", { class: "live-panels" }, h("div", { class: "stack" }, loss.element, quarters.element), samples),
    more,
  );

  function showState(next) {
    run = next;
    onState(run);
    const [words, can] = STATES[run.state] ?? [run.state, []];
    const why = { failed: run.error, starting: "the pictures are read and the network is built." }[run.state];
    tell(state, `This run is ${words}${why ? `: ${why}` : "."}`);
    state.classList.toggle("form-error", run.state === "failed");
    bar.value = run.progress ?? 0;
    const rows = [
      ["step", `${(run.step ?? 0).toLocaleString("en-GB")}${run.total ? ` of ${run.total.toLocaleString("en-GB")}` : ""}`],
      ["time", duration(run.seconds)],
      ["to go", run.state === "running" ? duration(run.eta) : run.state === "done" ? "nothing" : "–"],
      ["loss", run.loss === null || run.loss === undefined ? "–" : short(run.loss)],
      ["pictures a second", run.images_per_second ? Math.round(run.images_per_second).toLocaleString("en-GB") : "–"],
    ];
    figures.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    tell(wrong, run.drift ?? "");
    showActions(can);
  }

  /** The buttons, made anew only where others are wanted: whoever is about to press one must not lose it. */
  function showActions(can) {
    const wanted = [run.state, run.mine, run.model].join();
    if (wanted === offered) return;
    offered = wanted;
    const words = { pause: ["Pause", "pause"], resume: ["Go on", "play"] };
    const own = run.mine !== false;
    const pressed = can.map((each) => own && button(words[each][0], () => act(each), { sign: words[each][1] }));
    const stop = own && run.state === "running" && button("Stop", () => act("stop"), { kind: "danger", sign: "stop" });
    const link = (where, text) => run.model && h("a", { class: "button", href: `#/${where}=${encodeURIComponent(run.model)}` }, text);
    exchange(actions, [...pressed, stop, link("compare?runs", "Compare"), link("create?model", "Draw with it")].filter(Boolean));
  }

  async function act(what) {
    for (const each of actions.querySelectorAll("button")) each.disabled = true;
    offered = null;
    try {
      const answer = await post(`${path}/${what}`, {}, { signal });
      if (answer?.state) showState(answer);
      if (what === "resume") follow();
    } catch (error) {
      if (signal.aborted) return;
      wrong.textContent = error.message;
      for (const each of actions.querySelectorAll("button")) each.disabled = false;
    }
  }

  function drawCurves() {
    const xs = lines.map(({ step }) => step);
    const ys = lines.map((each) => each.loss ?? NaN);
    loss.show([
      { xs, ys, tint: "ink", faint: true },
      { name: "smoothed", xs, ys: smooth(ys), tint: "ink" },
      ...(looks.length ? [{ name: "held out", xs: looks.map(({ step }) => step), ys: looks.map((each) => each.validation.loss ?? NaN), tint: "signal" }] : []),
    ]);
    const tints = ["signal", "good", "strong-line", "noise"];
    const words = ["least noise", "less", "more", "most noise"];
    const some = lines.filter((each) => each.loss_by_quarter);
    quarters.element.hidden = some.length === 0;
    const at = some.map(({ step }) => step);
    quarters.show(words.map((name, k) => ({ name, xs: at, ys: smooth(some.map((each) => each.loss_by_quarter[k] ?? NaN)), tint: tints[k] })));
  }

  function showPicture(k) {
    const now = pictures[k];
    if (!now) return;
    image.src = at(now.url);
    image.alt = `What the model draws at step ${now.step}`;
  }

  function addPictures(found) {
    const atEnd = scrub.value >= pictures.length - 1;
    const known = new Set(pictures.map(({ step }) => step));
    pictures = [...pictures, ...found.filter(({ step }) => !known.has(step))].sort((a, b) => a.step - b.step);
    picturesShown(pictures.length > 0);
    if (!pictures.length) return;
    const k = atEnd ? pictures.length - 1 : scrub.value;
    scrub.resize(pictures.length - 1, k);
    showPicture(k);
  }

  async function about() {
    try {
      const found = await get(path, { signal });
      log.textContent = (found.log ?? []).join("\n");
      command.textContent = found.command ?? "";
      settings.replaceChildren(...Object.entries(found.config ?? {}).map(([name, section]) => sectionTable(name, section)));
    } catch (error) {
      if (!signal.aborted) log.textContent = error.message;
    }
  }

  function follow() {
    const since = lines.at(-1)?.step ?? 0;
    const told = {
      state: showState,
      metric: (found) => {
        const each = found.line ?? found;
        if (each.step > (lines.at(-1)?.step ?? -1)) lines.push(each);
        drawCurves();
      },
      validation: ({ line }) => {
        if (line.step > (looks.at(-1)?.step ?? -1)) looks.push(line);
        drawCurves();
      },
      sample: (found) => addPictures([found]),
      end: () => refresh().catch((error) => signal.aborted || (wrong.textContent = error.message)),
    };
    events(`${path}/events?since=${since}`, told, { last: ["end"], signal, onLost: () => (wrong.textContent = "The studio does not answer any more.") });
  }

  async function refresh() {
    const found = await get(path, { signal });
    showState(found);
    addPictures((found.samples ?? []).map((step) => ({ step, url: `${path}/samples/${step}.png` })));
    return found;
  }

  async function begin() {
    try {
      await refresh();
      ({ lines, validations: looks } = await get(`${path}/metrics?since=0&points=${POINTS}`, { signal }));
      drawCurves();
      if (["starting", "running", "stopping"].includes(run.state)) follow();
    } catch (error) {
      if (!signal.aborted) element.replaceChildren(trouble(error.message));
    }
  }

  begin();
  return element;
}

function sectionTable(name, section) {
  if (section === null || typeof section !== "object") return h("p", { class: "hint" }, `${name}: ${section}`);
  const rows = Object.entries(section).map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))));
  return h("div", {}, h("h3", {}, name), h("dl", { class: "recipe" }, rows));
}
