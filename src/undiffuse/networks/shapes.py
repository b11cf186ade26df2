"""Sizes in, sizes out: padding to a multiple, and patches folded into channels, in any number of dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pad(
    x: Float[Tensor, "batch channels *spatial"], multiple: int
) -> tuple[Float[Tensor, "batch channels *padded"], tuple[slice, ...]]:
    """Pad every spatial size with zeros to a multiple, evenly on both sides; x itself if nothing is missing.

    Why zeros: every convolution of the network sees them beyond the border anyway, so the network knows them for
    "outside"; and 0 is the middle of the data's range and the mean of the noise. Reflection needs more pixels than it
    adds (5 pixels cannot become 16). Repetition of the edge stretches one pixel's noise into a stripe, which looks
    like data. The gradients of both are not deterministic on CUDA.

    Returns:
        the padded x, and the index that cuts a result of the padded size back to x's.
    """
    sizes = x.shape[2:]
    before = [(-size % multiple) // 2 for size in sizes]
    after = [(-size % multiple + 1) // 2 for size in sizes]
    crop = (slice(None), slice(None), *(slice(b, b + size) for b, size in zip(before, sizes, strict=True)))
    if not any(after):
        return x, crop
    # F.pad wants the last dimension first.
    amounts = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return F.pad(x, amounts), crop


def space_to_depth(x: Float[Tensor, "batch channels *spatial"], patch: int) -> Float[Tensor, "batch folded *coarse"]:
    """Fold patches of side ``patch`` into channels (pixel-unshuffle, in any dims); channel order (channels, *offsets).

    Every spatial size must be divisible by ``patch``.
    """
    if patch == 1:
        return x
    batch, channels, *sizes = x.shape
    coarse = [size // patch for size in sizes]
    x = x.reshape(batch, channels, *(n for size in coarse for n in (size, patch)))
    positions, offsets = range(2, x.dim(), 2), range(3, x.dim(), 2)
    return x.permute(0, 1, *offsets, *positions).reshape(batch, channels * patch ** len(sizes), *coarse)


def depth_to_space(x: Float[Tensor, "batch folded *coarse"], patch: int) -> Float[Tensor, "batch channels *spatial"]:
    """Unfold channels into patches of side ``patch`` (pixel-shuffle, in any dims): the inverse of `space_to_depth`."""
    if patch == 1:
        return x
    batch, folded, *coarse = x.shape
    dims = len(coarse)
    x = x.reshape(batch, folded // patch**dims, *[patch] * dims, *coarse)
    interleaved = (n for d in range(dims) for n in (2 + dims + d, 2 + d))
    return x.permute(0, 1, *interleaved).reshape(batch, folded // patch**dims, *(size * patch for size in coarse))
