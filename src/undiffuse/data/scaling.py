"""Between the data's own values and model space, [-1, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError


def encode(array: NDArray[Any], info: DataInfo) -> Float[Tensor, "*shape"]:
    """Map the data's values to model space, low -> -1 and high -> +1.

        x0 = (v - low) / h - 1,    h = (high - low) / 2

    For 8 and 16 bits h is 127.5 and 32767.5, exact in float32, so that both ends are met exactly and `decode` gives
    back every integer. (Ho et al. 2020, section 3.3, scale integers to [-1, 1] in the same way.)

    Args:
        array: values of the data's type, any shape.
        info: whose ``low`` and ``high`` to use.

    Returns:
        A new float32 CPU tensor of the same shape.
    """
    half = (info.high - info.low) / 2
    if info.dtype == "float32":  # float64 on the way: high - low of float32 values can need more than 24 bits
        return torch.from_numpy(((array.astype(np.float64) - info.low) / half - 1).astype(np.float32))
    model = array.astype(np.float32)
    model -= np.float32(info.low)
    model /= np.float32(half)
    model -= np.float32(1)
    return torch.from_numpy(model)


def decode(x: Float[Tensor, "*shape"], info: DataInfo) -> NDArray[Any]:
    """Map model space to the data's values; the inverse of `encode`.

        v = (x + 1) h + low,    clipped to [low, high], rounded half to even where the data are integers

    Args:
        x: model space, any shape, floating dtype and device.
        info: whose type and range to use.

    Returns:
        An array of ``info.dtype`` and the same shape.

    Raises:
        UndiffuseError: where x holds NaN, for which no value is right.
    """
    model = x.detach().to("cpu", torch.float64).numpy()
    if np.isnan(model).any():
        raise UndiffuseError(
            "expected numbers to turn into data values, got NaN: the model or the sampler has diverged; "
            "try an earlier checkpoint or a smaller --lr"
        )
    half = (info.high - info.low) / 2
    values = np.clip((model + 1) * half + info.low, info.low, info.high)
    return (values if info.dtype == "float32" else np.rint(values)).astype(info.dtype)


def standard(rows: NDArray[Any], info: DataInfo) -> NDArray[np.float32]:
    """Numbers that are said of samples as a network is told them: (v - mean) / std, NaN where nothing is said.

    Args:
        rows: (..., len(info.vectors)).
        info: whose mean and standard deviation of each column to use.
    """
    found: NDArray[np.float32] = ((rows - np.array(info.vector_mean)) / np.array(info.vector_std)).astype(np.float32)
    return found
