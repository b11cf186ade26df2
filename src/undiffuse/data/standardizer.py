"""Numbers that are said of samples, as a network is told them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Standardizer:
    """Mean, which is subtracted, and standard deviation, which divides, of each number that is said of samples."""

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(v - mean) / std of rows (..., len(names)), NaN where nothing is said."""
        found: NDArray[np.float32] = ((rows - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return found

    @property
    def whole(self) -> bool:
        """True where each number has a name, a mean and a spread: these may come from a stranger's file."""
        return len(self.names) == len(self.mean) == len(self.std) and all(0 < std < math.inf for std in self.std)


NOTHING = Standardizer()
