"""The steps of students: networks that learned where a walk ends, and not E[x0 | x_t]. No others can walk by them.

A student of halving walks by plain `DDIM`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class Renoise:
    """The sampler of consistency models (Song et al. 2023, algorithm 1, https://arxiv.org/abs/2303.01469).

    x_s = alpha_s x0 + sigma_s (sqrt(1 - g^2) eps + g z),   z ~ N(0, I)

    Args:
        fresh: g in [0, 1]: 1 takes new noise in every step, 0 is DDIM.
    """

    fresh: float = 1.0
    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        prediction, q_s = denoiser(x, t), denoiser.schedule(s)
        eps = prediction.eps
        if self.fresh and s > 0:
            kept = torch.tensor(1 - self.fresh**2, dtype=torch.float64).sqrt()
            eps = expand(kept, x) * eps + self.fresh * noise.like(x)
        return expand(q_s.alpha, x) * prediction.x0 + expand(q_s.sigma, x) * eps, None


@dataclass(frozen=True)
class JumpStep:
    """DDIM's step with a denoiser that is told where it ends: x_s = alpha_s x0 + sigma_s eps of D(x_t, t, until=s)."""

    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        prediction, q_s = denoiser(x, t, until=s), denoiser.schedule(s)
        return expand(q_s.alpha, x) * prediction.x0 + expand(q_s.sigma, x) * prediction.eps, None
