"""Numbers that are said of samples: columns of metadata, or arrays of an .npz file, as rows of one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.standardizer import Standardizer
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Vectors:
    """Columns of numbers by name, float32, one row a sample; NaN in the whole row of a sample without numbers."""

    names: tuple[str, ...]
    rows: NDArray[np.float32]

    def standardizer(self) -> Standardizer:
        """Mean and standard deviation of each column, over the samples that have numbers."""
        known = self.rows[~np.isnan(self.rows).any(1)].astype(np.float64)
        if not len(known):
            raise UndiffuseError(f"expected numbers in {', '.join(self.names)}, got none that is finite")
        mean, std = known.mean(0), known.std(0)
        for name, value, spread in zip(self.names, mean, std, strict=True):
            if spread == 0:
                raise UndiffuseError(f"expected numbers that vary in '{name}', got {value:g} for all; leave it out")
        return Standardizer(self.names, tuple(mean.tolist()), tuple(std.tolist()))


def of_arrays(arrays: Mapping[str, NDArray[Any]], count: int, source: str) -> Vectors:
    """Arrays beside ``count`` samples, (count,) or (count, k), as columns one after another."""
    columns, tables = list[str](), list[NDArray[Any]]()
    for name, array in arrays.items():
        table = array[:, None] if array.ndim == 1 else array
        if table.ndim != 2 or len(table) != count or table.dtype.kind not in "iufb" or not table.shape[1]:
            raise UndiffuseError(
                f"expected an array '{name}' of {count} numbers, or rows of them, in {source}, got {array.dtype} "
                f"of shape {array.shape}"
            )
        columns += [name] if table.shape[1] == 1 else [f"{name}.{k}" for k in range(table.shape[1])]
        tables.append(table)
    with np.errstate(over="ignore"):
        rows = np.concatenate(tables, 1).astype(np.float32)
    if np.isinf(rows).any():
        raise UndiffuseError(f"expected numbers in {', '.join(arrays)} of {source}, got an infinite one")
    rows[~np.isfinite(rows).all(1)] = np.nan
    return Vectors(tuple(columns), rows)
