"""The range of values beside that of others: arrays of one type may be of [0, 1] here and of [-1, 1] there.

Nothing is changed: a model whose images leave the range is a bad one, and its figure should say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.info import DataInfo

OUTSIDE = 0.05
"""Share of the values beyond the range from which on a word is due; noise and interpolation overshoot by less."""
NARROW = {"float32": 0.55, "uint8": 0.1, "uint16": 0.1}
"""Share of the range that values should fill, by kind of number: [0, 1] is a half of [-1, 1], 0 and 1 are no bytes."""
FEW = 16
"""Images of which fewer may well fill a small part of the range."""


@dataclass
class Extent:
    """The smallest and the largest of some values, and how many lie outside a range."""

    low: float = np.inf
    high: float = -np.inf
    outside: int = 0
    seen: int = 0
    images: int = 0

    def look(self, values: NDArray[Any], info: DataInfo) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        slack = 1e-3 * (info.high - info.low)
        self.outside += int(np.count_nonzero((values < info.low - slack) | (values > info.high + slack)))
        self.seen += values.size
        self.images += len(values)

    def words(self, info: DataInfo, name: str, other: str) -> str:
        """Say what is wrong with the range of ``name`` beside that of ``other``; empty where nothing is."""
        share = self.outside / self.seen if self.seen else 0.0
        narrow = self.images >= FEW and self.high - self.low < NARROW[info.dtype] * (info.high - info.low)
        if share <= OUTSIDE and not narrow:
            if self.images < FEW or not info.narrow:
                return ""
            return f"{name} has values from {self.low:.4g} to {self.high:.4g}, and of {other} {info.narrow}"
        ranges = (
            f"{name} has values from {self.low:.4g} to {self.high:.4g}, and {other} from {info.low:.4g} to "
            f"{info.high:.4g}"
        )
        what = f"{share:.0%} lie outside" if share > OUTSIDE else "they fill a small part of it"
        return f"{ranges}: {what}; where one side is scaled otherwise, scale both alike"
