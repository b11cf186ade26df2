"""The two bilinear resizes that published Fréchet distances were computed with.

Both read two neighbours a dimension however much they shrink (no antialias). They differ in where output pixel i of n
looks in an input of m pixels, and that moves a FID by more than many papers' improvements (Parmar et al. 2022,
https://arxiv.org/abs/2104.11222).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize_tensorflow(
    images: Float[Tensor, "batch channels h w"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Bilinear as ``tf.image.resize_bilinear`` of TensorFlow 1 did it: corner to corner without half-pixel centres.

    Output pixel i of n reads an input of m pixels at ``u = i m / n``, between floor(u) and the next pixel (the last one
    repeats): ``x[floor u] + (x[floor u + 1] - x[floor u]) (u - floor u)``. So the result is shifted by half an output
    pixel; an image of the wanted size returns unchanged.

    Positions are computed in float32, and columns before rows, as the reference does, so that results agree bit by bit.

    Args:
        images: any finite range, floating point.
        height: of the result.
        width: of the result.
    """
    left, right, fraction = _neighbours(images.shape[3], width, images)
    columns = _between(images[..., left], images[..., right], fraction)
    upper, lower, fraction = _neighbours(images.shape[2], height, images)
    return _between(columns[:, :, upper], columns[:, :, lower], fraction[:, None])


def resize_half_pixel(
    images: Float[Tensor, "batch channels h w"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Bilinear between pixel centres, ``u = (i + 1/2) m / n - 1/2`` clipped to the image: what pytorch-fid does."""
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)


def _neighbours(size: int, new_size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every output position the two input positions and how far it lies from the first to the second."""
    scale = torch.tensor(size / new_size, dtype=torch.float32)
    position = torch.arange(new_size, dtype=torch.float32) * scale
    first = position.long()
    second = (first + 1).clamp(max=size - 1)
    fraction = (position - first).to(like)
    return first.to(like.device), second.to(like.device), fraction


def _between(first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    """Not ``torch.lerp``, which rounds differently where the fraction is above a half."""
    return first + (second - first) * fraction
