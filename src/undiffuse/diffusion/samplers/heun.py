"""Heun's method, and EDM's sampler: the same after a little fresh noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand, transition
from undiffuse.diffusion.samplers.exponential import euler_step, noise_to_signal
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class Heun:
    """The trapezoidal rule (Karras et al. 2022, algorithm 1, https://arxiv.org/abs/2206.00364).

    y' = y_t + (r_s - r_t) eps(x_t, t)                              y = x / alpha,   r = sigma / alpha
    y_s = y_t + (r_s - r_t) (eps(x_t, t) + eps(alpha_s y', s)) / 2

    Two evaluations a step. The step to data is Euler's, because the network is not asked at s = 0; so is the step from
    pure noise, where r_t is infinite. r must not fall by orders of magnitude in one step: use it with the
    spacing karras or log-snr.
    """

    order: int = 2

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        first = denoiser(x, t)
        x_s = euler_step(first, q_s)
        gain = float(q_s.alpha) * (noise_to_signal(q_s) - noise_to_signal(q_t))
        if s == 0 or math.isinf(gain):
            return x_s, None
        second = denoiser(x_s, s)
        return x_s + gain / 2 * (second.eps - first.eps), None


@dataclass(frozen=True)
class EDM:
    """Heun's method with stochastic churn (Karras et al. 2022, algorithm 2).

    r_hat = (1 + gamma) r_t   where churn_min <= r_t <= churn_max
    x_hat = x_t taken forward to r_hat by fresh noise,   then a step of Heun from r_hat to s

    The paper's S_churn is spread over the walk: gamma = min(S_churn / steps, sqrt(2) - 1). Noise is added by the
    forward process itself, so for any schedule; r_hat stops at the end of the process.

    Args:
        gamma: relative rise of the noise level before each step, 0 for none.
        churn_min, churn_max: the paper's S_tmin and S_tmax, as values of r.
        noise_scale: its S_noise; above 1 it makes up for detail that the network smooths away.
    """

    gamma: float = 0.0
    churn_min: float = 0.05
    churn_max: float = 50.0
    noise_scale: float = 1.0
    order: int = 2

    @classmethod
    def from_churn(cls, churn: float, steps: int) -> EDM:
        """The gamma of the paper's S_churn in a walk of ``steps`` steps."""
        return cls(gamma=min(churn / steps, math.sqrt(2) - 1))

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        x, t = self._churn(denoiser, x, t, noise)
        return Heun().step(denoiser, x, t, s, None, noise)

    def _churn(self, denoiser: Denoiser, x: Batch, t: Time, noise: Noise) -> tuple[Batch, Time]:
        q_t = denoiser.schedule(t)
        if self.gamma == 0 or not self.churn_min <= noise_to_signal(q_t) <= self.churn_max:
            return x, t
        t_hat = denoiser.schedule.inverse_log_snr(q_t.log_snr - 2 * math.log1p(self.gamma))
        t_hat = torch.maximum(t, t_hat)  # at the end of the process there is nowhere to go
        forward = transition(q_t, denoiser.schedule(t_hat))
        return expand(forward.alpha, x) * x + expand(self.noise_scale * forward.sigma, x) * noise.like(x), t_hat
