"""Command-line options out of the fields of the settings.

The name, the type and the help of ``--lr`` come from the field `OptimizerConfig.lr` and the string below it; nothing is
written twice. This is a thin layer over argparse rather than a library that turns dataclasses into parsers (tyro,
typer, jsonargparse), for three reasons:

* The defaults of ``undiffuse train`` are a recipe's, and a recipe looks at the data first. So parsing must give back
  what was *typed* and nothing else, which argparse can (``SUPPRESS``) and those libraries, which return whole
  objects, cannot.
* A wrong value is answered by one sentence, where they draw a box of ten lines.
* It takes 10 ms instead of 80.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from undiffuse.errors import UndiffuseError, perhaps

NUMBER = re.compile(r"[-+]?[\d.][\d.,e+-]*", re.IGNORECASE)


SENTENCES = (
    (r"^argument (?:-\w/)?([^\s/]+)\S*: expected one argument$", r"\1 needs a value after it"),
    (r"^argument (?:-\w/)?([^\s/]+)\S*: ignored explicit argument (.*)$", r"\1 takes no value, so not \2"),
    (r"^unrecognized arguments: (.*)$", r"There is no place for '\1'"),
    (r"^the following arguments are required: (.*)$", r"This needs \1"),
)
"""argparse's messages as sentences of ours."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises one-sentence errors and gives back only what was typed."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
            formatter_class=_Formatter,
        )
        self._positionals.title = "arguments"

    def error(self, message: str) -> NoReturn:
        for pattern, words in SENTENCES:
            message = re.sub(pattern, words, message)
        raise UndiffuseError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """What was typed.

        Raises:
            UndiffuseError: an option that there is not, a value that cannot be, or an argument too few or too many.
        """
        for word in argv:
            self._check_known(word)
        return self.parse_args(self._join_lists(argv))

    def _check_known(self, word: str) -> None:
        """Misspelt options first: argparse would complain of what is missing because of them."""
        if not word.startswith("-") or word == "-" or NUMBER.fullmatch(word):
            return
        name = word.split("=")[0] if word.startswith("--") else word[:2]
        if name not in self._option_string_actions:
            long = [known for known in self._option_string_actions if known.startswith("--")]
            close = perhaps(name, long)
            # The list of all options would be no sentence.
            hint = close if "perhaps" in close else f"; see {self.prog} --help"
            raise UndiffuseError(f"{self.prog} has no option '{name}'{hint}")

    def _join_lists(self, argv: Sequence[str]) -> list[str]:
        """``--size 64 96`` becomes ``--size 64,96``, so that a list ends where its numbers end."""
        joined: list[str] = []
        inside = False
        for word in argv:
            if inside and NUMBER.fullmatch(word) and NUMBER.fullmatch(joined[-1]):
                joined[-1] += f",{word}"
                continue
            # A list's option itself is followed by its first value, which the next turn may extend.
            inside = word in self._lists or (inside and joined[-1] in self._lists)
            joined.append(word)
        return joined

    @property
    def _lists(self) -> set[str]:
        return {
            name
            for name, action in self._option_string_actions.items()
            if isinstance(action.type, _Reader) and action.type.is_list
        }


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Options and their help in two columns of a width that reads well."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Arguments one by one, options as [OPTIONS]: sixty options in brackets tell nobody anything."""
        arguments = [action for action in actions if not action.option_strings]
        words = [f"[{a.dest}]" if a.nargs == "?" else a.dest for a in arguments]
        super().add_usage(" ".join(["%(prog)s", *words, "[OPTIONS]"]), [], [], prefix)


def add_fields(parser: Parser, cls: type, title: str = "", omit: Sequence[str] = (), defaults: bool = True) -> None:
    """An option for every field of a dataclass.

    Args:
        parser: the command's parser.
        cls: a dataclass of settings.
        title: heading of the group of options.
        omit: fields that are not for the command line.
        defaults: say the fields' defaults in the help.
    """
    group = parser.add_argument_group(title or "options")
    hints, texts = get_type_hints(cls), field_texts(cls)
    for field in fields(cls):
        if field.name not in omit:
            _add(group, field, hints[field.name], texts[field.name], defaults)


def _add(group: Any, field: Field[Any], hint: Any, text: str, defaults: bool) -> None:
    flag = "--" + field.name.replace("_", "-")
    text = text.replace("%", "%%")
    if defaults:
        text += f" (default: {show(field.default)})"
    if hint is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
    else:
        group.add_argument(flag, type=_Reader(flag, hint), metavar=metavar(hint), help=text)


def show(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return ",".join(show(part) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


@cache
def _module_texts(module: str) -> dict[str, dict[str, str]]:
    """For each class of a module: the string below each annotated field."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_described(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _described(body: Sequence[ast.stmt]) -> list[tuple[str, str]]:
    found = []
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found.append((field.target.id, " ".join(str(text.value.value).split())))
    return found


def field_texts(cls: type) -> dict[str, str]:
    """The string below each field of a dataclass; Python itself forgets them."""
    return _module_texts(cls.__module__)[cls.__name__]


class _Reader:
    """Text to a value of the declared type, or one sentence about what should have been typed."""

    def __init__(self, flag: str, hint: Any) -> None:
        self.flag, self.hint = flag, hint
        self.is_list = any(get_origin(part) is tuple for part in _parts(hint))

    def __call__(self, text: str) -> Any:
        try:
            return read(text, self.hint)
        except ValueError:
            choices = [word for part in _parts(self.hint) if get_origin(part) is Literal for word in get_args(part)]
            hint = perhaps(text, choices) if choices else f"; it takes {describe(self.hint)}"
            raise UndiffuseError(f"{self.flag} cannot be '{text}'{hint}") from None


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, None first; or the type alone."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(sorted(get_args(hint), key=lambda part: part is not NoneType))
    return (hint,)


def read(text: str, hint: Any) -> Any:
    """The value that a text stands for.

    Raises:
        ValueError: it stands for none of this type.
    """
    for part in _parts(hint):
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
    """``1,2,2``; of any length where the type ends in ..., where 'none' is the empty list."""
    words = [] if text.lower() == "none" else text.split(",")
    if members[-1] is not Ellipsis and len(words) != len(members):
        raise ValueError(text)
    return tuple(_read_one(word, members[0]) for word in words)


NAMES: dict[Any, tuple[str, str]] = {int: ("N", "a whole number"), float: ("X", "a number"), str: ("TEXT", "a word")}


def metavar(hint: Any) -> str:
    """What stands after the option in its help."""
    return "|".join(_metavar(part) for part in _parts(hint) if part is not NoneType)


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    if get_origin(hint) is tuple:
        inner, *rest = (NAMES[part][0] for part in get_args(hint) if part is not Ellipsis)
        return " ".join([inner, *rest]) if rest else f"{inner},{inner},..."
    return NAMES[hint][0]


def describe(hint: Any) -> str:
    """What an option takes, in words."""
    return " or ".join(_describe(part) for part in sorted(_parts(hint), key=lambda part: part is NoneType))


def _describe(hint: Any) -> str:
    if hint is NoneType:
        return "'none'"
    if get_origin(hint) is not tuple:
        return NAMES[hint][1]
    member, last = get_args(hint)[0], get_args(hint)[-1]
    word = NAMES[member][1].removeprefix("a ")
    return f"{word}s with commas between them" if last is Ellipsis else f"{len(get_args(hint))} {word}s"


Convert = Callable[[str], Any]


def whole(flag: str, low: int) -> Convert:
    """A whole number not below ``low``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise UndiffuseError(f"{flag} cannot be '{text}'; it takes a whole number from {low} on")
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
