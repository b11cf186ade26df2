"""The seam between data and model space: what is diffused need not be the data's own values.

Today's only codec is `scaling.Scaling`. An autoencoder is another: its ``shape`` is that of the latents, it is neither
exact nor bounded, and it has no levels, for nobody knows the probability of an image from that of its latents.
"""

from __future__ import annotations

from typing import Any, Protocol

from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.data.scaling import Scaling


class Codec(Protocol):
    """From the data's own values to model space, and back."""

    @property
    def exact(self) -> bool:
        """True where ``decode(encode(values))`` gives every integer back, and floats but for rounding."""

    @property
    def bounded(self) -> bool:
        """True where model space is [-1, 1], so that a prediction of x0 may be clipped to it."""

    @property
    def pointwise(self) -> bool:
        """True where every number is encoded by itself: masks keep their meaning, and 256 values make a table."""

    @property
    def levels(self) -> int | None:
        """Numbers, evenly spaced over [-1, 1], that x0 may have, whose probability is then meant; None: a density."""

    def shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        """(channels, *spatial) in model space of samples of this shape in the data."""

    def encode(self, values: NDArray[Any]) -> Float[Tensor, "batch *shape"]:
        """x0, a new float32 tensor on the CPU, of values of the data's type, (batch, channels, *spatial)."""

    def decode(self, x0: Float[Tensor, "batch *shape"]) -> NDArray[Any]:
        """Values of the data's type; what lies outside of model space becomes the nearest that there is.

        Raises:
            UndiffuseError: x0 holds NaN, for which no value is right.
        """


def codec_of(info: DataInfo) -> Codec:
    return Scaling.of(info)
