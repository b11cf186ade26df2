"""The options of the edits: default, text, limits, flag, and beside which of the others each acts.

`undiffuse edit`, `POST /v1/edits` and the functions of `undiffuse.editing` take them from here. No torch: `--help`
reads this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from undiffuse.conditioning.class_names import NONE
from undiffuse.config.fields import Field, fields_of
from undiffuse.config.without_effect import without_effect
from undiffuse.editing.defaults import FillMethod, Method, Way, check_strength
from undiffuse.errors import UndiffuseError, perhaps

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """A rule of an option, beside its type, default and text.

    Args:
        flag: its name on the command line, where that is another.
        least: the smallest whole number that it takes.
        above: a number that it lies above.
        check: refuses values with a sentence of its own.
        acts_with: another option, and the values of that one beside which this one changes something.
    """

    flag: str = ""
    least: int | None = None
    above: float | None = None
    check: Callable[[Any], object] = lambda value: None
    acts_with: tuple[str, tuple[object, ...]] | None = None


def option(default: T, **rule: Any) -> T:
    return field(default=default, metadata={"rule": Rule(**rule)})


def options_of(cls: type) -> dict[str, Field]:
    """The options of a class of them by name, its own before those of its parents."""
    found = fields_of(cls)
    return dict(sorted(found.items(), key=lambda pair: cls.__mro__.index(pair[1].owner)))


def rules_of(cls: type) -> dict[str, Rule]:
    """The rules of a class of options, by name."""
    return {each.name: each.metadata.get("rule", Rule()) for each in fields(cls)}


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """The option of all edits."""

    overlap: int | Literal["auto", "none"] = "auto"
    """Pixels that tiles share; 'none' for the whole picture at once, 'auto' for that up to the size that the model
    learned and a quarter of that size beyond."""

    def __post_init__(self) -> None:
        kinds = options_of(type(self))
        for name, rule in rules_of(type(self)).items():
            value, choices = getattr(self, name), kinds[name].kind.choices
            if choices and value not in choices:
                raise UndiffuseError(f"There is no {name} '{value}'{perhaps(str(value), choices)}")
            if rule.least is not None and value is not None and value < rule.least:
                raise UndiffuseError(f"`{name}` takes a whole number from {rule.least} on, and it is {value}")
            if rule.above is not None and value is not None and not value > rule.above:
                raise UndiffuseError(f"`{name}` takes a number above {rule.above:g}, and it is {value:g}")
            rule.check(value)


def unheeded(options: EditOptions) -> list[str]:
    """A sentence for each option that is not at its default and changes nothing beside the others."""
    rules = {}
    for name, rule in rules_of(type(options)).items():
        if rule.acts_with:
            other, values = rule.acts_with
            beside = f"`{other}`" if values == (True,) else f"`{other}={' or '.join(map(str, values))}`"
            rules[name] = getattr(options, other) in values, f"with {beside}"
    usual = {name: option.default for name, option in options_of(type(options)).items()}
    return without_effect(vars(options), rules, usual)


FOLLOWS = ("method", ("pigdm", "dps"))
REPAINTS = ("method", ("repaint",))


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(EditOptions):
    method: Method = "pigdm"
    """How the given part is met: 'ddnm' is quick, 'pigdm' and 'dps' follow gradients; see docs/use/editing.md."""
    scale: float = option(1.0, above=0, acts_with=FOLLOWS)
    """Of the gradient, for pigdm and dps."""


@dataclass(frozen=True, kw_only=True)
class InpaintOptions(EditOptions):
    method: FillMethod = "dps"
    """How the known part is met: 'dps' keeps objects whole, 'replace' and 'ddnm' are quick; see docs/use/editing.md."""
    scale: float = option(1.0, above=0, acts_with=FOLLOWS)
    """Of the gradient, for pigdm and dps; 2 is better for dps on fewer than 100 steps."""
    jump: int = option(10, least=1, acts_with=REPAINTS)
    """Repaint: steps that are walked again and again."""
    repeats: int = option(5, least=1, acts_with=REPAINTS)
    """Repaint: how often."""


@dataclass(frozen=True, kw_only=True)
class OutpaintOptions(InpaintOptions):
    top: int = option(0, least=0)
    """Pixels to add at the top; where all four are 0, a quarter of the shorter side is added everywhere."""
    bottom: int = option(0, least=0)
    """Pixels to add at the bottom."""
    left: int = option(0, least=0)
    """Pixels to add at the left."""
    right: int = option(0, least=0)
    """Pixels to add at the right."""


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions(RestoreOptions):
    factor: int | None = option(None, least=2)
    """How many times as large; by default 4, or what a stage of a cascade learned."""


@dataclass(frozen=True, kw_only=True)
class DeblurOptions(RestoreOptions):
    std: float = option(1.0, above=0)
    """Standard deviation of the blur in pixels."""
    noise: float | None = option(None, above=0)
    """Standard deviation of the picture's noise, in parts of 255; by default 0.29, that of rounding to 8 bits."""


@dataclass(frozen=True, kw_only=True)
class DenoiseOptions(EditOptions):
    noise: float | None = option(None, above=0)
    """Standard deviation of the noise, in parts of 255; by default it is estimated."""


@dataclass(frozen=True, kw_only=True)
class VaryOptions(EditOptions):
    strength: float = option(0.5, check=check_strength)
    """How far into noise, 0..1: 0 for the picture itself and 1 for a new one."""


@dataclass(frozen=True, kw_only=True)
class InterpolateOptions(EditOptions):
    way: Way = "slerp"
    """'slerp' goes by the arc between two latents, 'shared' by the line between both in the same noise."""
    frames: int = option(9, least=2)
    """Pictures, both ends among them."""
    strength: float = option(0.5, check=check_strength, acts_with=("way", ("shared",)))
    """Shared: how far into noise, 0..1."""
    exact: bool = option(False, acts_with=("way", ("slerp",)))
    """Slerp: invert by fixed-point iteration."""


EXACTLY = ("exact", (True,))


@dataclass(frozen=True, kw_only=True)
class InvertOptions(EditOptions):
    exact: bool = False
    """Solve each step by fixed-point iteration."""
    iterations: int = option(20, least=1, acts_with=EXACTLY)
    """Evaluations that an exact step may take."""
    within: float = option(1e-4, above=0, acts_with=EXACTLY)
    """Error at which an exact step is done, in model space."""


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(EditOptions):
    to: str
    """The class that is wanted, its whole name."""
    source: str = option(NONE, flag="from")
    """The class that the picture is of; ':none' tells the inversion no class, and so does 'none' where no class has
    that name."""
    strength: float = option(1.0, check=check_strength)
    """How far into noise, above 0 and up to 1: less keeps more of the picture."""
    exact: bool = False
    """Invert each step by fixed-point iteration."""
    iterations: int = option(20, least=1, acts_with=EXACTLY)
    """Evaluations that an exact step may take."""
