"""The arrays of an .npz as tensors: names and shapes first, values one by one when all of them fit."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from undiffuse.checkpoints.foreign.tensors import Tensors
from undiffuse.errors import UndiffuseError

ENDING = ".npz"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextmanager
def opened_arrays(path: Path) -> Iterator[Tensors]:
    """The floating-point arrays of a file, for as long as it is open; others, such as a step counter, are left out.

    Headers alone are read at first, so that nothing of a false size is unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
            shapes = {name: shape for name, (shape, kind) in kinds.items() if kind == "f"}
            yield Tensors(shapes, partial(_array, archive))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError) as error:
        raise UndiffuseError(f"{path} is not a valid .npz file of arrays: {error}") from None


def _array(archive: zipfile.ZipFile, name: str) -> Tensor:
    with archive.open(f"{name}.npy") as file:
        return torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False).astype(np.float32))


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], str]:
    with archive.open(name) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    return shape, dtype.kind
