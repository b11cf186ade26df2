"""Files of a format that a program or a package registered: a function gives their arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.config.data import DataConfig
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.arrays import index_labels
from undiffuse.errors import UndiffuseError, first_line

Load = Callable[[Path], Any]


@dataclass(frozen=True)
class RegisteredFile(ArraySource):
    """A file as one array.

    Args:
        format_name: of the format.
        read: ``read(path)`` gives images (N, channels, *sides), or a pair of them and of N labels, numbers or texts;
            raises what it likes where it cannot.
    """

    format_name: str = ""
    read: Load = lambda path: None
    KIND, ROLE = "RegisteredFile", "file"

    def key(self, config: DataConfig) -> dict[str, Any]:
        return {**super().key(config), "format": self.format_name}

    def load(self, scratch: Path) -> Arrays:
        try:
            found = self.read(self.path)
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise UndiffuseError(
                f"expected {self.format_name} data in {self.name}, got a file that its reader refuses: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
        images, labels = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        images = np.asarray(images)
        if not 3 <= images.ndim <= 5 or not images.size:
            raise UndiffuseError(
                f"expected images (N, channels, *sides) from the reader of {self.format_name} data, got an array of "
                f"shape {images.shape} for {self.name}"
            )
        if labels is None:
            return Arrays(images)
        return Arrays(images, *index_labels(np.asarray(labels), len(images), self.name))
