"""Augmentation that cannot leak into the samples: the flipped picture must itself be plausible data."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from undiffuse.runtime.devices import send


def fair_coins(count: int, generator: torch.Generator) -> Bool[Tensor, "count"]:
    """For each sample whether to mirror it, with probability 1/2: a pure function of the generator's state."""
    return torch.randint(2, (count,), generator=generator).bool()


def flipped(
    x: Float[Tensor, "batch channels *spatial"], which: Bool[Tensor, "batch"]
) -> Float[Tensor, "batch channels *spatial"]:
    """A batch with some samples mirrored left to right (along their last axis), any dtype and device.

    Ho et al. 2020, section B, do so at random for CIFAR-10; for text or digits it would teach mirrored ones.
    """
    return torch.where(send(which, x.device).view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
