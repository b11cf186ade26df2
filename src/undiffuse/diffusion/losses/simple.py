"""The simple objective: how far is the network's output from what it should have said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, q_sample
from undiffuse.diffusion.losses.weighting import Weighting
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.parameterization import Parameterization
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.devices import send

Distance = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Loss(Protocol):
    """The function that a training step minimizes: one number a sample, over the values where ``mask`` is 1."""

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]: ...


def noise_and_predict(
    denoiser: Denoiser, x0: Batch, t: Float[Tensor, "batch"], eps: Batch, conditions: Mapping[str, Tensor] | None
) -> tuple[Batch, Prediction]:
    """x_t at times t, and what the denoiser sees in it."""
    x_t = q_sample(x0, eps, denoiser.schedule(t))
    return x_t, denoiser(x_t, t, **(conditions or {}))


DISTANCES: dict[str, Distance] = {
    "l2": lambda a, b: F.mse_loss(a, b, reduction="none"),
    "l1": lambda a, b: F.l1_loss(a, b, reduction="none"),
    "huber": lambda a, b: F.huber_loss(a, b, reduction="none"),
}
"""Element-wise distances; 'huber' is quadratic up to an error of 1."""


def overshoots(predicted: Batch, x0: Batch) -> Bool[Tensor, "batch channels *spatial"]:
    """Where x0 lies at an end of [-1, 1], up to rounding, or beyond, and the predicted value does so, too."""
    return (x0.abs() >= 1 - 1e-4) & (predicted * x0.sign() >= 1)


@dataclass(frozen=True)
class Objective:
    """loss_i = weight(t_i) mean over what counts of distance(F(x_t, t), p x0 + q eps)   (Ho et al. 2020, eq. 14).

    With the row EPSILON, uniform weight and L2 this is L_simple. It sees the denoiser's x0 and eps, not the network, so
    that any denoiser can be trained in any space; for the network's own space, F is recovered exactly.

    Args:
        space: the row in which the error is measured, usually the network's own.
        weighting: of the noise levels.
        distance: element-wise.
        clipped: for data in [-1, 1]: what a prediction of x0 overshoots an end of the range by costs nothing where x0
            lies at that end. Samples are clipped there, so the best clipped prediction is E[x0 | x_t] as before; but a
            network that is a little off everywhere may lie beyond a ground of exactly -1 in place of around it, which
            leaves half of that ground grainy. The decoder of Ho et al. 2020, eq. 13, treats the ends alike.
    """

    space: Parameterization
    weighting: Weighting
    distance: Distance = DISTANCES["l2"]
    clipped: bool = False

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        x0, eps = kept(x0, mask), kept(eps, mask)
        _, prediction = noise_and_predict(denoiser, x0, t, eps, conditions)
        return self.error(prediction, denoiser.schedule, x0, t, eps, mask)

    def error(
        self,
        prediction: Prediction,
        schedule: Schedule,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        """The loss of a prediction that has been made."""
        q_t = schedule(t)
        output = self.space.mix(prediction.x0, prediction.eps, q_t)
        error = self.distance(output, self.space.mix(x0, eps, q_t))
        if self.clipped:
            error = error.masked_fill(overshoots(prediction.x0, x0), 0)
        error = mean_over(error, mask)
        weight = self.weighting.weight(schedule, t, self.space)
        return send(weight.to(error.dtype), error.device) * error


def draw_noise(
    shape: tuple[int, ...], generator: torch.Generator, offset: float = 0.0
) -> Float[Tensor, "batch channels *spatial"]:
    """The eps of a training batch: N(0, I), plus a constant per sample and channel of standard deviation ``offset``.

    Offset noise (Guttenberg 2023) teaches a model whose schedule never reaches zero SNR to change an image's mean
    brightness.
    """
    eps = torch.randn(shape, generator=generator)
    if offset:
        eps = eps + offset * torch.randn(*shape[:2], *[1] * (len(shape) - 2), generator=generator)
    return eps
