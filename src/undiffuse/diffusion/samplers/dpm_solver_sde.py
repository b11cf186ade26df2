"""SDE-DPM-Solver++: the DPM-Solver++ idea for the reverse SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand, posterior, posterior_mean
from undiffuse.diffusion.samplers.dpm_solver import look_back
from undiffuse.diffusion.samplers.exponential import DATA, History, differences, half_log_snr, remember, weights
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class SDEDPMMultistep:
    """SDE-DPM-Solver++ of one, two or three points (Lu et al. 2022b, eq. 18-19, https://arxiv.org/abs/2211.01095).

    x_s = (sigma_s / sigma_t) e^{-h} x_t + alpha_s (1 - e^{-2h}) x0 + `look_back` + sigma_s sqrt(1 - e^{-2h}) z

    The linear part and the noise of the reverse SDE are exact, x0 is interpolated over lambda: `DPMMultistep` with 2h
    in the exponent. Without looking back it is the posterior q(x_s | x_t, x0), so DDPM with the small variance.

    Three points are k-diffusion's (Crowson 2023), whose second step, where there are two to look at, integrates the
    line through them exactly, gain M_1 D_1; with two points it is the authors' gain M_0 / 2 D_1 in every step.

    Args:
        points: 1, 2 or 3, how many evaluations a step looks at.
    """

    points: Literal[1, 2, 3] = 2

    @property
    def order(self) -> int:
        """Of the output's distribution; three points, as coded by the authors, do not make it 3 (see `look_back`)."""
        return min(self.points, 2)

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: History, noise: Noise
    ) -> tuple[Batch, History]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        h = half_log_snr(q_s) - half_log_snr(q_t)
        state = remember(state, half_log_snr(q_t), prediction.x0, self.points)
        post = posterior(q_s, q_t)
        x_s = posterior_mean(prediction.x0, x, post)
        if len(state) > 1 and math.isfinite(h):
            gain, a = 2 * DATA.gain(q_s, h), -2 * h
            if len(state) < self.points:
                line = weights(gain, a, [(place - state[0][0]) / h for place, _ in state[1:]])
                x_s = x_s + differences(line, [value for _, value in state[1:]], prediction.x0)
            else:
                x_s = x_s + look_back(gain, a, h, state)
        if s > 0:
            x_s = x_s + expand(post.variance.sqrt(), x) * noise.like(x)
        return x_s, state
