"""Other people's checkpoints as models of ours: one reader a layout, in `READERS`.

A layout is a module with a `ForeignReader`: whether a path is of it, and the path as a `SavedModel`. Which tensor of
theirs is which of ours is said by tables, see `mapping`.
"""

from __future__ import annotations

from pathlib import Path

from undiffuse.checkpoints.foreign.diffusers.folder import READER as DIFFUSERS
from undiffuse.checkpoints.foreign.original.reader import READER as ORIGINAL
from undiffuse.checkpoints.saved_model import ForeignReader, SavedModel

READERS: tuple[ForeignReader, ...] = (DIFFUSERS, ORIGINAL)
"""In the order in which they are asked."""


def reader_of(path: Path) -> ForeignReader | None:
    """The first reader that knows a path; None where nobody does."""
    return next((reader for reader in READERS if reader.recognizes(path)), None)


__all__ = ["READERS", "ForeignReader", "SavedModel", "reader_of"]
