// Walks from noise to a picture: recorded ones that come with the page, and others drawn by the server.
//
// A walk is { shape, steps: [{ t, alpha, sigma, x_t, x0, eps }], end }: at each t where the walk stands and what the
// network believes; values in model space, channel-major; `end` is the finished picture.

import { get, post } from "../api.js";

const DATA = new URL("../../data/", import.meta.url);

/** x_t = alpha x0 + sigma eps, value by value. */
export const mix = (x0, eps, { alpha, sigma }) => x0.map((value, i) => alpha * value + sigma * eps[i]);

let recording = null;

/** The recorded walks of the model `digits` from one noise: { seed, classes, walks: Map class -> walk }. */
export function recorded() {
  recording ??= readRecording();
  return recording;
}

async function readRecording() {
  const [facts, bytes] = await Promise.all([
    fetch(new URL("walks.json", DATA)).then((answer) => answer.json()),
    fetch(new URL("walks.png", DATA)).then((answer) => answer.blob()),
  ]);
  const sheet = await createImageBitmap(bytes);
  const canvas = new OffscreenCanvas(sheet.width, sheet.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sheet, 0, 0);
  const [, height, width] = facts.shape;
  /** The tile in a row and column, its bytes spread over [-reach, reach]; see undiffuse/studio/record.py. */
  const tile = (line, column, reach) => {
    const { data } = context.getImageData(column * width, line * height, width, height);
    return Float32Array.from({ length: width * height }, (_, i) => ((2 * data[4 * i]) / 255 - 1) * reach);
  };
  const walks = new Map();
  facts.classes.forEach((name, c) => {
    const steps = facts.t.map((t, k) => {
      const marginal = { alpha: facts.alpha[k], sigma: facts.sigma[k] };
      const x0 = tile(2 * c, k, facts.x0_range);
      const eps = tile(2 * c + 1, k, facts.eps_range);
      return { t, ...marginal, x_t: mix(x0, eps, marginal), x0, eps };
    });
    walks.set(name, { shape: facts.shape, steps, end: steps.at(-1).x0 });
  });
  return { seed: facts.seed, classes: facts.classes, walks };
}

/** A walk of another seed, from the server. */
export async function drawn({ seed, name, steps, signal }) {
  const settings = { sampler: "ddim", steps, classes: [name] };
  const body = { model: "digits", seed, index: 0, settings, moments: steps + 1, values: true };
  const answer = await post("/v1/walk", body, { signal });
  const moments = answer.moments.map(({ t, alpha, sigma, values }) => ({ t, alpha, sigma, ...values }));
  return { shape: answer.shape, steps: moments.slice(0, -1), end: moments.at(-1).x_t };
}

/** Training pictures, or samples where the data is not installed, from the server: [{ shape, values, label }]. */
export async function serverPictures(count, signal) {
  const { shape, pictures } = await get(`/v1/pictures?count=${count}`, { signal });
  return pictures.map(({ values, label }) => ({ shape, values, label: label ?? "a sample" }));
}
