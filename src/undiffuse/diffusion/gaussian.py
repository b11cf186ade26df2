"""The forward process and its Gaussians: the file to read first, with Ho et al. 2020 beside it.

Everything a diffusion model computes follows from one line. Noise is mixed into data,

    q(x_t | x0) = N(alpha_t x0, sigma_t^2 I),

and because each x_t is Gaussian given x0, so is every step between two times s < t, forwards and backwards. The
functions below are those Gaussians; they know two marginals ``(alpha, sigma)`` and nothing of schedules, networks or
data.

Notation (the field's worst trap):

| here               | means                                   | Ho et al. 2020                 | Karras et al. 2022  |
|--------------------|-----------------------------------------|--------------------------------|---------------------|
| `x0`, `x_t`, `x_s` | data, noisy data at t, at an earlier s  | x_0, x_t, x_{t-1}              | y, x                |
| `eps`              | the standard normal noise in x_t        | epsilon                        | n / sigma           |
| `alpha`, `sigma`   | x_t = alpha x0 + sigma eps              | sqrt(abar_t), sqrt(1 - abar_t) | s(t), s(t) sigma(t) |
| `beta`             | variance of one step of a discrete chain| beta_t                         |                     |
| `log_snr`          | log(alpha^2 / sigma^2)                  |                                | -2 log sigma        |
| schedule           | the curve t -> (alpha, sigma)           |                                |                     |
| timesteps          | the grid of a sampler, t_N > ... > 0    |                                |                     |
| sampler            | the rule for one step t -> s            | "sampling algorithm"           | "solver"            |

t = 0 is data. Coefficients are float64 on the CPU, of shape () or (batch,); they meet the data last, in `expand`.

References:
    Ho, Jain & Abbeel 2020, "Denoising Diffusion Probabilistic Models", https://arxiv.org/abs/2006.11239
    Kingma, Salimans, Poole & Ho 2021, "Variational Diffusion Models", https://arxiv.org/abs/2107.00630 (any s < t)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undiffuse.runtime.devices import send

Batch = Float[Tensor, "batch *shape"]
"""Samples, noise or predictions in model space, usually (batch, channels, *spatial)."""

Time = Float[Tensor, ""]
"""One time, float64 on the CPU."""


Times = Float[Tensor, "*batch"] | Int[Tensor, "*batch"] | float | int
"""One time, or one for each sample."""


def as_times(t: Times) -> Float[Tensor, "*batch"]:
    """Times of any honest type, 501 or a tensor of integers, as schedules have them: float64 on the CPU."""
    if isinstance(t, Tensor) and t.is_floating_point():
        return t
    return torch.as_tensor(t, dtype=torch.float64, device="cpu")


class Marginal(NamedTuple):
    """The two numbers of q(x_t | x0) = N(alpha x0, sigma^2 I), float64, shape () or (batch,)."""

    alpha: Float[Tensor, "*batch"]
    sigma: Float[Tensor, "*batch"]

    @property
    def log_snr(self) -> Float[Tensor, "*batch"]:
        """log(alpha^2 / sigma^2): +inf for clean data, -inf for pure noise."""
        return 2.0 * (self.alpha.log() - self.sigma.log())

    @property
    def snr(self) -> Float[Tensor, "*batch"]:
        """alpha^2 / sigma^2, the signal-to-noise ratio."""
        return (self.alpha / self.sigma) ** 2


class Posterior(NamedTuple):
    """q(x_s | x_t, x0) = N(x0_weight x0 + xt_weight x_t, variance I)."""

    x0_weight: Float[Tensor, "*batch"]
    xt_weight: Float[Tensor, "*batch"]
    variance: Float[Tensor, "*batch"]


def expand(coefficient: Tensor, like: Tensor) -> Tensor:
    """A coefficient of shape () or (batch,) in the dtype and on the device of ``like``, shaped to multiply it."""
    # The dtype changes first: some devices have no float64.
    coefficient = send(coefficient.to(like.dtype), like.device)
    return coefficient.reshape(coefficient.shape + (1,) * (like.ndim - 1)) if coefficient.ndim else coefficient


def q_sample(x0: Batch, eps: Batch, q_t: Marginal) -> Batch:
    """Draw x_t given x0 in one step (Ho et al. 2020, eq. 4).

    x_t = alpha_t x0 + sigma_t eps,   eps ~ N(0, I)
    """
    return expand(q_t.alpha, x0) * x0 + expand(q_t.sigma, x0) * eps


def transition(q_s: Marginal, q_t: Marginal) -> Marginal:
    """One forward step q(x_t | x_s) = N(alpha_ts x_s, sigma_ts^2 I) for s < t (Kingma et al. 2021, eq. 20-21).

    alpha_ts   = alpha_t / alpha_s
    sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2

    For neighbours of the discrete chain these are sqrt(1 - beta_t) and beta_t (Ho et al. 2020, eq. 2). Draw with
    ``q_sample(x_s, noise, transition(q_s, q_t))``.
    """
    # sigma_ts^2 = sigma_t^2 (1 - SNR_t / SNR_s): expm1 keeps the digits that the difference of squares loses when s is
    # near t.
    variance = -(q_t.sigma**2) * torch.expm1(q_t.log_snr - q_s.log_snr)
    return Marginal(q_t.alpha / q_s.alpha, variance.sqrt())


def posterior(q_s: Marginal, q_t: Marginal) -> Posterior:
    """The step back when x0 is known, q(x_s | x_t, x0), for any s < t (Ho et al. 2020, eq. 6-7).

    mean     = alpha_s sigma_ts^2 / sigma_t^2  x0  +  alpha_ts sigma_s^2 / sigma_t^2  x_t
    variance = sigma_ts^2 sigma_s^2 / sigma_t^2          ("beta-tilde")
    """
    step = transition(q_s, q_t)
    forgotten = (step.sigma / q_t.sigma) ** 2  # the share of x_t's noise that this step added
    kept = (q_s.sigma / q_t.sigma) ** 2
    return Posterior(q_s.alpha * forgotten, step.alpha * kept, step.sigma**2 * kept)


def posterior_mean(x0: Batch, x_t: Batch, post: Posterior) -> Batch:
    """The mean of q(x_s | x_t, x0) at an x0, known or predicted."""
    return expand(post.x0_weight, x_t) * x0 + expand(post.xt_weight, x_t) * x_t


def kl(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)) per element, in nats; the arguments broadcast.

    KL = 1/2 (log v2 - log v1 + v1/v2 - 1 + (mean_1 - mean_2)^2 / v2)
    """
    gap = log_variance_1 - log_variance_2
    # expm1(gap) - gap is v1/v2 - 1 - log(v1/v2) without the cancellation when the variances are close.
    return 0.5 * (torch.expm1(gap) - gap + (mean_1 - mean_2) ** 2 * torch.exp(-log_variance_2))


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor, levels: int = 256) -> Tensor:
    """log p(x | mean, std) of integer data seen as bins of a Gaussian (Ho et al. 2020, eq. 13), per element, in nats.

    p(x) = Phi((x + d - mean) / std) - Phi((x - d - mean) / std),   d = 1 / (levels - 1)

    where the outermost bins reach to infinity, so that the ``levels`` probabilities sum to one.

    Args:
        x: data on the grid -1, -1 + 2d, ..., 1 (8-bit values v are 2 v / 255 - 1); other values are undefined
        behaviour.
        mean, log_std: of the Gaussian; they broadcast against x.
        levels: number of grid values, 256 for 8-bit data.
    """
    home = x.device
    if home.type == "mps":  # which has no float64, and float32 loses the narrow bins of 16-bit data
        x, mean, log_std = x.cpu(), mean.cpu(), log_std.cpu()
    x, mean, log_std = (a.double() for a in (x, mean, log_std))
    half = 1.0 / (levels - 1)
    upper = (x + half - mean) * torch.exp(-log_std)
    lower = (x - half - mean) * torch.exp(-log_std)
    upper = torch.where(x > 1 - half, math.inf, upper)
    lower = torch.where(x < -1 + half, -math.inf, lower)
    # Phi(u) - Phi(l) = Phi(-l) - Phi(-u): work in the left tail, where log Phi keeps its digits.
    right = lower > 0
    upper, lower = torch.where(right, -lower, upper), torch.where(right, -upper, lower)
    log_upper = torch.special.log_ndtr(upper)
    log_lower = torch.special.log_ndtr(lower)
    log_probability: Tensor = log_upper + torch.log(-torch.expm1(log_lower - log_upper))
    return log_probability if home.type != "mps" else log_probability.float().to(home)
