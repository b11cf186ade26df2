"""The kinds of values that settings take, each read from an annotation once.

A new kind of value is a function here and a line in `kind_of`.
"""

from __future__ import annotations

import csv
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from itertools import cycle
from types import MappingProxyType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from undiffuse.config import registry
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True, eq=False)
class Kind:
    """The values that a setting takes. Equal annotations have one and the same kind.

    Args:
        fit: a value from Python, YAML or JSON to the one that is kept; TypeError where it is of another kind.
        read: a word of the command line to the value that it stands for; ValueError where it stands for none.
        stored: a file's value, in words.
        typed: an option's value, in words.
        metavar: stands after the option in its help.
        words: the only values that there are, where they can be listed.
        registry: the kind of pieces whose texts serve, too, see `config.registry`.
        members: of a list, the kinds of its values.
        options: of a union, its kinds, of which the first that fits is taken.
        section: the dataclass, where settings are nested in settings.
    """

    fit: Callable[[Any], Any]
    read: Callable[[str], Any]
    stored: str
    typed: str
    metavar: str
    words: tuple[str, ...] = ()
    registry: str = ""
    members: tuple[Kind, ...] = ()
    options: tuple[Kind, ...] = ()
    section: type | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The only values that there are, where they can be listed."""
        return (*self.words, *(registry.registered(self.registry) if self.registry else ()))

    @property
    def alternatives(self) -> tuple[Kind, ...]:
        """The kinds of a union; else this one alone."""
        return self.options or (self,)

    @property
    def each(self) -> Kind:
        """The kind of a list's values; else this one."""
        return self.members[0] if self.members else self


def _scalar(cls: type, metavar: str, words: str) -> Kind:
    """One value of a type of Python's; a whole number serves as any number."""

    def fit(value: Any) -> Any:
        value = _plain(value)
        if cls is float and type(value) is int and abs(value) <= sys.float_info.max:
            return float(value)
        if type(value) is not cls:  # exact: True is no whole number
            raise TypeError
        return value

    def read(word: str) -> Any:
        value = cls(word)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(word)
        return value

    return Kind(fit, read, words, words, metavar)


def _no_value(value: Any) -> None:
    if value is not None:
        raise TypeError


def _no_word(word: str) -> None:
    if word.lower() != "none":
        raise ValueError(word)


def choice(words: tuple[str, ...], given: Mapping[str, Any] = MappingProxyType({})) -> Kind:
    """One of some words, or of those that a program gave."""

    def fit(value: Any) -> Any:
        if TEXT.fit(value) not in (*words, *given):
            raise TypeError
        return _plain(value)

    def read(word: str) -> str:
        if word not in words:
            raise ValueError(word)
        return word

    stored = "one of " + ", ".join(map(repr, words))
    return Kind(fit, read, stored, stored, "|".join(words), words=words)


@dataclass(frozen=True)
class Registered:
    """Beside a setting's type, in `Annotated`: it takes the library's own words and whatever is registered.

    Args:
        kind: of pieces, see `registry`.
        words: the library's own.
    """

    kind: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        registry.reserve(self.kind, *self.words)


def _registered(names: Registered) -> Kind:
    """The texts of registered pieces beside the library's own words.

    A file's text is taken for what it may be elsewhere: whoever makes the piece says that there is none. What is typed
    has to be there.
    """

    def fit(value: Any) -> str:
        text: str = TEXT.fit(value)
        if text not in names.words:
            registry.read(names.kind, text)
        return text

    def read(word: str) -> str:
        if word not in names.words and not registry.knows(names.kind, word):
            raise ValueError(word)
        return word

    stored = f"{', '.join(map(repr, names.words))} or the text of a registered {names.kind}"
    return Kind(fit, read, stored, stored, "|".join(names.words), words=names.words, registry=names.kind)


def _list_of(members: tuple[Kind, ...], endless: bool) -> Kind:
    """As many values as there are members, or any number of the one member; a list serves as a tuple, and one text
    as a list of it.

    On the command line there are commas between them; a text with a comma stands in quotes: ``"size, cm",angle``.
    """
    each, count = members[0], len(members)

    def fit(value: Any) -> tuple[Any, ...]:
        value = [value] if endless and isinstance(value, str) else value
        if not isinstance(value, (list, tuple)) or not (endless or len(value) == count):
            raise TypeError
        return tuple(kind.fit(item) for kind, item in zip(cycle(members), value, strict=False))

    def read(word: str) -> tuple[Any, ...]:
        words = [] if word.lower() == "none" else word.split(",")
        if each is TEXT and '"' in word:
            words = next(csv.reader([word], skipinitialspace=True))
        if not (endless or len(words) == count):
            raise ValueError(word)
        return tuple(kind.read(one) for kind, one in zip(cycle(members), words, strict=False))

    several = f"{each.typed.removeprefix('a ')}s"
    return Kind(
        fit,
        read,
        stored=f"a list{'' if endless else f' of {count}'}, each {each.stored}",
        typed=f"{several} with commas between them" if endless else f"{count} {several}",
        metavar=f"{each.metavar},{each.metavar},..." if endless else " ".join(one.metavar for one in members),
        members=members,
    )


def _either(options: tuple[Kind, ...]) -> Kind:
    """The first kind that fits; 'none' is read before any text."""
    others = tuple(kind for kind in options if kind is not NOTHING)
    nothing = (NOTHING,) * (NOTHING in options)
    return Kind(
        lambda value: _first(options, lambda kind: kind.fit(value), TypeError),
        lambda word: _first(nothing + others, lambda kind: kind.read(word), ValueError),
        stored=" or ".join(kind.stored for kind in options),
        typed=" or ".join(kind.typed for kind in others + nothing),
        metavar="|".join(kind.metavar for kind in others),
        options=options,
    )


def _by_fields(value: Any) -> Any:
    raise NotImplementedError("settings in settings are fitted and read field by field, as files and options hold them")


def _plain(value: Any) -> Any:
    """NumPy's numbers, and tensors of one number, as Python's."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _first(kinds: Sequence[Kind], attempt: Callable[[Kind], Any], error: type[Exception]) -> Any:
    for kind in kinds:
        try:
            return attempt(kind)
        except error:
            continue
    raise error


WHOLE = _scalar(int, "N", "a whole number")
NUMBER = _scalar(float, "X", "a number")
TEXT = _scalar(str, "TEXT", "a text")
FLAG = _scalar(bool, "", "true or false")
NOTHING = Kind(_no_value, _no_word, "null", "'none'", "")
_SCALARS = {int: WHOLE, float: NUMBER, str: TEXT, bool: FLAG, types.NoneType: NOTHING}


@cache
def kind_of(hint: Any) -> Kind:
    """The kind of an annotation's values."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _registered(args[1])
    if origin is Literal:
        return choice(args)
    if origin in (Union, types.UnionType):
        return _either(tuple(map(kind_of, args)))
    if origin is tuple:
        return _list_of(tuple(kind_of(one) for one in args if one is not Ellipsis), endless=args[-1] is Ellipsis)
    if is_dataclass(hint) and isinstance(hint, type):
        return Kind(_by_fields, _by_fields, "settings", "settings", "", section=hint)
    if hint not in _SCALARS:
        known = "int, float, str, bool, Literal, a tuple of these, or None beside one"
        raise UndiffuseError(f"A setting's annotation should be of {known}; {hint} is none of these")
    return _SCALARS[hint]
