"""A file of settings that somebody else wrote: each value read by its name, with its type and its range checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.safe_tensors import unique_names

MAX_BYTES = 1 << 24
"""Of such a file; a hundred thousand betas are 2 MB."""


@dataclass(frozen=True)
class Settings:
    """Names and values, and the file's name for messages. A value of another type or range is one sentence."""

    values: Mapping[str, Any]
    where: Path

    def __contains__(self, name: str) -> bool:
        """True where a value is given; null is none."""
        return self.values.get(name) is not None

    def whole(self, name: str, default: int | None, low: int, high: int) -> int:
        """A whole number from low to high; one like 1.0 serves."""
        value = self._given(name, default)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def wholes(self, name: str, default: Sequence[int] | None, low: int, high: int, most: int) -> tuple[int, ...]:
        """One to ``most`` whole numbers."""
        what = f"a list of at most {most} whole numbers from {low} to {high}"
        return self._list(name, default, most, lambda value: type(value) is int and low <= value <= high, what)

    def number(self, name: str, default: float | None, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from low to high."""
        value = self._given(name, default)
        if not _is_finite(value) or not low <= value <= high:
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, name: str, most: int) -> tuple[float, ...]:
        """One to ``most`` finite numbers."""
        what = f"a list of at most {most} numbers"
        return tuple(map(float, self._list(name, None, most, _is_finite, what)))

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self._given(name, default)
        if type(value) is not bool:
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: str | None, choices: Sequence[str]) -> str:
        """One of these words."""
        value = self._given(name, default)
        if value not in choices:
            raise self.wrong(name, " or ".join(repr(choice) for choice in choices))
        return str(value)

    def texts(self, name: str, default: Sequence[str] | None, choices: Sequence[str], most: int) -> tuple[str, ...]:
        """One to ``most`` of these words."""
        what = f"a list of at most {most} of {', '.join(choices)}"
        return self._list(name, default, most, lambda value: value in choices, what)

    def _list(
        self, name: str, default: Sequence[Any] | None, most: int, fits: Callable[[Any], bool], what: str
    ) -> tuple[Any, ...]:
        values = self._given(name, default)
        if not isinstance(values, list | tuple) or not 0 < len(values) <= most or not all(map(fits, values)):
            raise self.wrong(name, what)
        return tuple(values)

    def _given(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def wrong(self, name: str, expected: str) -> UndiffuseError:
        """The sentence for a value that cannot be read here."""
        shown = repr(self.values.get(name))
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return UndiffuseError(f"'{name}' in {self.where} should be {expected} for undiffuse to read it, it is {shown}")


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def read_settings(path: Path) -> Settings:
    """The JSON object in a file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        tree = json.loads(data, object_pairs_hook=unique_names) if len(data) <= MAX_BYTES else None
    except OSError as error:
        raise UndiffuseError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UndiffuseError(f"{path} should hold a JSON object, but {error}") from None
    if not isinstance(tree, dict):
        raise UndiffuseError(f"{path} should hold a JSON object of at most {MAX_BYTES:,} bytes")
    return Settings(tree, path)
