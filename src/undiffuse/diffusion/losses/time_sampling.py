"""How training draws t."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.schedules import Schedule


class TimeLaw(ABC):
    """The distribution of t in training. A law that learns from the losses overrides the three methods below `draw`."""

    @abstractmethod
    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        """``batch`` times in (0, t_max], float64; integers 1..T on a discrete chain."""

    def weight(self, t: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """Factor on the loss at t. 1 unless drawing some t more often must not change what is minimised."""
        return torch.ones_like(t)

    def observe(self, t: Float[Tensor, "batch"], losses: Float[Tensor, "batch"]) -> None:  # noqa: B027
        """Learn from the losses of a step, unweighted, on the CPU."""

    def tensors(self) -> dict[str, Tensor]:
        """The learned state, to be saved and written back in place."""
        return {}


@dataclass(frozen=True)
class Uniform(TimeLaw):
    """Every t equally often, independently (Ho et al. 2020, algorithm 1)."""

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        return schedule.from_uniform(torch.rand(batch, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class Stratified(TimeLaw):
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
class LogitNormal(TimeLaw):
    """t / t_max = sigmoid(mean + std n), n ~ N(0, 1): the middle more often than the ends (Esser et al. 2024, eq. 19).

    Args:
        mean, std: of the logit.
        uniform: share of draws that are uniform instead. The law all but forgets its tails, and a network that never
            saw little noise leaves some in the picture.
    """

    mean: float = 0.0
    std: float = 1.0
    uniform: float = 0.0

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        normal = torch.randn(batch, generator=generator, dtype=torch.float64)
        u = torch.sigmoid(self.mean + self.std * normal)
        if self.uniform:
            share, even = torch.rand(2, batch, generator=generator, dtype=torch.float64)
            u = torch.where(share < self.uniform, even, u)
        return schedule.from_uniform(u)


class LossSecondMoment(TimeLaw):
    """Each t in proportion to the size of its loss, weighted so that the mean stays what it was.

    p(t) = sqrt(E[L_t^2]) / sum, over the last ``history`` losses of each t;   weight = 1 / (T p(t))

    (Nichol & Dhariwal 2021, eq. 18.) The terms of the variational bound differ by orders of magnitude, and drawn evenly
    they drown the gradient in noise. Until every t has its ``history`` losses, t is uniform.

    Args:
        T: length of the chain.
        history: losses remembered for each t.
        uniform: share of draws that stays uniform, so that no t is forgotten.
    """

    def __init__(self, T: int, history: int = 10, uniform: float = 0.001) -> None:
        self.uniform = uniform
        self.losses = torch.zeros(T, history, dtype=torch.float64)
        self.counts = torch.zeros(T, dtype=torch.int64)

    def probability(self) -> Float[Tensor, "steps"]:
        """p(t) of t = 1..T."""
        T, history = self.losses.shape
        even = torch.full((T,), 1 / T, dtype=torch.float64)
        if int(self.counts.min()) < history:
            return even
        size = self.losses.square().mean(1).sqrt()
        return (1 - self.uniform) * size / size.sum() + self.uniform * even

    def draw(self, schedule: Schedule, batch: int, generator: torch.Generator) -> Float[Tensor, "batch"]:
        return 1 + torch.multinomial(self.probability(), batch, replacement=True, generator=generator).double()

    def weight(self, t: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        return 1 / (len(self.counts) * self.probability()[t.long() - 1])

    def observe(self, t: Float[Tensor, "batch"], losses: Float[Tensor, "batch"]) -> None:
        for index, loss in zip((t.long() - 1).tolist(), losses.tolist(), strict=True):
            self.losses[index, self.counts[index] % self.losses.shape[1]] = loss
            self.counts[index] += 1

    def tensors(self) -> dict[str, Tensor]:
        return {"losses": self.losses, "counts": self.counts}
