"""Objectives that train the variance too: the variational bound, alone or beside the simple loss.

Reference: Nichol & Dhariwal 2021, section 3.1, https://arxiv.org/abs/2102.09672
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch
from undiffuse.diffusion.losses.simple import Objective, noise_and_predict
from undiffuse.diffusion.losses.variational_bound import bound_values, chain_of
from undiffuse.diffusion.masking import kept, mean_over


@dataclass(frozen=True)
class Bound:
    """L_vlb as a mean over t: loss_i = T L_{t_i - 1}, bits per dimension, with the learned variance.

    Its gradient is noisy, since the terms differ by orders of magnitude: draw t by `LossSecondMoment`.

    Args:
        levels: 2^bits of integer data, None for float data.
    """

    levels: int | None = 256

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        chain = chain_of(denoiser.schedule)
        x0, eps = kept(x0, mask), kept(eps, mask)
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, conditions)
        values = bound_values(prediction, chain, x0, x_t, t, "learned", self.levels)
        return chain.T * mean_over(values, mask) / math.log(2)


@dataclass(frozen=True)
class Hybrid:
    """L_hybrid = L_simple + weight L_vlb (eq. 16): the simple loss trains the mean, the bound the variance alone.

    The bound sees a copy of the predicted mean that passes no gradient. L_vlb is in bits per dimension, as in the
    authors' code.

    Args:
        simple: the loss of the mean.
        weight: lambda, 0.001 in the paper.
        levels: 2^bits of integer data, None for float data.
    """

    simple: Objective
    weight: float = 0.001
    levels: int | None = 256

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Batch,
        t: Float[Tensor, "batch"],
        eps: Batch,
        conditions: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        chain = chain_of(denoiser.schedule)
        x0, eps = kept(x0, mask), kept(eps, mask)
        x_t, prediction = noise_and_predict(denoiser, x0, t, eps, conditions)
        fixed_mean = replace(prediction, x0=prediction.x0.detach())
        values = bound_values(fixed_mean, chain, x0, x_t, t, "learned", self.levels)
        bound = chain.T * mean_over(values, mask) / math.log(2)
        return self.simple.error(prediction, chain, x0, t, eps, mask) + self.weight * bound
