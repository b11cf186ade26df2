"""Samples' values as an ``.npz`` file that never has to be in memory as a whole, and that says how it was made.

An .npz file is a zip archive of .npy files, so blocks of an array can be streamed into it one after another. The
archive's comment, which other readers pass over, holds the samples' `Origin`: `numpy.load` finds the one array
``images`` and nothing else. Equal samples give equal bytes.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError
from undiffuse.provenance.png import Origin, check_free
from undiffuse.runtime.durable_files import appearing

KEY = "images"


def write_npz(path: Path, blocks: Iterable[NDArray[Any]], origin: Origin, overwrite: bool = False) -> None:
    """Write blocks (block, channels, *spatial), together the origin's samples, as one array.

    The file is wholly there or not at all.
    """
    check_free(path, overwrite)
    with appearing(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        archive.comment = json.dumps(origin.to_json(), sort_keys=True).encode()
        member = zipfile.ZipInfo(f"{KEY}.npy")  # its date is a constant
        member.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(member, "w", force_zip64=True) as file:
            for number, block in enumerate(blocks):
                if number == 0:
                    shape = (origin.count, *block.shape[1:])
                    head = {"descr": block.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, head)
                file.write(np.ascontiguousarray(block).data)


def read_origin(path: Path) -> Origin | None:
    """The origin that such a file holds; None where it is damaged or holds none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return None if archive.testzip() else Origin.from_json(json.loads(archive.comment))
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, UndiffuseError):
        return None


def read_npz(path: Path) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as found:
        array: NDArray[Any] = found[KEY]
    return array
