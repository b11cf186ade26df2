// Students: what networks do that learned, here without error, where a teacher's walk of many small steps ends, and not
// E[x0 | x_t]. Their steps are those of undiffuse/diffusion/samplers/students.py, which a test compares these with.

import { SAMPLERS, walk } from "./samplers.js";

/** A student of DDIM's walk along `times`: (x_t, t, s) -> where that walk is at s, for t > s among `times`. */
export function student({ predict, schedule, times }) {
  return (x, t, s) => walk(SAMPLERS.ddim, { predict, schedule, times: times.slice(times.indexOf(t), times.indexOf(s) + 1), x }).at(-1);
}

/** Samplers for a student, which is their `predict`. */
export const STUDENT_SAMPLERS = {
  /** From t straight to s, however far. */
  jump: { step: ({ predict, x, t, s }) => ({ x: predict(x, t, s) }), random: false },
  /** Song et al. 2023: to the end of the walk, and from there back to s with new noise, x_s = alpha_s x0 + sigma_s z. */
  renoise: {
    step({ predict, schedule, x, t, s, random }) {
      const { alpha, sigma } = schedule.at(s);
      const x0 = predict(x, t, 0);
      return { x: s === 0 ? x0 : x0.map((value) => alpha * value + sigma * random.normal()) };
    },
    random: true,
  },
};
