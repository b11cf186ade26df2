"""How training draws t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.config import ObjectiveConfig
from undiffuse.schedule import Schedule


@runtime_checkable
class TimeLaw(Protocol):
    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        """``batch`` times in (0, t_max], float64; integers 1..T on a discrete chain."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every t equally often, independently (Ho et al. 2020, algorithm 1)."""

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        return schedule.from_uniform(torch.rand(batch, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class Stratified:
    """Every t equally often, spread evenly over the batch: less variance in the loss for nothing
    (Kingma et al. 2021, appendix I.1).

    u_i = (i + u) / batch,   u ~ U[0, 1)
    """

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        u = (torch.arange(batch, dtype=torch.float64) + offset) / batch
        # Shuffled, so that the parts of an accumulated batch see all noise levels alike.
        return schedule.from_uniform(u[torch.randperm(batch, generator=generator)])


@dataclass(frozen=True)
class LogitNormal:
    """t / t_max = sigmoid(mean + std n), n ~ N(0, 1): the middle more often than the ends
    (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: float = 1.0

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        normal = torch.randn(batch, generator=generator, dtype=torch.float64)
        return schedule.from_uniform(torch.sigmoid(self.mean + self.std * normal))


def make_time_law(config: ObjectiveConfig) -> TimeLaw:
    """The law that a configuration names."""
    laws: dict[str, TimeLaw] = {
        "uniform": Uniform(),
        "stratified": Stratified(),
        "logit-normal": LogitNormal(config.logit_mean, config.logit_std),
    }
    return laws[config.time_law]
