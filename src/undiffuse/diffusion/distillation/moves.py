"""Moves from x_t to an earlier x_s, and the pair of data and noise that a move implies.

DDIM's step moves along the line on which x0 and eps stay as they are,

    x_s = alpha_s x0 + sigma_s eps,

so any x_s that somebody reached from x_t, by however many steps, is one step of exactly one pair:

    x~ = (x_s - k x_t) / (alpha_s - k alpha_t),   k = sigma_s / sigma_t
    e~ = (x_t - alpha_t x~) / sigma_t

At s = 0 this is x~ = x_s, with no case of its own. A student that answers with (x~, e~) takes in one step the way that
its teacher took in many (Salimans & Ho 2022, appendix G, https://arxiv.org/abs/2202.00512).
"""

from __future__ import annotations

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import Batch, Marginal, expand


def move(prediction: Prediction, q_s: Marginal) -> Batch:
    """x_s = alpha_s x0 + sigma_s eps: where DDIM's step ends."""
    return expand(q_s.alpha, prediction.x0) * prediction.x0 + expand(q_s.sigma, prediction.x0) * prediction.eps


def implied(x_t: Batch, x_s: Batch, q_t: Marginal, q_s: Marginal) -> tuple[Batch, Batch]:
    """(x~, e~), whose DDIM step takes x_t to x_s; s < t."""
    k = q_s.sigma / q_t.sigma
    length = q_s.alpha - k * q_t.alpha
    x0 = expand(1 / length, x_t) * x_s - expand(k / length, x_t) * x_t
    return x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t)
