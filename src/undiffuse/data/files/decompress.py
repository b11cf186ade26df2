"""Files packed by gzip, bzip2 or xz, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast


def decompressor(path: Path) -> Callable[[Path], BinaryIO]:
    """The function that opens ``path`` for reading, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast(Callable[[Path], BinaryIO], gzip.open)
    if head.startswith(b"BZh"):
        return cast(Callable[[Path], BinaryIO], bz2.open)
    if head.startswith(b"\xfd7zXZ\0"):
        return cast(Callable[[Path], BinaryIO], lzma.open)
    return lambda plain: plain.open("rb")
