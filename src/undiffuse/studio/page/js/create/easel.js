// Where pictures appear: tiles of noise that become pictures step by step, and a walk that can be looked back on.

import { Random } from "../math/random.js";
import { button, segments, transport } from "../ui/controls.js";
import { picture } from "../ui/canvas.js";
import { h } from "../ui/dom.js";
import { toast } from "../ui/overlays.js";
import { begin, duration, plural } from "./job.js";

/** Pictures up to this many pixels wide are shown with their pixels as they are. */
const SMALL = 128;
/** Tiles that show the noise in which all begins; the rest stay plain. */
const NOISY = 64;

/** An <img> of a picture at its own pixels. */
export const shown = (src, alt, width = 1) => h("img", { class: width <= SMALL ? "pixels" : "", src, alt, draggable: "false" });

/** A tile of noise in the shape of a model's pictures. */
function noise(shape, seed) {
  const flat = [shape[0] === 3 ? 3 : 1, ...(shape.length > 2 ? shape.slice(-2) : [1, shape.at(-1)])];
  const tile = picture({ description: "Noise", shape: flat, low: -3, high: 3 });
  tile.show(new Random(seed).normals(flat[0] * flat[1] * flat[2]));
  return tile.element;
}

/**
 * @param {object} options onOpen: image -> void, when a finished picture is pressed; onDone: () -> void; signal.
 * @returns {{ element, wait, clear, run, busy, cancel }} wait(model, count, words) shows noise that is waiting;
 *   run(path, body, { count, verb }) draws, and resolves to the images, or null.
 */
export function easel({ onOpen, onDone, onBusy, signal }) {
  let tiles = [];
  let walk = [];
  let job = null;
  let seen = "x_t";
  const grid = h("div", { class: "tiles" });
  const status = h("p", { class: "status", role: "status" });
  const moment = h("p", { class: "moment", "aria-hidden": "true" });
  const bar = h("progress", { class: "progress", max: 1, value: 0, "aria-label": "Steps taken" });
  const stop = button("Cancel", cancel, { sign: "stop" });
  const progress = h("div", { class: "easel-progress", hidden: true }, bar, moment, stop);
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
    format: (k) => `step ${k + 1} of ${walk.length}`,
    onStep: repaint,
    signal,
  });
  const review = h("div", { class: "easel-review", hidden: true }, back.element, view.element);
  const element = h("section", { class: "easel", "aria-label": "The pictures" }, status, grid, progress, review);

  function place(count, content) {
    const columns = Math.ceil(Math.sqrt(count * 1.2));
    grid.style.setProperty("--columns", columns);
    grid.classList.toggle("one", count === 1);
    tiles = Array.from({ length: count }, (_, k) => h("div", { class: "tile" }, content?.(k)));
    grid.replaceChildren(...tiles);
  }

  function wait(model, count, words) {
    if (job) return;
    review.hidden = true;
    place(count, (k) => k < NOISY && noise(model.shape, k));
    status.textContent = words;
  }

  function clear() {
    if (job) return;
    walk = [];
    review.hidden = true;
    place(0);
    status.textContent = "";
  }

  function paint(tile, src, alt) {
    const image = tile?.querySelector("img");
    if (image) [image.src, image.alt] = [src, alt];
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
        moment.textContent = `step ${k} of ${of}${t === undefined || t === null ? "" : ` · t = ${Number(t.toPrecision(3))}`}`;
        if (!previews?.length) return;
        walk.push({ k, previews: previews.map((each) => ({ ...each, tile: each.index - first })) });
        repaint(walk.length - 1);
      },
      image: (image) => finish(image, first),
    };
    job = { cancel: () => {} };
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

  function finish(image, first) {
    const k = image.index - first;
    while (tiles.length <= k) grid.append(tiles[tiles.push(h("div", { class: "tile" })) - 1]);
    const name = `Picture ${k + 1}: open`;
    const open = h("button", { type: "button", class: "tile done", "aria-label": name, onclick: () => onOpen(image) });
    open.append(shown(image.url, "", image.width));
    tiles[k].replaceWith(open);
    tiles[k] = open;
    const last = walk.at(-1)?.previews.find(({ tile }) => tile === k);
    if (last) walk.final = [...(walk.final ?? []), { tile: k, x_t: image.url, x0: image.url }];
  }

  function end({ images, seconds, evaluations, warning }) {
    const evaluated = evaluations ? `, ${plural(evaluations, "evaluation")} of the network` : "";
    status.textContent = `${plural(images.length, "picture")} in ${duration(seconds)}${evaluated}.${warning ? ` ${warning}` : ""}`;
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
