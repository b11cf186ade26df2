"""Samples of several sizes in one tensor: a mask says which values count.

A mask is (batch, channels or 1, *spatial), True or 1 where a value counts. What does not count is set to 0 before it is
noised, so that no network sees what stood there, and means are over what counts alone: the loss, the bound and the
likelihood of a padded sample are those of the sample without its padding, per dimension that it has. A mask of ones
gives the bits of none.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.gaussian import Batch


def kept(x: Batch, mask: Tensor | None) -> Batch:
    """x with 0 where nothing counts, whatever stood there."""
    return x if mask is None else torch.where(mask.bool(), x, 0)


def share(like: Batch, mask: Tensor | None) -> Float[Tensor, "batch"] | float:
    """All values of each sample over those that count; turns a mean over all, the others being 0, into one of these.

    A sample of which nothing counts has mean 0.
    """
    if mask is None:
        return 1.0
    counts = mask.bool().expand_as(like).flatten(1).sum(1).clamp(min=1)
    return like[0].numel() / counts.to(like.dtype)


def mean_over(values: Batch, mask: Tensor | None = None) -> Float[Tensor, "batch"]:
    """Each sample's mean of the values that count, sum mask v / sum mask."""
    return kept(values, mask).flatten(1).mean(1) * share(values, mask)
