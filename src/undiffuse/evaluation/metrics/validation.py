"""Checks of features that every metric makes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError


def check(features: Float[Tensor, "images dimensions"], least: int = 1) -> None:
    """Refuse what is no matrix of one row an image, has fewer rows than the metric needs, or NaN or infinite values."""
    if features.ndim != 2 or not features.shape[1]:
        raise UndiffuseError(
            f"Features are a matrix with a row for every image, and these have the shape {tuple(features.shape)}; "
            "flatten all axes but the first"
        )
    if len(features) < least:
        raise UndiffuseError(f"This metric needs at least {least} images, and there are {len(features)}; give more")
    broken = len(features) - int(features.isfinite().all(dim=1).sum())
    if broken:
        raise UndiffuseError(
            f"Features must be finite, and {broken} of {len(features)} rows hold NaN or infinity; look for broken "
            "images, and for an extractor that overflows"
        )


def as_float64(features: Float[Tensor, "images dimensions"], least: int = 1) -> Float[Tensor, "images dimensions"]:
    """Features, checked, in float64, the precision of every metric; what is float64 already is not copied."""
    check(features, least)
    return features.detach().to(torch.float64)


def same_space(a: Tensor, b: Tensor) -> None:
    """Refuse features (or means) whose last axes differ: they come from two extractors."""
    if a.shape[-1] != b.shape[-1]:
        raise UndiffuseError(
            f"Features can be compared within one space only, and these have {a.shape[-1]} and {b.shape[-1]} "
            "dimensions; extract both sets by the same extractor"
        )
