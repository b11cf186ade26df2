// The Compare page: runs side by side. What differs, how they learned, what they draw from the same noise.

import { get } from "../api.js";
import { h } from "../ui/dom.js";
import { trouble } from "../ui/overlays.js";
import { chart } from "../train/chart.js";
import { plural } from "../create/job.js";
import { segments } from "../ui/controls.js";
import { noiseGrid, samplerGrid } from "./grids.js";
import { table } from "./table.js";

/** The most runs side by side. */
const MOST = 6;

export async function show(root, { query, signal }) {
  root.append(
    h("header", { class: "page-head compact" }, h("h1", {}, "Compare"), h("p", { class: "lead" }, "Put runs side by side: what differs, how they learned, and what they draw from the same noise.")),
  );
  const [{ models }, { runs }, { samplers }] = await Promise.all(["/v1/models", "/v1/runs", "/v1/samplers"].map((each) => get(each, { signal })));
  if (!models.length && !runs.length) {
    root.append(trouble("There is nothing to compare yet: train a run first."));
    return null;
  }
  const names = new Map([...models, ...runs].map(({ id, name }) => [id, name]));
  const ran = new Set([...runs.map(({ id }) => id), ...models.filter(({ step }) => Number.isFinite(step)).map(({ id }) => id)]);
  const found = h("div", { class: "compared", "aria-live": "polite" });
  const picker = runPicker(names);
  root.append(picker.element, found, samplerGrid({ models, samplers, signal }));
  let leave = new AbortController();

  function moved({ query: asked }) {
    leave.abort();
    leave = new AbortController();
    const chosen = asked.getAll("runs").filter((id) => names.has(id));
    picker.set(chosen, asked.getAll("runs").filter((id) => !names.has(id)));
    const both = AbortSignal.any([signal, leave.signal]);
    if (chosen.length > 1) compare(found, chosen, { models, ran, signal: both });
    else {
      const few = names.size < 2 ? "There is only one model here: train a run, and there is something to put beside it." : null;
      found.replaceChildren(h("p", { class: "gallery-empty" }, few ?? (chosen.length ? "Choose one more." : "Choose two runs or more.")));
    }
  }
  moved({ query });
  return { moved };
}

/** Which runs; the choice lives in the address, so that it can be kept and sent. */
function runPicker(names) {
  const note = h("p", { class: "hint", role: "status" });
  const inputs = [...names.keys()].map((id) => h("input", { type: "checkbox", value: id, onchange: go }));
  const labels = inputs.map((input) => h("label", {}, input, names.get(input.value)));

  function go(event) {
    const chosen = inputs.filter(({ checked }) => checked).map(({ value }) => value);
    if (chosen.length > MOST) {
      event.target.checked = false;
      note.textContent = `At most ${MOST} fit side by side.`;
      return;
    }
    note.textContent = "";
    location.hash = `#/compare?${new URLSearchParams(chosen.map((id) => ["runs", id]))}`;
  }

  return {
    element: h("fieldset", { class: "control run-picker" }, h("legend", { class: "label" }, "Runs and models"), h("div", { class: "chips" }, labels), note),
    set: (chosen, missing) => {
      inputs.forEach((input) => (input.checked = chosen.includes(input.value)));
      if (missing.length) note.textContent = `There is no ${missing.map((id) => `“${id}”`).join(" and no ")} here (any more).`;
    },
  };
}

/** What is known of a model without a run's folder, such as one that comes with undiffuse: what it draws. */
function picturesOnly(chosen, { ran, drawable, signal }) {
  const without = chosen.filter((id) => !ran.has(id)).join(" and ");
  return [
    h("p", { class: "hint" }, `Of ${without} there is no run's folder to read: its pictures can be compared, not its training.`),
    section("From the same noise", noiseGrid({ models: drawable, signal })),
  ];
}

async function compare(root, chosen, { models, ran, signal }) {
  const drawable = models.filter(({ id }) => chosen.includes(id));
  const told = chosen.filter((id) => ran.has(id));
  if (told.length < 2) {
    root.replaceChildren(...picturesOnly(chosen, { ran, drawable, signal }));
    return;
  }
  root.replaceChildren(h("p", { class: "status" }, "Reading the runs …"));
  let report;
  try {
    report = await get(`/v1/compare?${new URLSearchParams(told.map((id) => ["runs", id]))}`, { signal });
  } catch (error) {
    if (!signal.aborted) root.replaceChildren(trouble(error.message));
    return;
  }
  root.replaceChildren(
    ...(report.warnings ?? []).map((words) => h("p", { class: "warning" }, words)),
    section("What they are", table(report.facts)),
    section("What differs", report.settings.rows.length ? table(report.settings) : h("p", {}, "All their settings are the same."), shared(report.shared ?? {})),
    ...curves(report, signal),
    ...(drawable.length ? [section("From the same noise", noiseGrid({ models: drawable, signal }))] : []),
    ...quality(report),
  );
}

const section = (title, ...children) => h("section", { class: "compare-section", "aria-label": title }, h("h2", {}, title), children);

function shared(settings) {
  const rows = Object.entries(settings).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))));
  if (!rows.length) return [];
  return h("details", { class: "folded" }, h("summary", {}, `Shared by all: ${plural(rows.length, "setting")}`), h("dl", { class: "recipe" }, rows));
}

/** Loss by step or by minute, and the measure that was taken while they trained. */
function curves({ names, colours, curves: found = {}, proxies = {} }, signal) {
  const parts = [];
  const learned = names.filter((name) => found[name]?.losses?.length);
  if (learned.length) {
    const place = h("div", {});
    const by = { steps: chart({ title: "Loss", x: "step", logarithmic: true, signal }), minutes: chart({ title: "Loss", x: "minute", logarithmic: true, signal }) };
    const use = (axis) => {
      by[axis].show(
        learned.flatMap((name) => [
          { xs: found[name][axis], ys: found[name].losses, tint: colours[name], faint: true },
          { name, xs: found[name][axis], ys: found[name].smoothed ?? found[name].losses, tint: colours[name] },
        ]),
      );
      place.replaceChildren(by[axis].element);
    };
    const choice = segments({ label: "Over", choices: [["steps", "steps"], ["minutes", "minutes"]], value: "steps", onChange: use });
    use("steps");
    parts.push(section("How they learned", choice.element, place));
  }
  const measured = names.filter((name) => proxies[name]?.distance?.length);
  if (measured.length) {
    const distance = chart({ title: "Distance of their samples from the data", logarithmic: true, signal });
    distance.show(
      measured.flatMap((name) => {
        const { steps, distance: ys, floor } = proxies[name];
        const lowest = Number.isFinite(floor) ? [{ xs: [0, steps.at(-1)], ys: [floor, floor], tint: colours[name], faint: true, dashed: true }] : [];
        return [{ name, xs: steps, ys, tint: colours[name] }, ...lowest];
      }),
    );
    parts.push(section("How near they came", h("p", { class: "hint" }, "A cheap measure taken while they trained. The dashed lines are what data have among themselves."), distance.element));
  }
  return parts;
}

function quality({ quality: tables = [], apart = "", likelihood = [] }) {
  const parts = tables.map(({ title, table: rows, notes = [] }) => h("div", { class: "stack" }, h("h3", {}, title), table(rows), notes.map((note) => h("p", { class: "hint" }, note))));
  if (apart) parts.push(h("p", {}, apart));
  parts.push(...likelihood.map(({ title, table: rows, text }) => h("div", { class: "stack" }, h("h3", {}, title), table(rows), text && h("p", { class: "hint" }, text))));
  return parts.length ? [section("What was measured", parts)] : [];
}
