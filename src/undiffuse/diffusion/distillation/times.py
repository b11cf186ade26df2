"""The laws that a student's t is drawn by, and the walk that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undiffuse.diffusion.losses.time_sampling import TimeLaw
from undiffuse.diffusion.schedules import DiscreteSchedule, Schedule

Walk = tuple[float, ...]
"""Times of a walk from noise to data, the 0 at its end left out: t_1 > ... > t_N > 0."""


def trained_times(schedule: Schedule, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The nearest times at which a network can be asked: whole numbers 1..T on a discrete chain."""
    return (t.round() if isinstance(schedule, DiscreteSchedule) else t).clamp(schedule.t_min, schedule.t_max)


def position(walk: Walk, t: Float[Tensor, "batch"]) -> Int[Tensor, "batch"]:
    """k with t = walk[k], for each of the times of a batch, which are on the walk."""
    return (t.cpu()[:, None] - torch.tensor(walk, dtype=torch.float64)).abs().argmin(1)


def at(walk: Walk, k: Int[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """walk[k], and 0 beyond its end."""
    return torch.tensor((*walk, 0.0), dtype=torch.float64)[k.clamp(max=len(walk))]


@dataclass(frozen=True)
class OnGrid(TimeLaw):
    """t is one of a few times.

    Args:
        times: which.
        weights: how often, in proportion; all alike where there are none.
    """

    times: Walk
    weights: Sequence[float] = ()

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        share = torch.tensor(self.weights or (1.0,) * len(self.times), dtype=torch.float64).cumsum(0)
        # Stratified: the k-th of the batch has its own stretch of u, so a time of share p is in it p batch +- 2 times.
        u = (torch.arange(batch) + torch.rand(batch, generator=generator, dtype=torch.float64)) / batch
        chosen = torch.searchsorted(share / share[-1], u[torch.randperm(batch, generator=generator)], right=True)
        return torch.tensor(self.times, dtype=torch.float64)[chosen.clamp(max=len(self.times) - 1)]


@dataclass(frozen=True)
class LogNormalRatio(TimeLaw):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022, table 1, where it is ln sigma).

    Args:
        mean, std: of ln(sigma / alpha), as they are. The mean of papers, -1.1 for consistency (Geng et al. 2024),
            is for data of standard deviation 0.5; of other data it is ln(2 std) more.
        first: no t is later than that; what would be is at it. At the end of a cosine chain sigma / alpha is 20,000,
            which no usual law draws.
        own, share: times at which samples will be drawn, and the part of all draws that are taken from them alike.
    """

    mean: float
    std: float
    first: float
    own: Walk = ()
    share: float = 0.0

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        ratio = self.mean + self.std * torch.randn(batch, generator=generator, dtype=torch.float64)
        t = trained_times(schedule, schedule.inverse_log_snr(-2 * ratio).clamp(max=self.first))
        if not self.share:
            return t
        dice, which = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        return torch.where(dice < self.share, at(self.own, (which * len(self.own)).long()), t)
