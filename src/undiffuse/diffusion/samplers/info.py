"""What a sampler costs and promises, and a way to check it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.schedules import Schedule


@dataclass(frozen=True)
class SamplerInfo:
    """One line about a sampler.

    Args:
        name: what the user types.
        order: order of convergence in the step size (of the output's distribution where the sampler is stochastic).
        evaluations_per_step: network evaluations that a step takes; None where the sampler decides as it goes.
        stochastic: whether it draws noise on the way.
        note: when to use it.
    """

    name: str
    order: int
    evaluations_per_step: int | None
    stochastic: bool
    note: str


class CountingDenoiser:
    """A denoiser that counts its evaluations: ``counting.evaluations`` after a walk is what the walk cost."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.evaluations = 0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Float[Tensor, "*batch"], **conditions: Tensor) -> Prediction:
        self.evaluations += 1
        return self.denoiser(x_t, t, **conditions)
