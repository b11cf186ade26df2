"""Between the data's own values and model space, [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Scaling:
    """The simplest `codec.Codec`: low -> -1 and high -> +1.

        x0 = (v - low) / h - 1,    h = (high - low) / 2

    For 8 and 16 bits h is 127.5 and 32767.5, exact in float32, so that both ends are met exactly and `decode` gives
    back every integer. (Ho et al. 2020, section 3.3, scale integers to [-1, 1] in the same way.)

    Args:
        dtype: 'uint8', 'uint16' or 'float32'.
        low, high: ends of the range.
    """

    dtype: str
    low: float
    high: float
    exact: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True

    @classmethod
    def of(cls, info: DataInfo) -> Scaling:
        return cls(info.dtype, info.low, info.high)

    @property
    def half(self) -> float:
        """h."""
        return (self.high - self.low) / 2

    @property
    def levels(self) -> int | None:
        """2^bits of integers, None for floats."""
        return None if self.dtype == "float32" else round(self.high - self.low) + 1

    def shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return data

    def encode(self, values: NDArray[Any]) -> Float[Tensor, "*shape"]:
        """x0 of values of any shape, a new float32 CPU tensor of the same shape."""
        if self.dtype == "float32":  # float64 on the way: high - low of float32 values can need more than 24 bits
            return torch.from_numpy(((values.astype(np.float64) - self.low) / self.half - 1).astype(np.float32))
        model = values.astype(np.float32)
        model -= np.float32(self.low)
        model /= np.float32(self.half)
        model -= np.float32(1)
        return torch.from_numpy(model)

    def decode(self, x0: Float[Tensor, "*shape"]) -> NDArray[Any]:
        """The inverse of `encode`: an array of ``dtype`` and the same shape.

            v = (x0 + 1) h + low,    clipped to [low, high], rounded half to even where the data are integers

        Raises:
            UndiffuseError: x0 holds NaN.
        """
        model = x0.detach().to("cpu", torch.float64).numpy()
        if np.isnan(model).any():
            raise UndiffuseError(
                "expected numbers to turn into data values, got NaN: the model or the sampler has diverged; "
                "try an earlier checkpoint or a smaller `lr`"
            )
        values = np.clip((model + 1) * self.half + self.low, self.low, self.high)
        return (values if self.dtype == "float32" else np.rint(values)).astype(self.dtype)
