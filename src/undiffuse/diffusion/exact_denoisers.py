"""Denoisers that are exactly right, because the distribution of their data is known.

They are the oracle that samplers, guidance and likelihoods are tested against, and the toy that shows what a
perfectly trained network would do: with the images of a data set as means and std = 0, it can only give those images
back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Prediction, times_of
from undiffuse.diffusion.gaussian import Batch, Times, expand
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class MixtureDenoiser:
    """The posterior mean for data from a mixture of equal, round Gaussians, x0 ~ sum_k w_k N(mu_k, std^2 I).

    q(x_t | k)     = N(alpha mu_k, v I),   v = alpha^2 std^2 + sigma^2
    E[x0 | x_t, k] = mu_k + alpha std^2 / v (x_t - alpha mu_k)
    E[eps| x_t, k] = sigma / v (x_t - alpha mu_k)

    averaged over k with the responsibilities p(k | x_t), a softmax of log w_k - |x_t - alpha mu_k|^2 / (2 v).

    Args:
        schedule: the process.
        means: (components, *shape); one row is a Gaussian, the rows of a data set with std = 0 its ideal denoiser.
        std: standard deviation of every component, at least 0.
        weights: (components,), positive; equal if not given.
    """

    schedule: Schedule
    means: Float[Tensor, "components *shape"]
    std: float = 0.0
    weights: Float[Tensor, "components"] | None = None

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = times_of(self.schedule, t, x_t)
        q_t = self.schedule(t)
        variance = (q_t.alpha * self.std) ** 2 + q_t.sigma**2
        means = self.means.to(x_t)
        alpha, v = expand(q_t.alpha, x_t), expand(variance, x_t).clamp(min=torch.finfo(x_t.dtype).tiny)
        gap = x_t[:, None] - (alpha.unsqueeze(1) if t.ndim else alpha) * means
        distance = gap.flatten(2).square().sum(-1)
        nearest = distance.amin(1, keepdim=True)  # at data itself, with std = 0, all the others are infinitely unlikely
        logits = (nearest - distance) / (2 * v.reshape(-1, 1))
        if self.weights is not None:
            logits = logits + self.weights.log().to(x_t)
        responsibility = torch.softmax(logits, dim=1)
        gap = torch.einsum("bk,bk...->b...", responsibility, gap)
        mean = torch.einsum("bk,k...->b...", responsibility, means)
        x0 = mean + alpha * self.std**2 / v * gap
        return Prediction(x0, expand(q_t.sigma, x_t) / v * gap)


def gaussian_denoiser(
    schedule: Schedule, shape: tuple[int, ...] = (1,), mean: float = 0.0, std: float = 0.5
) -> MixtureDenoiser:
    """The exact denoiser of x0 ~ N(mean, std^2 I)."""
    return MixtureDenoiser(schedule, torch.full((1, *shape), mean, dtype=torch.float64), std)


class BasisNoise(Noise):
    """Noise whose k-th draw is 1 in row k of the batch and 0 elsewhere; row 0 is left to the start.

    On Gaussian data a sampler is linear in its start x_T and in its noises e_k, x = a_0 x_T + sum_k a_k e_k. A batch of
    zeros but for the start's standard deviation in row 0 ends as the a_k, row by row: the sum of their squares is the
    exact variance of what the sampler draws.
    """

    def __init__(self) -> None:
        self.draws = 0

    def like(self, x: Batch) -> Batch:
        self.draws += 1
        return torch.zeros_like(x).index_fill_(0, torch.tensor(self.draws), 1.0)
