"""Objectives of few-step models that learn from data alone: jumps of two halves, and mean velocities.

They are losses of the package's trainer as those of `undiffuse.diffusion.distillation` are, and each knows its law of
t. A network is told the time at which its step ends as a `jump` student is, and draws by the sampler of those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.distillation import OnGrid, implied
from undiffuse.diffusion.distillation.progressive import follow
from undiffuse.diffusion.distillation.teacher import UNTIL
from undiffuse.diffusion.distillation.times import Walk, at, position
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.guidance.threshold import Clip
from undiffuse.diffusion.losses import LogitNormal, Objective, TimeLaw
from undiffuse.diffusion.losses.simple import noise_and_predict
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.devices import send


@dataclass(frozen=True)
class FirstRows(TimeLaw):
    """The first rows of a batch have their times by one law, the others by another.

    Args:
        share: of the batch, those that are first.
    """

    first: TimeLaw
    others: TimeLaw
    share: float

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Tensor:
        count = round(self.share * batch)
        parts = self.first.draw(schedule, count, generator), self.others.draw(schedule, batch - count, generator)
        return torch.cat(parts)


@dataclass(frozen=True)
class Shortcut:
    """Jumps that are learned from nobody: G(x_t, t, s) = alpha_s x0 + sigma_s eps of the network's pair, told s.

    The shortest jumps, from a time of the walk to the next, have the data's own (x0, eps) as their target, whose mean
    is DDIM's step. A longer one has the pair that two of its own jumps of half the length imply.

    Args:
        objective: the distance.
        walk: the times of the shortest jumps.
        averaged: who makes the two jumps, usually the averaged weights; None: those that are learning.
        share: part of a batch that learns longer jumps, its first rows.
        clipped: x0 of the two jumps is clipped to [-1, 1], as when samples are drawn.
    """

    objective: Objective
    walk: Walk
    averaged: Denoiser | None = None
    share: float = 0.25
    clipped: bool = True

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of longer jumps from noise to data: 1, 2, 4, .., half of the shortest."""
        return tuple(1 << k for k in range(int(math.log2(len(self.walk)))))

    def law(self) -> TimeLaw:
        """Each number of longer jumps equally often, and each jump of a number, as in the paper."""
        starts = self.walk[:: len(self.walk) // max(self.counts)]
        weights = self._shares(position(self.walk, torch.tensor(starts, dtype=torch.float64))).sum(1).tolist()
        return FirstRows(OnGrid(starts, weights), OnGrid(self.walk), self.share)

    def _shares(self, place: Tensor) -> Tensor:
        """How often each number of jumps has one that starts there, (places, numbers): 1 over the number, or never."""
        counts = torch.tensor(self.counts)
        return (place[:, None] % (len(self.walk) // counts) == 0) / counts.double()

    def draw(self, schedule: Schedule, t: Tensor, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        first, strides = position(self.walk, t), len(self.walk) // torch.tensor(self.counts)
        longer = round(self.share * len(t))
        stride = torch.ones(len(t), dtype=torch.int64)
        if longer:
            chosen = torch.multinomial(self._shares(first[:longer]), 1, generator=generator)[:, 0]
            stride[:longer] = strides[chosen]
        return {UNTIL: at(self.walk, first + stride)}

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Tensor,
        eps: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        x0, eps = kept(x0, mask), kept(eps, mask)
        schedule, told = denoiser.schedule, dict(conditions or {})
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, told)
        s = told.pop(UNTIL).to(t)
        first, last = position(self.walk, t), position((*self.walk, 0.0), s)
        longer = last - first > 1
        target_x0, target_eps = x0.clone(), eps.clone()
        if longer.any():
            there, parts = _rows(longer, x_t, told, mask)
            times = [at(self.walk, place[longer]) for place in (first, (first + last) // 2, last)]
            jumper = self.averaged or denoiser
            jumper = Clip(jumper) if self.clipped else jumper
            x_s = follow(jumper, x_t[there], times, *parts, tells_end=True)
            target_x0[there], target_eps[there] = implied(x_t[there], x_s, schedule(times[0]), schedule(times[-1]))
        return self.objective.error(prediction, schedule, target_x0, t, target_eps, mask)


def _rows(
    chosen: Tensor, x: Tensor, told: Mapping[str, Tensor], mask: Tensor | None
) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor | None]]:
    """The chosen rows of a batch where x is: which, and their conditions and mask."""
    here = {name: value[send(chosen, value.device)] for name, value in told.items()}
    return send(chosen, x.device), (here, None if mask is None else mask[send(chosen, mask.device)])


def velocity(prediction: Prediction) -> Tensor:
    """dx/dt = eps - x0 of the straight line x_t = (1 - t) x0 + t eps."""
    return prediction.eps - prediction.x0


@torch.no_grad()
def derivative(
    denoiser: Denoiser,
    x_t: Tensor,
    v: Tensor,
    t: Tensor,
    r: Tensor,
    told: Mapping[str, Tensor] | None = None,
    width: float = 0.005,
) -> Tensor:
    """v . grad_x u + d_t u of the mean velocity u(x_t, t, r), by a central difference along v, to O(width^2).

    Two evaluations, as a forward derivative costs, which the quick convolutions of one thread do not have. Neither is
    before r or after pure noise, where nobody ever asks; there the difference is one-sided.
    """
    later, earlier = (t + width).clamp(max=denoiser.schedule.t_max), torch.maximum(t - width, r)

    def u(moment: Tensor) -> Tensor:
        return velocity(denoiser(x_t + expand(moment - t, v) * v, moment, **{**(told or {}), UNTIL: r}))

    return (u(later) - u(earlier)) / expand(later - earlier, v)


@dataclass(frozen=True)
class MeanFlow:
    """The mean velocity u(x_t, t, r) = (x_t - x_r) / (t - r) on the straight line, by the identity

        u = v - (t - r) (v . grad_x u + d_t u),   v = u(x_t, t, t)

    whose right side, without gradients and with v = eps - x0 of the sample, is the target. A step is x_r = x_t -
    (t - r) u, which is DDIM's of the pair x0 = x_t - t u, eps = x_t + (1 - t) u.

    loss = mean of (u - target)^2 over the values / sg(|u - target|^2 + c)^power

    Args:
        own: the derivative is taken along the network's own v, which has no noise of the sample. The gradient of
            |u + (t - r) sg(du/dt) - v|^2, as improved MeanFlow is written, is this one.
        share: of samples with r < t; for the others u = v.
        to_data: of those, how many have r = 0; the others have r ~ U[0, t].
        width: of half the difference.
    """

    own: bool = False
    share: float = 0.5
    to_data: float = 0.5
    width: float = 0.005
    power: float = 0.75
    c: float = 1e-3

    def law(self) -> TimeLaw:
        """logit t ~ N(0, 1.6^2), for CIFAR-10's -0.6 is for data of half the deviation; and a few anywhere."""
        return LogitNormal(0.0, 1.6, 0.15)

    def draw(self, schedule: Schedule, t: Tensor, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        apart, whole, part = torch.rand(3, len(t), generator=generator, dtype=torch.float64)
        r = torch.where(whole < self.to_data, 0.0, part * t)
        return {UNTIL: torch.where(apart < self.share, r, t)}

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Tensor,
        eps: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        x0, eps = kept(x0, mask), kept(eps, mask)
        told = dict(conditions or {})
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, told)
        r = told.pop(UNTIL).to(t)
        u, target, apart = velocity(prediction), eps - x0, r < t
        if apart.any():
            there, (here, _) = _rows(apart, x_t, told, mask)
            target[there] = self.target(denoiser, x_t[there], target[there], t[apart], r[apart], here)
        error = mean_over((u - target).square(), mask)
        return error / (error.detach() * x0[0].numel() + self.c) ** self.power

    @torch.no_grad()
    def target(
        self, denoiser: Denoiser, x_t: Tensor, v: Tensor, t: Tensor, r: Tensor, told: Mapping[str, Tensor]
    ) -> Tensor:
        """v - (t - r) du/dt."""
        along = velocity(denoiser(x_t, t, **{**told, UNTIL: t})) if self.own else v
        return v - expand(t - r, v) * derivative(denoiser, x_t, along, t, r, told, self.width)
