// The exact denoiser of a mixture of equal, round Gaussians in the plane: what a network of infinite size would learn.
// The same formulas as undiffuse/diffusion/exact_denoisers.py, which a test compares these with.
//
// Points are flat: x[2 i], x[2 i + 1].

/**
 * x0 ~ sum_k w_k N(mu_k, std^2 I)
 *
 * @param {object} options means: flat, 2 numbers a component; std; weights: one a component, equal if left out.
 */
export class Mixture {
  constructor({ means, std, weights = null }) {
    this.means = Float64Array.from(means);
    this.std = std;
    this.count = means.length / 2;
    this.weights = Float64Array.from(weights ?? Array(this.count).fill(1 / this.count));
    this.logits = new Float64Array(this.count);
  }

  /**
   * What x_t says of the noise and of the picture.
   *
   *   q(x_t | k) = N(alpha mu_k, v I),   v = alpha^2 std^2 + sigma^2
   *   p(k | x_t) = softmax_k (log w_k - |x_t - alpha mu_k|^2 / (2 v))
   *   x0  = sum_k p(k | x_t) (mu_k + alpha std^2 / v (x_t - alpha mu_k))
   *   eps = sum_k p(k | x_t) sigma / v (x_t - alpha mu_k)
   */
  denoise(x, { alpha, sigma }) {
    const { means, count, logits } = this;
    const v = (alpha * this.std) ** 2 + sigma ** 2;
    const x0 = new Float64Array(x.length);
    const eps = new Float64Array(x.length);
    for (let i = 0; i < x.length; i += 2) {
      const highest = this.fillLogits(x[i], x[i + 1], alpha, v);
      let [total, meanX, meanY] = [0, 0, 0];
      for (let k = 0; k < count; k += 1) {
        const responsibility = Math.exp(logits[k] - highest);
        total += responsibility;
        meanX += responsibility * means[2 * k];
        meanY += responsibility * means[2 * k + 1];
      }
      meanX /= total;
      meanY /= total;
      const [gapX, gapY] = [x[i] - alpha * meanX, x[i + 1] - alpha * meanY];
      const share = (alpha * this.std ** 2) / v;
      [x0[i], x0[i + 1]] = [meanX + share * gapX, meanY + share * gapY];
      [eps[i], eps[i + 1]] = [(sigma / v) * gapX, (sigma / v) * gapY];
    }
    return { x0, eps };
  }

  /** log w_k - |x - alpha mu_k|^2 / (2 v) into this.logits; returns the highest. */
  fillLogits(x, y, alpha, v) {
    const { means, count, logits, weights } = this;
    let highest = -Infinity;
    for (let k = 0; k < count; k += 1) {
      const [dx, dy] = [x - alpha * means[2 * k], y - alpha * means[2 * k + 1]];
      logits[k] = Math.log(weights[k]) - (dx * dx + dy * dy) / (2 * v);
      highest = Math.max(highest, logits[k]);
    }
    return highest;
  }

  /** p_t(x) = sum_k w_k N(x; alpha mu_k, v I) at one point. */
  density(x, y, { alpha, sigma }) {
    const v = (alpha * this.std) ** 2 + sigma ** 2;
    const highest = this.fillLogits(x, y, alpha, v);
    let total = 0;
    for (let k = 0; k < this.count; k += 1) total += Math.exp(this.logits[k] - highest);
    return (Math.exp(highest) * total) / (2 * Math.PI * v);
  }

  /** The direction in which x becomes likelier: grad log p_t(x) = -eps / sigma. */
  score(x, marginal) {
    return this.denoise(x, marginal).eps.map((value) => -value / marginal.sigma);
  }

  /** Mean of the data, and the root of its mean squared distance from there: sqrt(2 std^2 + sum_k w_k |mu_k - mean|^2). */
  moments() {
    const { means, std, count, weights } = this;
    const sum = (of) => weights.reduce((total, w, k) => total + w * of(k), 0);
    const mean = [0, 1].map((side) => sum((k) => means[2 * k + side]));
    const between = sum((k) => (means[2 * k] - mean[0]) ** 2 + (means[2 * k + 1] - mean[1]) ** 2);
    return { mean, spread: Math.sqrt(2 * std ** 2 + between) };
  }

  /** `count` points of the data. */
  draw(count, random) {
    const points = new Float64Array(2 * count);
    for (let i = 0; i < count; i += 1) {
      let [k, rest] = [0, random.uniform()];
      while (k < this.count - 1 && (rest -= this.weights[k]) > 0) k += 1;
      points[2 * i] = this.means[2 * k] + this.std * random.normal();
      points[2 * i + 1] = this.means[2 * k + 1] + this.std * random.normal();
    }
    return points;
  }
}

/** The exact denoiser where a few pictures are all that there are, equally likely: a mixture with std = 0, of any size. */
export class Pictures {
  constructor(pictures) {
    this.pictures = pictures.map((values) => Float64Array.from(values));
  }

  /**
   * For one x_t:   p(k | x_t) = softmax_k ((alpha x_t . mu_k - alpha^2 |mu_k|^2 / 2) / sigma^2)
   *                x0 = sum_k p(k | x_t) mu_k,   eps = (x_t - alpha x0) / sigma
   */
  denoise(x, { alpha, sigma }) {
    const logits = this.pictures.map((mu) => {
      let product = 0;
      for (let i = 0; i < x.length; i += 1) product += (alpha * x[i] - (alpha ** 2 * mu[i]) / 2) * mu[i];
      return product / sigma ** 2;
    });
    const highest = Math.max(...logits);
    const likely = logits.map((logit) => Math.exp(logit - highest));
    const total = likely.reduce((a, b) => a + b);
    const x0 = new Float64Array(x.length);
    this.pictures.forEach((mu, k) => {
      const share = likely[k] / total;
      if (share > 0) for (let i = 0; i < x.length; i += 1) x0[i] += share * mu[i];
    });
    return { x0, eps: x0.map((value, i) => (x[i] - alpha * value) / sigma) };
  }
}

/** One round cloud. */
export function cloud() {
  return new Mixture({ means: [0, 0], std: 0.5 });
}

/** Five round clouds on a circle, one heavier than the others. */
export function clouds() {
  const means = [0, 1, 2, 3, 4].flatMap((k) => {
    const angle = (2 * Math.PI * k) / 5 + Math.PI / 2;
    return [1.5 * Math.cos(angle), 1.5 * Math.sin(angle)];
  });
  return new Mixture({ means, std: 0.17, weights: [0.32, 0.17, 0.17, 0.17, 0.17] });
}

/** Two moons: two half circles that reach into each other, as many small Gaussians in rows. */
export function moons(each = 36) {
  const means = [];
  for (let k = 0; k < each; k += 1) {
    const angle = (Math.PI * k) / (each - 1);
    means.push(1.25 * Math.cos(angle) - 0.62, 1.25 * Math.sin(angle) - 0.3);
    means.push(0.62 - 1.25 * Math.cos(angle), 0.3 - 1.25 * Math.sin(angle));
  }
  return new Mixture({ means, std: 0.07 });
}

/** A spiral of one and three quarter turns, denser outside so that the beads are evenly spaced. */
export function spiral(count = 80) {
  const means = [];
  for (let k = 0; k < count; k += 1) {
    const part = Math.sqrt((k + 4) / (count + 3));
    const angle = 3.5 * Math.PI * part;
    means.push(1.95 * part * Math.cos(angle), 1.95 * part * Math.sin(angle));
  }
  return new Mixture({ means, std: 0.06 });
}
