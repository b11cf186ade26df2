"""Words to values, and values to words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from undiffuse.conditioning.class_names import as_typed
from undiffuse.config.kinds import NOTHING, Kind, kind_of
from undiffuse.errors import UndiffuseError, perhaps


class OptionReader:
    """Text to a value of the declared type, or one sentence about what should have been typed."""

    def __init__(self, flag: str, hint: Any) -> None:
        self.flag, self.kind = flag, hint if isinstance(hint, Kind) else kind_of(hint)

    def __call__(self, text: str) -> Any:
        try:
            return self.kind.read(text)
        except ValueError:
            kinds = [kind for kind in self.kind.alternatives if kind is not NOTHING]
            choices = [word for kind in kinds for word in kind.each.choices]
            words_alone = all(kind.each.choices for kind in kinds)
            hint = perhaps(text, choices) if words_alone else f"; it takes {self.kind.typed}"
            raise UndiffuseError(f"{self.flag} cannot be '{text}'{hint}") from None


Convert = Callable[[str], Any]


def whole(flag: str, low: int, high: int | None = None) -> Convert:
    """A whole number from ``low`` on, or to ``high``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            limit = "on" if high is None else f"to {high}"
            raise UndiffuseError(f"{flag} cannot be '{text}'; it takes a whole number from {low} {limit}")
        return value

    return convert


def number(flag: str, above: float = -math.inf) -> Convert:
    """A finite number above a limit."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not above < value < math.inf:
            limit = "" if above == -math.inf else f" above {above:g}"
            raise UndiffuseError(f"{flag} cannot be '{text}'; it takes a number{limit}")
        return value

    return convert


def show(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return as_typed([show(part) for part in value])
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
