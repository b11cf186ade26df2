"""Registered pieces: samplers, losses, schedules, ... that a program or a package adds, by the text that names them.

    register("sampler", "leap", Leap)            # Leap(order=2, ...) makes one; every option has a default
    make("sampler", "leap(order=3)")             # from the text of a setting, a file or an option
    text = keep("sampler", Leap(order=3))        # an object: settings hold its text, this process the object

Settings and files hold such a text and never code: ``NAME`` or ``NAME(option=value, ...)``, the values plain ones of
Python. It is parsed, not run. An object that was never registered is named by its class, and known to this process
alone: whoever goes on with it elsewhere gives it again.

Packages register their pieces in a module that their entry points name in the group ``undiffuse``; see
`load_packages`. No torch here.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from inspect import Parameter, signature
from threading import Lock
from typing import Any

from undiffuse.errors import UndiffuseError, closest, first_line

GROUP = "undiffuse"
"""Group of the entry points; the value of each is a module, which registers pieces when it is imported."""
LONGEST = 1000
"""Characters of a text: it may come from a stranger's file."""
ONE_AT_A_TIME = Lock()
"""Python 3.11 counts the depth of a tree it builds in one place for all threads, and fails where two meet."""
_TEXT = re.compile(r"([^\s()'\"=,][^()'\"=,]*?)(?:\((.*)\))?", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A registered piece.

    Args:
        name: what the user types.
        make: the piece, of its options by name; each has a default.
        note: when to use it.
    """

    name: str
    make: Callable[..., Any]
    note: str = ""

    @property
    def options(self) -> Mapping[str, Parameter]:
        return signature(self.make).parameters


@dataclass
class _Kind:
    """What there is of a kind: names that the library itself uses, registered pieces, kept objects by their texts."""

    own: tuple[str, ...] = ()
    pieces: dict[str, Piece] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


_KINDS = {
    "sampler": _Kind(),
    "guidance rule": _Kind(),
    "loss": _Kind(),
    "schedule": _Kind(),
    "optimizer": _Kind(),
    "architecture": _Kind(),
}


def reserve(kind: str, *names: str) -> None:
    """Say which names of a kind the library itself uses, so that nobody registers another piece under them."""
    _KINDS[kind].own += names


def register(kind: str, name: str, make: Callable[..., Any], note: str = "") -> None:
    """Make a piece known by a name.

    Args:
        kind: 'sampler', 'loss', ...
        name: without parentheses, quotes, commas and '='.
        make: see `Piece`.
        note: see `Piece`.

    Raises:
        UndiffuseError: the name is taken or cannot be typed, or an option has no default.
    """
    of_kind = _KINDS[kind]
    if not (isinstance(name, str) and name.strip() == name and (match := _TEXT.fullmatch(name)) and match[1] == name):
        raise UndiffuseError(
            f"The name of a {kind} is a text without ( ) ' \" = and commas, such as 'mine'; got {name!r}"
        )
    before = of_kind.pieces.get(name)
    if name in of_kind.own or (before and _home(before.make) != _home(make)):
        raise UndiffuseError(f"There is a {kind} '{name}' already: register yours under another name")
    piece = Piece(name, make, note)
    for option, parameter in piece.options.items():
        if parameter.default is Parameter.empty or parameter.kind is Parameter.POSITIONAL_ONLY:
            raise UndiffuseError(
                f"The {kind} '{name}' is to be made by its name alone: give `{option}` of {_called(make)} a default"
            )
    of_kind.pieces[name] = piece


def registered(kind: str) -> Mapping[str, Piece]:
    """The registered pieces of a kind by name."""
    return _KINDS[kind].pieces


def knows(kind: str, text: str) -> bool:
    """Whether a text names a registered piece or stands for a kept object; the library's own names aside."""
    return text in _KINDS[kind].kept or read(kind, text)[0] in _KINDS[kind].pieces


def check(kind: str, text: str) -> None:
    """Check that a text names a registered piece, by options that it has, or stands for a kept object.

    Raises:
        UndiffuseError: it does not.
    """
    of_kind = _KINDS[kind]
    if text in of_kind.kept:
        return
    name, options = read(kind, text)
    if name not in of_kind.pieces:
        raise missing(kind, text)
    known = of_kind.pieces[name].options
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UndiffuseError(f"The {kind} '{name}' has no option '{option}': {has}")


def make(kind: str, text: str, **settings: Any) -> Any:
    """The piece that a text names, or the object that it stands for.

    Args:
        settings: options that settings of their own name have, for the pieces that take them.

    Raises:
        UndiffuseError: there is none, or it has no such options.
    """
    check(kind, text)
    of_kind = _KINDS[kind]
    if text in of_kind.kept:
        return of_kind.kept[text]
    name, options = read(kind, text)
    piece = of_kind.pieces[name]
    shared = {option: value for option, value in settings.items() if option in piece.options}
    try:
        return piece.make(**{**shared, **options})
    except (TypeError, ValueError) as error:
        raise UndiffuseError(f"The {kind} '{text}' cannot be made: {first_line(error)}") from error


def missing(kind: str, text: str) -> UndiffuseError:
    """The error that there is no piece of this text."""
    of_kind, (name, options) = _KINDS[kind], read(kind, text)
    if name in of_kind.own:
        beside = " and ".join(["the name alone", *(f"`{option}={value}`" for option, value in options.items())])
        return UndiffuseError(f"The {kind} '{name}' comes with undiffuse, and its options are settings: give {beside}")
    if close := closest(name, sorted({*of_kind.own, *of_kind.pieces})):
        return UndiffuseError(f"There is no {kind} '{name}'; perhaps you meant '{close}'")
    return UndiffuseError(
        f"There is no {kind} '{name}' here: import or install the package that registers it, or give the object itself "
        "in Python"
    )


def read(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a text.

    Raises:
        UndiffuseError: it is not of the form ``NAME`` or ``NAME(option=value, ...)``.
    """
    match = _TEXT.fullmatch(text) if len(text) <= LONGEST else None
    options = _options(match[2]) if match and match[2] else {}
    if match is None or options is None:
        raise UndiffuseError(
            f"A {kind} is named by a text like 'mine' or 'mine(strength=0.5)', with plain values; got {text[:60]!r}"
        )
    return match[1], options


def _options(text: str) -> dict[str, Any] | None:
    """The options in ``option=value, ...``; None where that is something else."""
    try:
        with ONE_AT_A_TIME:
            call = ast.parse(f"_({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not all(keyword.arg for keyword in call.keywords):
            return None
        found = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        return found if len(found) == len(call.keywords) else None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


def split(words: str) -> list[str]:
    """The texts of a list with commas between them; those in parentheses are a text's own."""
    found, depth = [""], 0
    for sign in words:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return found


def write(name: str, options: Mapping[str, Any]) -> str:
    """The inverse of `read`."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})" if options else name


def kept(kind: str, text: str) -> Any:
    """The object that a text stands for.

    Raises:
        UndiffuseError: this process was given none.
    """
    if text not in _KINDS[kind].kept:
        raise missing(kind, text)
    return _KINDS[kind].kept[text]


def keep(kind: str, piece: Any, text: str = "") -> str:
    """The text that settings hold in place of an object, which `make` gives back in this process.

    An object of a registered class has the text that makes it anywhere; another has its class's name, with the fields
    of a dataclass that are not at their defaults. Two objects of one text are one: the later takes the earlier's place.

    Args:
        text: that of a file, if it is to stand for this object.
    """
    of_kind = _KINDS[kind]
    if text:
        of_kind.kept[text] = piece
        return text
    registered = next((one for one in of_kind.pieces.values() if one.make is type(piece)), None)
    name, options = registered.name if registered else _called(piece), _plain_fields(piece)
    text = write(name, options)
    if registered and registered.make(**options) == piece:
        return text
    if name in (*of_kind.own, *of_kind.pieces):
        text = f"given {text}"
    of_kind.kept[text] = piece
    return text


def _plain_fields(piece: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, where a text can hold them."""
    if not is_dataclass(piece) or isinstance(piece, type):
        return {}
    found = {}
    for one in fields(piece):
        value = getattr(piece, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.init and not (value is default or (type(value) is type(default) and value == default)):
            found[one.name] = value
    try:
        return found if all(ast.literal_eval(repr(value)) == value for value in found.values()) else {}
    except (ValueError, SyntaxError):
        return {}


def _called(piece: Any) -> str:
    """The name of a class, a function, or the class of an object; of a partial, that of its function."""
    piece = getattr(piece, "func", piece)
    return str(getattr(piece, "__name__", type(piece).__name__)).strip("<>")


def _home(make: Callable[..., Any]) -> tuple[str, str]:
    """Where a function or class is defined: a module that is imported again defines the same one."""
    return getattr(make, "__module__", ""), getattr(make, "__qualname__", repr(make))


@cache
def load_packages() -> None:
    """Import the modules that installed packages name by entry points of the group `GROUP`, once.

        [project.entry-points.undiffuse]
        leap = "leap.pieces"

    A module that cannot be imported is warned of in a sentence and left out.
    """
    from importlib.metadata import entry_points  # a third of the time in which undiffuse is imported

    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # whatever a stranger's package raises, undiffuse goes on without it
            warnings.warn(
                f"the package of '{entry.name}' ({entry.value}) is left out, for it could not be imported: "
                f"{type(error).__name__}: {first_line(error)}",
                stacklevel=2,
            )
