"""Models with adapters, by name: ``digits+style.safetensors``, ``runs/base+a.safetensors:0.5+runs/b``.

A number after a colon is the scale of what an adapter adds, 1 without one; it may be negative. A file or folder that
has such a name itself goes before.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from undiffuse.checkpoints.pretrained import shipped
from undiffuse.errors import UndiffuseError

_SCALED = re.compile(r"(.+):([-+]?[\d.]+(?:e[-+]?\d+)?)")


@dataclass(frozen=True)
class AdapterName:
    """An adapter's file or the run that learned it, and the scale of what it adds."""

    name: str
    scale: float = 1.0

    @classmethod
    def of(cls, text: str) -> AdapterName:
        """The name as it is typed: ``NAME`` or ``NAME:SCALE``.

        Raises:
            UndiffuseError: the scale is no finite number.
        """
        scaled = None if Path(text).exists() else _SCALED.fullmatch(text)
        if scaled is None:
            return cls(text)
        try:
            scale = float(scaled[2])
        except ValueError:
            scale = math.nan
        if not math.isfinite(scale):
            raise UndiffuseError(f"The scale of an adapter is a number, as in {scaled[1]}:0.5, not '{scaled[2]}'")
        return cls(scaled[1], scale)

    def __str__(self) -> str:
        return self.name if self.scale == 1 else f"{self.name}:{self.scale:g}"


def adapters_in(name: str | Path) -> tuple[str | Path, tuple[AdapterName, ...]]:
    """The model that a name begins with, and the adapters that go on it, if it names some.

    Raises:
        UndiffuseError: a part is empty, or a scale is no finite number.
    """
    text = str(name)
    if "+" not in text or Path(text).exists() or shipped(name) is not None:
        return name, ()
    base, *parts = text.split("+")
    if not all((base, *parts)):
        raise UndiffuseError(f"A model with adapters is named as MODEL+ADAPTER or MODEL+ADAPTER:SCALE, not as '{text}'")
    return base, tuple(map(AdapterName.of, parts))
