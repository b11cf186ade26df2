"""DDIM: the same model with as much or as little noise as you like, down to none."""

from __future__ import annotations

from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time, expand, posterior
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class DDIM:
    """Denoising diffusion implicit models (Song, Meng & Ermon 2021, eq. 12, https://arxiv.org/abs/2010.02502).

    x_s = alpha_s x0 + sqrt(sigma_s^2 - tau^2) eps + tau z,   tau^2 = eta^2 beta-tilde,   z ~ N(0, I)

    The rule has other names. In y = x / alpha and r = sigma / alpha the probability-flow ODE is dy / dr = eps (Karras
    et al. 2022, eq. 4, https://arxiv.org/abs/2206.00364), and its Euler step y_s = y_t + (r_s - r_t) eps is eta = 0,
    which is DPM-Solver of first order, too. The ancestral step of k-diffusion (Crowson 2022),

    y_s = y_t + (r_down - r_t) eps + r_up z,   r_up^2 = r_s^2 (1 - r_s^2 / r_t^2),   r_down^2 = r_s^2 - r_up^2,

    is eta = 1, for r_up^2 is beta-tilde in these variables.

    Args:
        eta: 0 is deterministic, a first-order solver of the probability-flow ODE; 1 is DDPM with the small variance.
    """

    eta: float = 0.0
    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        added = self.eta**2 * posterior(q_s, q_t).variance
        kept = (q_s.sigma**2 - added).clamp(min=0)  # eta > 1 may ask for more noise than x_s has
        x_s = expand(q_s.alpha, x) * prediction.x0 + expand(kept.sqrt(), x) * prediction.eps
        if self.eta > 0 and s > 0:
            x_s = x_s + expand(added.sqrt(), x) * noise.like(x)
        return x_s, None
