"""Keep the predicted x0 in the range of the data: denoisers around denoisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Clip:
    """Clip the predicted x0 to [-1, 1] and re-derive eps (Ho et al. 2020, released code)."""

    denoiser: Denoiser

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        prediction = self.denoiser(x_t, t, **conditions)
        return prediction.with_x0(prediction.x0.clamp(-1, 1), x_t, self.schedule(t))


@dataclass(frozen=True)
class DynamicThreshold:
    """Clip x0 to its own quantile and scale back to [-1, 1] (Saharia et al. 2022, section 2.3, https://arxiv.org/abs/2205.11487).

    x0 <- clip(x0, -c, c) / c,   c = max(1, quantile of |x0| over one sample)

    Args:
        quantile: in (0, 1]; 0.995 in the paper's spirit. With strong guidance it keeps colours from saturating.
    """

    denoiser: Denoiser
    quantile: float = 0.995

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise UndiffuseError(f"The quantile of dynamic thresholding lies in (0, 1]; it is {self.quantile}")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        prediction = self.denoiser(x_t, t, **conditions)
        x0 = prediction.x0
        # kthvalue rather than torch.quantile, which refuses more than 16 million elements.
        flat = x0.abs().flatten(1)
        k = max(1, round(self.quantile * flat.shape[1]))
        ceiling = flat.kthvalue(k, dim=1).values.clamp(min=1).reshape(-1, *[1] * (x0.ndim - 1))
        x0 = torch.maximum(torch.minimum(x0, ceiling), -ceiling) / ceiling
        return prediction.with_x0(x0, x_t, self.schedule(t))


THRESHOLDS: dict[str, Callable[[Denoiser], Denoiser]] = {
    "none": lambda denoiser: denoiser,
    "clip": Clip,
    "dynamic": DynamicThreshold,
}
"""Thresholds by the names that settings give them."""
