"""A denoiser with its conditions filled in, so that samplers, previews and likelihoods need not know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times
from undiffuse.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Conditioned:
    """D(x_t, t) = D'(x_t, t, **conditions).

    Args:
        denoiser: of a conditional model.
        conditions: one tensor a name, its first axis the batch.
    """

    denoiser: Denoiser
    conditions: Mapping[str, Tensor]

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        return self.denoiser(x_t, t, **{**self.conditions, **conditions})
