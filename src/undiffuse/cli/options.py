"""Options that several commands have."""

from __future__ import annotations

from typing import Any

from undiffuse.cli.parse_values import OptionReader, number, whole

DEVICES = "auto, cpu, cuda, cuda:1, mps (default: auto)"
WEIGHTS = "'ema', 'raw', or a rate such as '0.999' (default: ema)"


def add_count(group: Any, flag: str, low: int, text: str, metavar: str = "N") -> None:
    """An option with a whole number from ``low`` on."""
    group.add_argument(flag, type=whole(flag, low), metavar=metavar, help=text)


def add_number(group: Any, flag: str, text: str, **limit: float) -> None:
    """An option with a number; the limit is that of `number`."""
    group.add_argument(flag, type=number(flag, **limit), metavar="X", help=text)


def add_choice(group: Any, flag: str, hint: Any, text: str) -> None:
    """An option with one of the words of a Literal."""
    group.add_argument(flag, type=OptionReader(flag, hint), metavar="|".join(hint.__args__), help=text)


def add_list(parser: Any, group: Any, flag: str, hint: Any, text: str, **how: Any) -> None:
    """An option with numbers that are typed with commas or spaces between them."""
    read = OptionReader(flag, hint)
    group.add_argument(flag, type=read, metavar=read.kind.metavar, help=text, **how)
    parser.lists.add(flag)


def add_seed(group: Any, what: str = "the noise") -> None:
    add_count(group, "--seed", 0, f"of {what} (default: 0)")


def add_device(group: Any) -> None:
    group.add_argument("--device", metavar="TEXT", help=DEVICES)


def add_weights(group: Any) -> None:
    group.add_argument("--weights", metavar="TEXT", help=WEIGHTS)


def add_overwrite(group: Any, text: str = "replace files that are there") -> None:
    group.add_argument("--overwrite", action="store_true", help=text)
