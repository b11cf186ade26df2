"""Words to values of a declared type, and types to words."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from undiffuse.conditioning.class_names import as_typed
from undiffuse.errors import UndiffuseError, perhaps


class Reader:
    """Text to a value of the declared type, or one sentence about what should have been typed."""

    def __init__(self, flag: str, hint: Any) -> None:
        self.flag, self.hint = flag, hint

    def __call__(self, text: str) -> Any:
        try:
            return read(text, self.hint)
        except ValueError:
            kinds = [kind for part in parts(self.hint) for kind in (part, *get_args(part)[:1])]
            choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
            hint = perhaps(text, choices) if choices else f"; it takes {describe(self.hint)}"
            raise UndiffuseError(f"{self.flag} cannot be '{text}'{hint}") from None


def parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, None first; or the type alone."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(sorted(get_args(hint), key=lambda part: part is not NoneType))
    return (hint,)


def is_list(hint: Any) -> bool:
    """Whether a value of this type may be several numbers."""
    return any(get_origin(part) is tuple for part in parts(hint))


def read(text: str, hint: Any) -> Any:
    """The value that a text stands for.

    Raises:
        ValueError: it stands for none of this type.
    """
    for part in parts(hint):
        try:
            return _read_one(text, part)
        except ValueError:
            continue
    raise ValueError(text)


def _read_one(text: str, hint: Any) -> Any:
    if hint is NoneType:
        if text.lower() != "none":
            raise ValueError(text)
        return None
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(text)
        return text
    if get_origin(hint) is tuple:
        return _read_list(text, get_args(hint))
    value = hint(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _read_list(text: str, members: tuple[Any, ...]) -> tuple[Any, ...]:
    """``1,2,2``; of any length where the type ends in ..., where 'none' is the empty list.

    Of texts, one with a comma inside stands in quotes: ``"size, cm",angle``.
    """
    words = [] if text.lower() == "none" else text.split(",")
    if members[0] is str and '"' in text:
        words = next(csv.reader([text], skipinitialspace=True))
    if members[-1] is not Ellipsis and len(words) != len(members):
        raise ValueError(text)
    return tuple(_read_one(word, members[0]) for word in words)


NAMES: dict[Any, tuple[str, str]] = {int: ("N", "a whole number"), float: ("X", "a number"), str: ("TEXT", "a text")}


def metavar(hint: Any) -> str:
    """What stands after the option in its help."""
    return "|".join(_metavar(part) for part in parts(hint) if part is not NoneType)


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    if get_origin(hint) is tuple:
        inner, *rest = (_metavar(part) for part in get_args(hint) if part is not Ellipsis)
        return " ".join([inner, *rest]) if rest else f"{inner},{inner},..."
    return NAMES[hint][0]


def describe(hint: Any) -> str:
    """What an option takes, in words."""
    return " or ".join(_describe(part) for part in sorted(parts(hint), key=lambda part: part is NoneType))


def _describe(hint: Any) -> str:
    if hint is NoneType:
        return "'none'"
    if get_origin(hint) is not tuple:
        return NAMES[hint][1]
    member, last = get_args(hint)[0], get_args(hint)[-1]
    if get_origin(member) is Literal:
        return "words with commas between them"
    word = NAMES[member][1].removeprefix("a ")
    return f"{word}s with commas between them" if last is Ellipsis else f"{len(get_args(hint))} {word}s"


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
