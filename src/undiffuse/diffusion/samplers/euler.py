"""Euler's method in Karras et al.'s variables, and its ancestral variant."""

from __future__ import annotations

from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand
from undiffuse.diffusion.samplers.exponential import euler_step
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class Euler:
    """Euler's method for the probability-flow ODE (Karras et al. 2022, eq. 4, https://arxiv.org/abs/2206.00364).

    In y = x / alpha and r = sigma / alpha the ODE is dy / dr = eps, so a step is

    y_s = y_t + (r_s - r_t) eps,   that is   x_s = alpha_s x0 + sigma_s eps:

    DDIM with eta = 0. The two names are one rule.
    """

    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        return euler_step(denoiser(x, t), denoiser.schedule(s)), None


@dataclass(frozen=True)
class EulerAncestral:
    """An Euler step that overshoots to r_down, and noise that brings it back (Crowson 2022, k-diffusion).

    r_up^2   = r_s^2 (1 - r_s^2 / r_t^2)          r_down^2 = r_s^2 - r_up^2
    y_s      = y_t + (r_down - r_t) eps + r_up z,   z ~ N(0, I)

    In these variables r_up^2 is beta-tilde, so this is DDIM with eta = 1, which is DDPM with the small variance. Three
    names for one rule.
    """

    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        shrink = (q_t.alpha * q_s.sigma) / (q_s.alpha * q_t.sigma)  # r_s / r_t, and 0 at pure noise
        down, up = q_s.sigma * shrink, q_s.sigma * (1 - shrink**2).sqrt()
        x_s = euler_step(denoiser(x, t), q_s._replace(sigma=down))
        if s > 0:
            x_s = x_s + expand(up, x) * noise.like(x)
        return x_s, None
