// Where pictures appear: tiles of noise that become pictures step by step, and a walk that can be looked back on.

import { at } from "../api.js";
import { Random } from "../math/random.js";
import { button, segments, transport } from "../ui/controls.js";
import { picture } from "../ui/canvas.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { begin, duration, plural } from "./job.js";

/** Pictures up to this many pixels wide are shown with their pixels as they are. */
export const SMALL = 128;
/** Seconds that nobody needs to be told of. */
const PATIENCE = 5;
/** More tiles than this may be small. */
const MANY = 16;
/** Tiles that show the noise in which all begins; the rest stay plain. */
const NOISY = 64;

/** An <img> of a picture at its own pixels. */
export const shown = (src, alt, width = 1) => h("img", { class: width <= SMALL ? "pixels" : "", src: at(src), alt, draggable: "false" });

/** Columns for so many tiles: rather wider than high, and the last row as full as can be. */
export function columnsFor(count) {
  const good = Math.sqrt(1.4 * count);
  const empty = (columns) => Math.ceil(count / columns) * columns - count;
  const near = Array.from({ length: Math.ceil(1.5 * good) }, (_, k) => k + 1).filter((columns) => columns >= good / 1.5);
  return near.sort((a, b) => empty(a) - empty(b) || Math.abs(a - good) - Math.abs(b - good))[0] ?? 1;
}

/** A tile of noise in the shape of a model's pictures. */
function noise(shape, seed) {
  const flat = [shape[0] === 3 ? 3 : 1, ...(shape.length > 2 ? shape.slice(-2) : [1, shape.at(-1)])];
  const tile = picture({ description: "Noise", shape: flat, low: -3, high: 3 });
  tile.show(new Random(seed).normals(flat[0] * flat[1] * flat[2]));
  tile.element.setAttribute("aria-hidden", "true");
  return tile.element;
}

/**
 * @param {object} options onOpen: image -> void, when a finished picture is pressed; onDone: () -> void; signal.
 * @returns {{ element, wait, clear, run, busy, cancel }} wait(model, count, words) shows noise that is waiting;
 *   clear(words) shows none;
 *   run(path, body, { count, verb }) draws, and resolves to the images, or null.
 */
export function canvas({ onOpen, onDone, onBusy, signal }) {
  let tiles = [];
  let walk = [];
  let job = null;
  let begun = null;
  let seen = "x_t";
  const grid = h("div", { class: "tiles" });
  const status = h("p", { class: "status", role: "status" });
  const moment = h("p", { class: "moment", "aria-hidden": "true" });
  const bar = h("progress", { class: "progress", max: 1, value: 0, "aria-label": "Steps taken" });
  const stop = button("Cancel", cancel, { sign: "stop" });
  const progress = h("div", { class: "canvas-progress", hidden: true }, bar, moment, stop);
  const view = segments({
    label: "Show on the way",
    choices: [["x_t", "the noisy picture"], ["x0", "what the model expects"]],
    value: seen,
    onChange: (value) => ((seen = value), walk.length && repaint()),
  });
  const back = transport({
    label: "The way out of the noise",
    name: "the way out of the noise",
    steps: 1,
    seconds: 3,
    format: (k) => (k === walk.length - 1 && walk.final ? "finished" : `step ${k + 1} of ${walk.length - (walk.final ? 1 : 0)}`),
    onStep: repaint,
    signal,
  });
  const review = h("div", { class: "canvas-review", hidden: true }, back.element, view.element);
  const element = h("section", { class: "canvas", "aria-label": "The pictures" }, status, grid, progress, review);

  function arrange(count) {
    grid.style.setProperty("--columns", columnsFor(count));
    grid.classList.toggle("one", count === 1);
    grid.classList.toggle("many", count > MANY);
  }

  function place(count, content) {
    arrange(count);
    tiles = Array.from({ length: count }, (_, k) => h("div", { class: "tile" }, content?.(k)));
    grid.replaceChildren(...tiles);
  }

  function wait(model, count, words) {
    if (job) return;
    review.hidden = true;
    place(count, (k) => k < NOISY && noise(model.shape, k));
    status.textContent = words;
  }

  function clear(words) {
    if (job) return;
    walk = [];
    review.hidden = true;
    place(0);
    status.textContent = words;
  }

  function paint(tile, src, alt) {
    const image = tile?.querySelector("img");
    if (image) [image.src, image.alt] = [at(src), alt];
    else tile?.replaceChildren(shown(src, alt));
  }

  /** Show the walk at its k-th step. At the last one the pictures themselves are there. */
  function repaint(k = back.value) {
    const at = walk[Math.min(k, walk.length - 1)];
    for (const preview of at?.previews ?? []) paint(tiles[preview.tile], preview[seen], "");
  }

  async function run(path, body, { count, first = 0, verb = "Drawing" }) {
    if (job) return null;
    walk = [];
    review.hidden = true;
    progress.hidden = false;
    bar.removeAttribute("value");
    moment.textContent = "";
    status.textContent = `${verb} …`;
    if (tiles.length !== count || grid.querySelector("button")) place(count);
    const handlers = {
      queued: ({ position }) => (status.textContent = position ? `Waiting: ${position} before this one` : "Waiting to begin"),
      started: ({ images }) => images && (status.textContent = `${verb} ${plural(images, "picture")}`),
      step: ({ k, of, t, previews }) => {
        [bar.max, bar.value] = [of, k];
        const time = t === undefined || t === null ? "" : ` · t = ${Number(t.toPrecision(3))}`;
        moment.textContent = `step ${k} of ${of}${time}${toGo(k, of)}`;
        if (!previews?.length) return;
        walk.push({ k, previews: previews.map((each) => ({ ...each, tile: each.index - first })) });
        repaint(walk.length - 1);
      },
      image: (image) => finish(image, first),
    };
    job = { cancel: () => {} };
    begun = null;
    onBusy(true);
    try {
      job = await begin(path, body, handlers, { signal });
      const told = await job.finished;
      if (!told) status.textContent = "Cancelled.";
      else end(told);
      return told;
    } catch (error) {
      if (signal.aborted) return null;
      status.textContent = error.message;
      toast(error.message, { error: true });
      return null;
    } finally {
      job = null;
      progress.hidden = true;
      onBusy(false);
      onDone();
    }
  }

  /** What is left, said of what takes long enough to wonder. */
  function toGo(k, of) {
    if (!begun || k <= begun.k) begun = { k, at: performance.now() };
    const left = (((performance.now() - begun.at) / 1000) * (of - k)) / Math.max(1, k - begun.k);
    return left > PATIENCE ? ` · about ${duration(Math.ceil(left))} to go` : "";
  }

  function finish(image, first) {
    const k = image.index - first;
    if (k >= tiles.length) {
      // an edit may have more to show than was asked for, as the noise that it found
      while (tiles.length <= k) grid.append(tiles[tiles.push(h("div", { class: "tile" })) - 1]);
      arrange(tiles.length);
    }
    const name = `Picture ${k + 1}: open`;
    const open = h("button", { type: "button", class: "tile done", "aria-label": name, onclick: () => onOpen(image) });
    open.append(shown(image.url, "", image.width));
    tiles[k].replaceWith(open);
    tiles[k] = open;
    const last = walk.at(-1)?.previews.find(({ tile }) => tile === k);
    if (last) walk.final = [...(walk.final ?? []), { tile: k, x_t: image.url, x0: image.url }];
  }

  function end({ images, seconds, evaluations, note, warning }) {
    const evaluated = evaluations ? `, ${plural(evaluations, "evaluation")} of the network` : "";
    status.textContent = [`${plural(images.length, "picture")} in ${duration(seconds)}${evaluated}.`, note, warning].filter(Boolean).join(" ");
    if (walk.length < 2) return;
    if (walk.final) walk.push({ previews: walk.final });
    review.hidden = false;
    back.resize(walk.length - 1, walk.length - 1);
  }

  function cancel() {
    status.textContent = "Cancelling …";
    job?.cancel().catch?.((error) => toast(error.message, { error: true }));
  }

  return {
    element,
    wait,
    clear,
    run,
    cancel,
    get busy() {
      return job !== null;
    },
  };
}
