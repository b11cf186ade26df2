"""Augmentation that cannot leak into the samples: the flipped picture must itself be plausible data."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from undiffuse.runtime.devices import send


def fair_coins(count: int, generator: torch.Generator) -> Bool[Tensor, "count"]:
    """Which of ``count`` samples to mirror: each with probability 1/2, a pure function of the generator's state."""
    return torch.randint(2, (count,), generator=generator).bool()


def flipped(
    x: Float[Tensor, "batch channels *spatial"], which: Bool[Tensor, "batch"]
) -> Float[Tensor, "batch channels *spatial"]:
    """x with some samples mirrored left to right (along their last axis).

    Ho et al. 2020, section B, do so at random for CIFAR-10; for text or digits it would teach mirrored ones.

    Args:
        x: a batch, any dtype and device; it is not changed.
        which: the samples to mirror.
    """
    return torch.where(send(which, x.device).view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
