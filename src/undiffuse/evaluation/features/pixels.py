"""The extractor 'pixels': the values themselves. It needs no weights, takes any data, and sees no meaning.

Two images that look alike but are shifted by a pixel are far apart here. So its distance says little of quality; it is
there for data that nothing else takes, and to find copies in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs

LIMITS = {1: 1024, 2: 32, 3: 10}
"""Longest side that is kept, by the number of dimensions: at most 1,024 positions a channel, so that a covariance
matrix of colour images has a side of 3,072 and not of a million."""

VERSION = "undiffuse pixels 1: values in [0, 1], sides above 1024, 32 or 10 in 1-D, 2-D or 3-D area-averaged to that"
"""What its sha256 is taken of, there being no weights: raise the number when other features come out."""


@dataclass(frozen=True)
class Pixels:
    """Flattened values in [0, 1]; sides longer than `LIMITS` are averaged down to it, by area.

    Averaging down never enlarges, and a side within the limit is left alone: 28 x 28 digits give all 784 values.
    """

    @property
    def identity(self) -> Identity:
        return Identity(
            name="pixels",
            sha256=hashlib.sha256(VERSION.encode()).hexdigest(),
            resize="sides above 32 (1,024 in 1-D, 10 in 3-D) area-averaged to that; channels kept; values in [0, 1]",
        )

    def __call__(self, images: Float[Tensor, "batch channels *spatial"]) -> Outputs:
        """(batch, channels x positions)."""
        return Outputs(area_average(images, LIMITS).flatten(1))


def area_average(images: Float[Tensor, "batch channels *spatial"], limits: dict[int, int]) -> Tensor:
    """Shrink every side above ``limits[dimensions]`` to it: each new value is the mean over the area that it covers."""
    spatial = tuple(images.shape[2:])
    if len(spatial) not in limits:
        raise UndiffuseError(
            f"expected images of 1, 2 or 3 spatial dimensions, got the shape {tuple(images.shape[1:])}"
        )
    smaller = tuple(min(side, limits[len(spatial)]) for side in spatial)
    return images if smaller == spatial else F.interpolate(images, size=smaller, mode="area")
