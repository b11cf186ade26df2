"""Augmentation that cannot leak into the samples: the flipped picture must itself be plausible data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def random_flip(
    x: Float[Tensor, "batch channels *spatial"], generator: torch.Generator
) -> Float[Tensor, "batch channels *spatial"]:
    """Mirror each sample left to right (along its last axis) with probability 1/2.

    Ho et al. 2020, section B, use it for CIFAR-10; for text or digits it would teach mirrored ones. A pure function
    of the generator's state: one fair bit is drawn for each sample, in the batch's order.

    Args:
        x: a batch, any dtype and device; it is not changed.
        generator: a CPU generator.
    """
    flip = torch.randint(2, (x.shape[0],), generator=generator).bool().to(x.device)
    return torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
