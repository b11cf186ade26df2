"""What students and teachers are told beside x_t and t, and how a teacher is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times
from undiffuse.diffusion.losses.simple import Loss
from undiffuse.diffusion.schedules import Schedule

SINCE, UNTIL, SCALE = "since", "until", "scale"
"""Arguments that carry the times t and s between which a step lies, and the scale w of guidance."""
EARLIER = "earlier"
"""The time s < t of a pair of times; no network is told it."""
WAVES = 8
"""Sines, and cosines, that stand for one number."""


@runtime_checkable
class Drawing(Loss, Protocol):
    """A loss that draws more than x0, t and eps."""

    def draw(
        self, schedule: Schedule, t: Float[Tensor, "batch"], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Rows of a whole batch by name, float64 of (batch,), which the loss finds among its conditions.

        Args:
            t: the batch's times.
            progress: the part of the training that is done, in [0, 1).
        """
        ...


def waves(u: Float[Tensor, "batch"]) -> Float[Tensor, "batch numbers"]:
    """sin(k pi u / 2) and cos(k pi u / 2), k = 1 .. `WAVES`: a number in [0, 1] for a linear map to read."""
    angles = u.float()[:, None] * torch.arange(1, WAVES + 1, device=u.device) * (math.pi / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def until_input(schedule: Schedule, s: Float[Tensor, "batch"]) -> Float[Tensor, "batch numbers"]:
    """The `waves` of the noise level (2 / pi) atan(sigma_s / alpha_s)."""
    q_s = schedule(s)
    return waves(torch.atan2(q_s.sigma, q_s.alpha) * (2 / math.pi))


@dataclass(frozen=True)
class Scales:
    """Scales of guidance between which a student can be asked, w ~ U[low, high] while it learns."""

    low: float
    high: float

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        u = torch.rand(batch, generator=generator, dtype=torch.float64)
        return {SCALE: self.low + (self.high - self.low) * u}

    def network_input(self, schedule: Schedule, w: Float[Tensor, "batch"]) -> Float[Tensor, "batch numbers"]:
        """The `waves` of (w - low) / (high - low)."""
        return waves((w - self.low) / (self.high - self.low))


def scale_rows(scales: Scales | None, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The scales that a batch is told; nothing where guidance is no choice."""
    return {} if scales is None else scales.draw(batch, generator)


@torch.no_grad()
def ask(denoiser: Denoiser, x_t: Batch, t: Times, conditions: Mapping[str, Tensor] | None) -> Prediction:
    """The prediction of a denoiser that is asked and does not learn."""
    return denoiser(x_t, t, **(conditions or {}))
