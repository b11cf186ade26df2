// Schedules: the curve t -> (alpha, sigma) of x_t = alpha x0 + sigma eps. The same formulas as
// undiffuse/diffusion/schedules.py, which a test compares these with.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** log(alpha^2 / sigma^2). */
export const logSnr = ({ alpha, sigma }) => 2 * (Math.log(alpha) - Math.log(sigma));

/** A chain of T steps, given by alpha-bar_0 = 1 > ... > alpha-bar_T: alpha = sqrt(alpha-bar), sigma = sqrt(1 - alpha-bar). */
class Chain {
  constructor(betas) {
    this.tMax = betas.length;
    this.alphaBar = new Float64Array(this.tMax + 1);
    this.alphaBar[0] = 1;
    // alpha-bar_t = prod_{i <= t} (1 - beta_i)
    betas.forEach((beta, i) => (this.alphaBar[i + 1] = this.alphaBar[i] * (1 - beta)));
  }

  /** (alpha, sigma) at t in [0, T]. Between whole t the log-SNR is linear; in the first cell, where it starts infinite, alpha-bar. */
  at(t) {
    const left = Math.min(Math.floor(t), this.tMax);
    const right = Math.min(left + 1, this.tMax);
    const part = t - left;
    const [a, b] = [this.alphaBar[left], this.alphaBar[right]];
    let alphaBar = a;
    if (part > 0) {
      const logit = (p) => Math.log(p) - Math.log1p(-p);
      alphaBar = left === 0 ? a + part * (b - a) : sigmoid(logit(a) + part * (logit(b) - logit(a)));
    }
    return { alpha: Math.sqrt(alphaBar), sigma: Math.sqrt(1 - alphaBar) };
  }
}

/** beta_t linear in t (Ho et al. 2020): 1e-4 to 0.02 at T = 1000. */
export function linear(T = 1000) {
  const betas = Array.from({ length: T }, (_, i) => 1e-4 + ((0.02 - 1e-4) * i) / (T - 1));
  return new Chain(betas.map((beta) => 1 - (1 - beta) ** (1000 / T)));
}

/** alpha-bar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) pi/2), beta <= 0.999 (Nichol & Dhariwal 2021). */
export function cosine(T = 1000, s = 0.008) {
  const f = (t) => Math.cos(((t / T + s) / (1 + s)) * (Math.PI / 2)) ** 2;
  return new Chain(Array.from({ length: T }, (_, i) => Math.min(1 - f(i + 1) / f(i), 0.999)));
}

/** The variance-preserving process in continuous time, beta(t) from 0.1 to 20 on [0, 1] (Song et al. 2021). */
export class VP {
  constructor(betaMin = 0.1, betaMax = 20) {
    [this.betaMin, this.betaMax, this.tMax, this.tMin] = [betaMin, betaMax, 1, 1e-3];
  }

  at(t) {
    // log alpha = -1/4 t^2 (beta_max - beta_min) - 1/2 t beta_min,   sigma^2 = 1 - alpha^2
    const logAlpha = -0.25 * t ** 2 * (this.betaMax - this.betaMin) - 0.5 * t * this.betaMin;
    return { alpha: Math.exp(logAlpha), sigma: Math.sqrt(-Math.expm1(2 * logAlpha)) };
  }

  /** The t at which log(alpha^2 / sigma^2) has this value. */
  inverseLogSnr(value) {
    // alpha^2 = sigmoid(log-SNR); then the root of the quadratic above, in the form without cancellation.
    const logAlpha = -0.5 * (Math.max(-value, 0) + Math.log1p(Math.exp(-Math.abs(value))));
    const root = Math.sqrt(this.betaMin ** 2 - 4 * (this.betaMax - this.betaMin) * logAlpha);
    return Math.min(Math.max((-4 * logAlpha) / (this.betaMin + root), 0), this.tMax);
  }
}

/** `steps` falling times, even in log-SNR from the end of the process to tMin, and a final 0. */
export function evenInLogSnr(schedule, steps) {
  const first = logSnr(schedule.at(schedule.tMax));
  const last = logSnr(schedule.at(schedule.tMin));
  const times = Array.from({ length: steps }, (_, k) =>
    k === 0 ? schedule.tMax : schedule.inverseLogSnr(first + ((last - first) * k) / (steps - 1)),
  );
  return [...times, 0];
}

/** `steps` falling times, even in t from the end of the process, and a final 0: "trailing" in undiffuse. */
export function evenInTime(schedule, steps) {
  return Array.from({ length: steps + 1 }, (_, k) => (schedule.tMax * (steps - k)) / steps);
}
