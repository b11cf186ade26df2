// How far points are from where they should be. Points are flat: x[2 i], x[2 i + 1].

/** Root of the mean squared distance between the points of two lists, as many as the shorter has. */
export function rootMeanSquare(a, b) {
  const length = Math.min(a.length, b.length);
  let sum = 0;
  for (let i = 0; i < length; i += 1) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum / (length / 2));
}

/** Mean distance between a point of a and another one of b. */
function meanDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 2) {
    for (let j = 0; j < b.length; j += 2) sum += Math.hypot(a[i] - b[j], a[i + 1] - b[j + 1]);
  }
  const pairs = (a.length / 2) * (b.length / 2);
  return sum / (a === b ? pairs - a.length / 2 : pairs);
}

/**
 * The energy distance between two clouds of points, in units of length: 0 where they have one distribution.
 *
 *   sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|)
 *
 * The means leave out the pairs of a point with itself, so that the sum below the root is right on average; by chance
 * it may be below 0, which counts as 0.
 */
export function energyDistance(x, y) {
  return Math.sqrt(Math.max(0, 2 * meanDistance(x, y) - meanDistance(x, x) - meanDistance(y, y)));
}
