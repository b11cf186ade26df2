"""The score-SDE samplers: a discretised reverse SDE, and the same with Langevin corrections."""

from __future__ import annotations

import math
from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand, transition
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class EulerMaruyama:
    """Euler-Maruyama for the reverse SDE (Song et al. 2021, eq. 6 and appendix E, https://arxiv.org/abs/2011.13456).

    dx = (f x - g^2 score) dt + g dw,   score = -eps / sigma

    x_s = x_t + (1 - alpha_ts) x_t - sigma_ts^2 / sigma_t eps + sigma_ts z,   z ~ N(0, I)

    A step's drift and noise are those of the forward step q(x_t | x_s) = N(alpha_ts x_s, sigma_ts^2 I): this is the
    paper's reverse diffusion sampler, (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z on a VP chain and
    x + (sigma_t^2 - sigma_s^2) score + ... on VE; it holds for every schedule, needs no derivative of it and is finite
    at pure noise. The step to data is the x0 prediction without noise.
    """

    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        if s == 0:
            return prediction.x0, None
        forward = transition(q_s, q_t)
        drift = expand(1 - forward.alpha, x) * x - expand(forward.sigma**2 / q_t.sigma, x) * prediction.eps
        return x + drift + expand(forward.sigma, x) * noise.like(x), None


@dataclass(frozen=True)
class PredictorCorrector:
    """A step of the reverse SDE, then Langevin steps that stay at s (Song et al. 2021, algorithms 2-5).

    x <- x - (step / sigma_s) eps(x, s) + sqrt(2 step) z,   step = 2 (snr sigma_s)^2

    The paper sets the step by the norms of z and of the score over the batch, which makes an image depend on its
    neighbours; at the true score the ratio of these norms is sigma_s, which is used here. There is nothing to correct
    at s = 0. 1 + corrections evaluations a step.

    Args:
        snr: the paper's r, the size of a Langevin step relative to the noise; 0.16 there.
        corrections: Langevin steps after each predictor step.
    """

    snr: float = 0.16
    corrections: int = 1
    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        x, _ = EulerMaruyama().step(denoiser, x, t, s, None, noise)
        if s == 0:
            return x, None
        sigma = float(denoiser.schedule(s).sigma)
        size = 2 * (self.snr * sigma) ** 2
        for _ in range(self.corrections):
            x = x - size / sigma * denoiser(x, s).eps + math.sqrt(2 * size) * noise.like(x)
        return x, None
