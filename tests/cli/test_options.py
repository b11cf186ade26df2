"""Fields of a dataclass become options that give back what was typed, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import fields_of
from undiffuse.config.network import NetworkConfig
from undiffuse.config.schema import ARCHITECTURES, TrainConfig
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Settings:
    """Every kind of field that the settings have."""

    count: int = 3
    """How many, 100 % of them."""
    rate: float = 0.5
    """A rate."""
    name: str = "x"
    """A name,
    over two lines."""
    mode: Literal["fast", "slow"] = "fast"
    """A choice."""
    flip: bool = False
    """A switch."""
    levels: tuple[int, ...] = (1, 2)
    """A list."""
    size: int | tuple[int, int] | None = None
    """One or two numbers."""
    clip: float | None = 1.0
    """Perhaps a number."""
    check_every: int = 1
    """Two words."""


def parse(line: str) -> dict[str, Any]:
    parser = Parser("undiffuse try", "Try.")
    parser.add_argument("DATA")
    add_fields(parser, Settings)
    return vars(parser.parse(line.split()))


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("", {}),
        ("--count 4", {"count": 4}),
        ("--count -4", {"count": -4}),
        ("--rate 1e-4", {"rate": 1e-4}),
        ("--rate=3", {"rate": 3.0}),
        ("--name none", {"name": "none"}),
        ("--mode slow", {"mode": "slow"}),
        ("--flip", {"flip": True}),
        ("--no-flip", {"flip": False}),
        ("--levels 4", {"levels": (4,)}),
        ("--levels 4,5,6", {"levels": (4, 5, 6)}),
        ("--levels 4 5 6", {"levels": (4, 5, 6)}),
        ("--levels -4,5", {"levels": (-4, 5)}),
        ("--levels -4 -5", {"levels": (-4, -5)}),
        ("--levels none", {"levels": ()}),
        ("--size 64", {"size": 64}),
        ("--size 64 96", {"size": (64, 96)}),
        ("--size 64,96", {"size": (64, 96)}),
        ("--size none", {"size": None}),
        ("--clip none", {"clip": None}),
        ("--clip 2", {"clip": 2.0}),
        ("--check-every 5", {"check_every": 5}),
        ("--levels 1 2 --size 3 4 --count 5", {"levels": (1, 2), "size": (3, 4), "count": 5}),
    ],
)
def test_only_what_was_typed_comes_back(line: str, typed: dict[str, Any]) -> None:
    for where in (f"data {line}", f"{line} data"):
        assert parse(where) == {"DATA": "data", **typed}


@pytest.mark.parametrize(
    "line",
    ["--count x", "--count 1.0", "--rate inf", "--mode fats", "--size 1,2,3", "--size ,", "--levels 1,", "--clip no"],
)
def test_a_value_of_another_type_is_refused(line: str) -> None:
    with pytest.raises(UndiffuseError, match=f"^{line.split()[0]} cannot be '"):
        parse(f"data {line}")


def test_help_is_the_string_below_the_field() -> None:
    assert fields_of(Settings)["name"].text == "A name, over two lines."
    parser = Parser("undiffuse try", "Try.")
    add_fields(parser, Settings)
    assert "How many, 100 % of them. (default: 3)" in parser.format_help()


def test_every_field_of_the_settings_has_help() -> None:
    for cls in (TrainConfig, *ARCHITECTURES.classes.values(), NetworkConfig):
        assert all(field.text or cls is TrainConfig for field in fields_of(cls).values())


def test_omitted_fields_are_no_options() -> None:
    parser = Parser("undiffuse try", "Try.")
    add_fields(parser, Settings, omit=("rate",))
    with pytest.raises(UndiffuseError, match="has no option '--rate'"):
        parser.parse(["--rate", "1"])
