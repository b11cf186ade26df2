"""The model's step back, p(x_s | x_t) = N(mean, variance): sampling draws from it, the bound is made of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import Batch, Marginal, expand, posterior, posterior_mean, transition
from undiffuse.errors import UndiffuseError

Variance = Literal["small", "large", "learned"]


def reverse_mean(prediction: Prediction, x_t: Batch, q_s: Marginal, q_t: Marginal) -> Batch:
    """The mean of q(x_s | x_t, x0) at the predicted x0 (Ho et al. 2020, eq. 11)."""
    return posterior_mean(prediction.x0, x_t, posterior(q_s, q_t))


def reverse_log_variance(
    variance: Variance, prediction: Prediction, q_s: Marginal, q_t: Marginal, floor: Tensor | None = None
) -> Tensor:
    """log of the variance of p(x_s | x_t), broadcasting against x_t.

    small    log beta-tilde                                     (Ho et al. 2020, section 3.2)
    large    log beta
    learned  f log beta + (1 - f) log beta-tilde, f predicted   (Nichol & Dhariwal 2021, eq. 15)

    Args:
        variance: which one.
        prediction: of the denoiser at x_t; 'learned' needs its variance_fraction.
        floor: least beta-tilde, float64, for the step to s = 0, where beta-tilde is 0 and a decoder needs more.
            As in Ho et al.'s code, 'large' takes it there too, in place of beta.

    Raises:
        UndiffuseError: 'learned' was asked of a model that did not learn it.
    """
    like = prediction.x0
    small = posterior(q_s, q_t).variance
    small = small if floor is None else small.clamp(min=floor)
    log_small = expand(small.log(), like)
    large = transition(q_s, q_t).sigma ** 2
    if variance == "large" and floor is not None:
        large = torch.where(q_s.sigma == 0, floor, large)
    log_large = expand(large.log(), like)
    if variance != "learned":
        return log_small if variance == "small" else log_large
    fraction = prediction.variance_fraction
    if fraction is None:
        raise UndiffuseError("This model did not learn its variance; use `variance=small` or large")
    return fraction * log_large + (1 - fraction) * log_small
