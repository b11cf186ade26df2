// Samplers: rules for one step from t to s < t, on flat arrays of numbers. The same formulas as
// undiffuse/diffusion/samplers, which a test compares these with.
//
// step({ predict, schedule, x, t, s, state, random }) -> { x, state }, where predict(x, t) -> { x0, eps }.

import { logSnr } from "./schedule.js";

const combine = (a, u, b, v) => u.map((value, i) => a * value + b * v[i]);

/** DDIM (Song et al. 2021): x_s = alpha_s x0 + sigma_s eps. */
function ddim({ predict, schedule, x, t, s }) {
  const q = schedule.at(s);
  const { x0, eps } = predict(x, t);
  return { x: combine(q.alpha, x0, q.sigma, eps) };
}

/** DDPM (Ho et al. 2020): draw from q(x_s | x_t, x0) at the predicted x0; the last step adds no noise. */
function ddpm({ predict, schedule, x, t, s, random }) {
  const [qs, qt] = [schedule.at(s), schedule.at(t)];
  const { x0 } = predict(x, t);
  // the step s -> t of the forward process:   alpha_ts = alpha_t / alpha_s,   sigma_ts^2 = sigma_t^2 (1 - SNR_t / SNR_s)
  const variance = s === 0 ? qt.sigma ** 2 : -(qt.sigma ** 2) * Math.expm1(logSnr(qt) - logSnr(qs));
  const forgotten = variance / qt.sigma ** 2;
  const kept = (qs.sigma / qt.sigma) ** 2;
  // mean = alpha_s sigma_ts^2 / sigma_t^2 x0 + alpha_ts sigma_s^2 / sigma_t^2 x_t
  const mean = combine(qs.alpha * forgotten, x0, (qt.alpha / qs.alpha) * kept, x);
  if (s === 0) return { x: mean };
  const std = Math.sqrt(variance * kept); // beta-tilde
  return { x: mean.map((value) => value + std * random.normal()) };
}

/** Heun (Karras et al. 2022): a DDIM step, then again with the mean of eps at both ends. The last step is DDIM's. */
function heun({ predict, schedule, x, t, s }) {
  const [qs, qt] = [schedule.at(s), schedule.at(t)];
  const first = predict(x, t);
  const there = combine(qs.alpha, first.x0, qs.sigma, first.eps);
  if (s === 0) return { x: there };
  const second = predict(there, s);
  // x_s + alpha_s (r_s - r_t) / 2 (eps_s - eps_t),   r = sigma / alpha
  const gain = (qs.alpha * (qs.sigma / qs.alpha - qt.sigma / qt.alpha)) / 2;
  return { x: there.map((value, i) => value + gain * (second.eps[i] - first.eps[i])) };
}

/** DPM-Solver++(2M) (Lu et al. 2022): a DDIM step, bent by how x0 changed since the step before. */
function dpm2m({ predict, schedule, x, t, s, state }) {
  const [qs, qt] = [schedule.at(s), schedule.at(t)];
  const lambda = logSnr(qt) / 2;
  const { x0, eps } = predict(x, t);
  const next = combine(qs.alpha, x0, qs.sigma, eps);
  const now = { lambda, x0 };
  if (!state || s === 0) return { x: next, state: now };
  const h = logSnr(qs) / 2 - lambda;
  // + alpha_s (1 - e^-h) / 2 (x0_t - x0_before) / r,   r = (lambda_t - lambda_before) / h
  const gain = ((qs.alpha * -Math.expm1(-h)) / 2 / (lambda - state.lambda)) * h;
  return { x: next.map((value, i) => value + gain * (x0[i] - state.x0[i])), state: now };
}

/** `evaluations` is how often a walk of so many steps asks the network. */
export const SAMPLERS = {
  ddpm: { name: "DDPM", step: ddpm, random: true, evaluations: (steps) => steps },
  ddim: { name: "DDIM", step: ddim, random: false, evaluations: (steps) => steps },
  heun: { name: "Heun", step: heun, random: false, evaluations: (steps) => 2 * steps - 1 },
  dpm2m: { name: "DPM-Solver++ 2M", step: dpm2m, random: false, evaluations: (steps) => steps },
};

/** The most steps that a sampler can take with so many evaluations. */
export function stepsFor(sampler, evaluations) {
  return sampler.evaluations(2) > 2 ? Math.max(1, Math.floor((evaluations + 1) / 2)) : evaluations;
}

/** All states of a walk along `times`, from x at times[0] to data. */
export function walk(sampler, { predict, schedule, times, x, random }) {
  const states = [x];
  let state = null;
  for (let k = 0; k + 1 < times.length; k += 1) {
    const [t, s] = [times[k], times[k + 1]];
    ({ x, state = null } = sampler.step({ predict, schedule, x, t, s, state, random }));
    states.push(x);
  }
  return states;
}
