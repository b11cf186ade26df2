// How far points are from where they should be. Points are flat: x[2 i], x[2 i + 1].

/** Root of the mean squared distance between the points of two lists, as many as the shorter has. */
export function rootMeanSquare(a, b) {
  const length = Math.min(a.length, b.length);
  let sum = 0;
  for (let i = 0; i < length; i += 1) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum / (length / 2));
}

/** Root of the mean squared distance from the middle of the points, and the standard error of it. */
export function spread(points) {
  const count = points.length / 2;
  const mean = [0, 1].map((side) => points.reduce((sum, value, i) => (i % 2 === side ? sum + value : sum), 0) / count);
  const squares = Array.from({ length: count }, (_, i) => (points[2 * i] - mean[0]) ** 2 + (points[2 * i + 1] - mean[1]) ** 2);
  const square = squares.reduce((a, b) => a + b) / count;
  const deviation = Math.sqrt(squares.reduce((sum, value) => sum + (value - square) ** 2, 0) / count);
  return { value: Math.sqrt(square), error: square && deviation / Math.sqrt(count) / (2 * Math.sqrt(square)) };
}

/** Mean distance between a point of a and another one of b. */
function meanDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 2) {
    // Math.hypot guards against overflow, which takes several times as long
    for (let j = 0; j < b.length; j += 2) sum += Math.sqrt((a[i] - b[j]) ** 2 + (a[i + 1] - b[j + 1]) ** 2);
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

/** A distance that may be nothing at all, as far as so many points can tell. */
export const small = (distance) => (distance < 0.0005 ? "≈ 0" : distance.toFixed(3));
