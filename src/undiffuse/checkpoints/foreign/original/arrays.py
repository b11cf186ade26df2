"""The arrays of an .npz as tensors: names and shapes first, values one by one when all of them fit."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError

ENDING = ".npz"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ArchivedArrays:
    """Floating-point arrays in an .npz, each read when it is asked for."""

    archive: zipfile.ZipFile
    shapes: Mapping[str, tuple[int, ...]]

    def __call__(self, name: str) -> Tensor:
        with self.archive.open(f"{name}.npy") as file:
            return torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False).astype(np.float32))


@contextmanager
def opened_arrays(path: Path) -> Iterator[ArchivedArrays]:
    """The floating-point arrays of a file, for as long as it is open; others, such as a step counter, are left out.

    Headers alone are read at first, so that nothing of a false size is unpacked.

    Raises:
        UndiffuseError: it is no such file, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
            yield ArchivedArrays(archive, {name: shape for name, (shape, kind) in kinds.items() if kind == "f"})
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError) as error:
        raise UndiffuseError(f"{path} is not a valid .npz file of arrays: {error}") from None


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], str]:
    """Shape and kind of an array."""
    with archive.open(name) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    return shape, dtype.kind
