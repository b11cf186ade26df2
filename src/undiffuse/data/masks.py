"""Data of which not all values count, such as padded sets of points: what `diffusion.masking` is told of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.codec import codec_of
from undiffuse.data.crops import Crops
from undiffuse.errors import UndiffuseError


def masks_of(data: Any) -> NDArray[np.bool_] | None:
    """The attribute ``masks`` of prepared data, (count, channels or 1, *spatial), True where a value counts.

    Returns:
        None where all values count, as in all data without such an attribute.

    Raises:
        UndiffuseError: values of the data are not those that are diffused, one by one, or the images are cut at random.
    """
    masks: NDArray[np.bool_] | None = getattr(data, "masks", None)
    if masks is not None and (not codec_of(data.info).pointwise or isinstance(data.images, Crops)):
        raise UndiffuseError(
            f"A mask says which values of '{data.info.name}' count, which is learned from whole samples as they are: "
            "leave out the mask or the random crops"
        )
    return masks


def check_unmasked(data: Any, what: str) -> None:
    """Refuse masked data where ``what``, such as "An anomaly score", looks at all values."""
    if masks_of(data) is not None:
        raise UndiffuseError(
            f"{what} looks at all values, and '{data.info.name}' has a mask of those that count: give data without "
            "one, or measure their likelihood, which heeds it"
        )
