// Pictures to drown: one that is computed, a few digits, and a person's own, which never leaves the page.

import { hasServer } from "../api.js";
import { recorded, serverPictures } from "./walks.js";

/** Pixels of a side of the computed picture and of a person's own. */
const SIDE = 128;

/** Hills in front of an evening sky: colours are sums of smooth functions, so that every size is sharp. */
export function hills(side = SIDE) {
  const values = new Float32Array(3 * side * side);
  const blend = (a, b, part) => a.map((value, c) => value + part * (b[c] - value));
  const ridges = [
    { base: 0.52, colour: [0.16, -0.12, 0.02], waves: [[0.055, 2.1, 0.4], [0.028, 5.3, 2.1], [0.008, 17, 0.3]] },
    { base: 0.66, colour: [-0.3, -0.42, -0.22], waves: [[0.05, 2.7, 3.6], [0.024, 6.1, 0.2], [0.007, 21, 1.3]] },
    { base: 0.8, colour: [-0.78, -0.74, -0.6], waves: [[0.06, 1.9, 5.2], [0.02, 7.7, 1.1], [0.008, 26, 4.0]] },
  ];
  for (let i = 0; i < side; i += 1) {
    for (let j = 0; j < side; j += 1) {
      const [x, y] = [(j + 0.5) / side, (i + 0.5) / side];
      let pixel = y < 0.34 ? blend([-0.5, -0.12, 0.38], [0.6, 0.32, 0.42], y / 0.34) : blend([0.6, 0.32, 0.42], [1, 0.62, 0.1], (y - 0.34) / 0.3);
      const sun = Math.hypot(x - 0.66, y - 0.37);
      pixel = blend(pixel, [1, 0.95, 0.55], 1 / (1 + Math.exp((sun - 0.1) * 180)));
      pixel = blend(pixel, [1, 0.85, 0.4], 0.55 * Math.exp(-((sun / 0.2) ** 2)));
      for (const { base, colour, waves } of ridges) {
        const height = waves.reduce((sum, [size, pace, phase]) => sum + size * Math.sin(pace * Math.PI * x + phase), base);
        pixel = blend(pixel, colour, 1 / (1 + Math.exp((height - y) * side * 1.6)));
      }
      pixel.forEach((value, c) => (values[c * side * side + i * side + j] = Math.min(1, Math.max(-1, value))));
    }
  }
  return { shape: [3, side, side], values, label: "hills in the evening" };
}

/** Digits: of the training data where a server has it, otherwise some that the shipped model drew. */
export async function digits(signal) {
  if (hasServer()) {
    const pictures = await serverPictures(4, signal).catch(() => []);
    if (pictures.length) return pictures.map((picture) => ({ ...picture, label: `a digit, ${picture.label}` }));
  }
  const { walks } = await recorded();
  return ["2", "3", "7", "8"].map((name) => ({ shape: walks.get(name).shape, values: walks.get(name).end, label: `a digit, ${name}` }));
}

/** A file of the person's own: its middle square, 128 pixels wide. */
export async function own(file) {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  const area = SIDE * SIDE;
  // bytes 0..255 become -1..1, the range that models work in
  const values = Float32Array.from({ length: 3 * area }, (_, i) => data[4 * (i % area) + Math.floor(i / area)] / 127.5 - 1);
  return { shape: [3, SIDE, SIDE], values, label: "your picture" };
}
