"""The unit of a likelihood: bits for integers, nats for floats, and what becomes of a density."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.data.scaling import Scaling


@dataclass(frozen=True)
class Units:
    """From nats per dimension in model space, [-1, 1], to what is reported of the data as they are.

    Integers have probabilities, told in bits per dimension. A density p over model space gives value v, whose bin is
    w = 2 / (levels - 1) wide, the probability p w, so that -log P = -log p - log w.

    Floats have a density, told in nats per dimension and in the data's own units: v = h x + const with
    h = (high - low) / 2 makes p_v = p_x / h, so that -log p_v = -log p_x + log h. It changes with the unit of the
    data and may be negative. Levels are 2^bits for integers, None for floats.
    """

    levels: int | None
    half_range: float = 1.0

    @classmethod
    def of(cls, info: DataInfo) -> Units:
        scaling = Scaling.of(info)
        return cls(scaling.levels, scaling.half)

    @property
    def name(self) -> str:
        return "nats/dim" if self.levels is None else "bits/dim"

    @property
    def meaning(self) -> str:
        if self.levels is None:
            return "nats per dimension of a density over the values as they are in the data, not comparable to bits/dim"
        return f"bits per dimension of the probability of integers with {self.levels} levels"

    @property
    def bin_width(self) -> float:
        """Distance of neighbouring integers in model space; 0 for floats."""
        return 0.0 if self.levels is None else 2 / (self.levels - 1)

    def of_bound(self, nats: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """From a variational bound, whose decoder is a probability for integers and a density for floats."""
        return nats + math.log(self.half_range) if self.levels is None else nats / math.log(2)

    def of_density(self, nats: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """From -log p of a density over model space, per dimension."""
        if self.levels is None:
            return nats + math.log(self.half_range)
        return (nats - math.log(self.bin_width)) / math.log(2)

    def of_difference(self, nats: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """From a difference, a standard error or a part of a bound, which shifts leave alone."""
        return nats if self.levels is None else nats / math.log(2)
