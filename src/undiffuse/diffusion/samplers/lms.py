"""Linear multistep methods that remember eps: LMS over the noise level, PLMS over the step's number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.samplers.exponential import (
    History,
    differences,
    euler_step,
    noise_to_signal,
    remember,
    weights,
)
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class LMS:
    """Adams-Bashforth in Karras et al.'s variables, on any grid (Crowson 2022, k-diffusion's LMS).

    y_s = y_t + int_{r_t}^{r_s} p(r) dr,   p the polynomial through this and the last order - 1 values of eps

    integrated exactly. The step to data and the step from pure noise are Euler's. Like Heun it wants a grid on which r
    does not fall by orders of magnitude in one step.

    Args:
        order: how many values the polynomial goes through once they are there, and the order of convergence.
    """

    order: int = 4

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: History, noise: Noise
    ) -> tuple[Batch, History]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        r_s, r_t = noise_to_signal(q_s), noise_to_signal(q_t)
        prediction = denoiser(x, t)
        x_s = euler_step(prediction, q_s)
        if s > 0:
            w = weights(float(q_s.alpha) * (r_s - r_t), 0.0, [(r - r_t) / (r_s - r_t) for r, _ in state])
            x_s = x_s + differences(w, [eps for _, eps in state], prediction.eps)
        return x_s, remember(state, r_t, prediction.eps, self.order - 1)


@dataclass(frozen=True)
class PLMS:
    """Pseudo linear multistep (Liu et al. 2022, PNDM, eq. 12-13, https://arxiv.org/abs/2202.09778).

    eps' = (55 eps_t - 59 eps_{t-1} + 37 eps_{t-2} - 9 eps_{t-3}) / 24,   x_s = the DDIM step with eps' for eps

    with the shorter Adams-Bashforth formulas while there is less to look back on. They belong to equal steps in t; a
    pseudo step is of second order whatever the formula. The first step takes the average of two evaluations, as in
    diffusers' PNDM with ``skip_prk_steps`` (the paper takes Runge-Kutta steps, 12 evaluations, in that place). Steps to
    data and from pure noise are DDIM's. It wants a grid even in t, of 20 steps or more.
    """

    order: int = 2

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: History, noise: Noise
    ) -> tuple[Batch, History]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        x_s = euler_step(prediction, q_s)
        gain = float(q_s.alpha) * (noise_to_signal(q_s) - noise_to_signal(q_t))  # of eps on x_s
        if s == 0 or math.isinf(gain):
            return x_s, ()
        if state:
            w = weights(gain, 0.0, [-float(j) for j in range(1, len(state) + 1)])
            x_s = x_s + differences(w, [eps for _, eps in state], prediction.eps)
        else:
            x_s = x_s + gain / 2 * (denoiser(x_s, s).eps - prediction.eps)
        return x_s, remember(state, noise_to_signal(q_t), prediction.eps, 3)
