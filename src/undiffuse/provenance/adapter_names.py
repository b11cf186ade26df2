"""Models with adapters, by name: ``digits+style.safetensors``, ``runs/base+a.safetensors:0.5+runs/b``.

A number after a colon is the scale of what an adapter adds, 1 without one; it may be negative. A file or folder that
has such a name itself, or such a part of one, goes before: ``C++/runs/base+style.safetensors``. What follows a '+' and
begins with '~' is in the home folder, which shells do not see to within a word.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from undiffuse.errors import UndiffuseError

_SCALED = re.compile(r"(.+):([-+]?[\d.]+(?:e[-+]?\d+)?)")
_IN_A_NUMBER = re.compile(r".+:(?:[-+]?[\d.]+e)?")
"""What stands before a '+' that is a number's: of ``style:+2``, ``style:1e+2``."""


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
        text = str(Path(text).expanduser()) if text.startswith("~") else text
        name, colon, number = text.rpartition(":")
        if _is_there(text) or not (colon and (_SCALED.fullmatch(text) or _is_there(name))):
            return cls(text)
        try:
            scale = float(number)
        except ValueError:
            scale = math.nan
        if not math.isfinite(scale):
            raise UndiffuseError(f"The scale of an adapter is a number, as in {name}:0.5, not '{number}'")
        return cls(name, scale)

    def __str__(self) -> str:
        """As it is typed, the scale to the last bit and without a '+'."""
        short = f"{self.scale:g}"
        number = (short if float(short) == self.scale else repr(self.scale)).replace("e+", "e")
        return self.name if self.scale == 1 else f"{self.name}:{number}"

    @property
    def short(self) -> str:
        """What it is called in a line, see `short_name`."""
        return str(AdapterName(_last(self.name), self.scale))


def adapters_in(name: str | Path) -> tuple[str | Path, tuple[AdapterName, ...]]:
    """The model that a name begins with, and the adapters that go on it, if it names some.

    Raises:
        UndiffuseError: a part is empty, or a scale is no finite number.
    """
    text = str(name)
    if "+" not in text or _is_there(text):
        return name, ()
    base, *parts = _parts(text)
    if not all((base, *parts)):
        raise UndiffuseError(f"A model with adapters is named as MODEL+ADAPTER or MODEL+ADAPTER:SCALE, not as '{text}'")
    return (base, tuple(map(AdapterName.of, parts))) if parts else (name, ())


def without_folders(name: str) -> str:
    """A name with the last part of each path in it, as others may know it, too."""
    base, adapters = adapters_in(name)
    return "+".join((Path(base).name, *(str(AdapterName(Path(one.name).name, one.scale)) for one in adapters)))


def short_name(place: str | Path) -> str:
    """What a model is called in a line: NAME of ``runs/NAME/checkpoints/step-...``, the name of a file or a folder
    elsewhere, and the same of its adapters: ``digits+style:0.5``."""
    try:
        base, adapters = adapters_in(place)
    except UndiffuseError:  # of a place that is no more
        base, adapters = place, ()
    return "+".join((_last(base), *(one.short for one in adapters)))


def _last(place: str | Path) -> str:
    path = Path(place)
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.name


def _parts(text: str) -> list[str]:
    """A name cut at each '+', but for those in numbers and in names of what is there, the longest first."""
    pieces: list[str] = []
    for piece in text.split("+"):
        if pieces and _IN_A_NUMBER.fullmatch(pieces[-1]) and not _is_there(pieces[-1]):
            pieces[-1] += f"+{piece}"
        else:
            pieces.append(piece)
    found = []
    while pieces:
        joined = {n: "+".join(pieces[:n]) for n in range(len(pieces), 1, -1)}
        count = next((n for n, name in joined.items() if _is_there(_without_scale(name))), 1)
        found.append(joined.get(count, pieces[0]))
        pieces = pieces[count:]
    return found


def _without_scale(name: str) -> str:
    scaled = _SCALED.fullmatch(name)
    return name if scaled is None or _is_there(name) else scaled[1]


def _is_there(name: str) -> bool:
    return bool(name) and Path(name).exists()
