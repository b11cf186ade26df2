"""The names of methods, and how each is walked where nothing else is asked for. No torch: `--help` reads this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError

Method = Literal["ddnm", "pigdm", "dps"]
FillMethod = Literal["replace", "repaint", "ddnm", "pigdm", "dps"]
Way = Literal["slerp", "shared"]

FILL_DEFAULT: FillMethod = "dps"
SOLVE_DEFAULT: Method = "pigdm"

ADVISED: dict[str, SampleConfig] = {
    "replace": SampleConfig(sampler="ddpm", steps=100),
    "repaint": SampleConfig(sampler="ddpm", steps=50),
    "ddnm": SampleConfig(sampler="ddpm", steps=100),
    "pigdm": SampleConfig(sampler="ddpm", steps=100),
    "dps": SampleConfig(sampler="ddpm", steps=250),
    "stage": SampleConfig(augmentation=0.0),
}
"""What was measured for docs/editing.md."""

ROUNDING: float = 2 / 255 / 12**0.5
"""Standard deviation, in model space, of what rounding to 256 levels does to a value."""


SCALE, JUMP, REPEATS, STRENGTH = 1.0, 10, 5, 0.5
"""What is taken where nothing is said."""


def unheeded(method: str, scale: float = SCALE, jump: int = JUMP, repeats: int = REPEATS) -> list[str]:
    """A sentence for each option that is not at its default and that the method does not look at."""
    repaints, follows = method == "repaint", method in ("pigdm", "dps")
    rows = (
        ("scale", scale, SCALE, follows, "method pigdm or dps"),
        ("jump", jump, JUMP, repaints, "method repaint"),
        ("repeats", repeats, REPEATS, repaints, "method repaint"),
    )
    return [
        f"{flag} {value:g} changes nothing here: it acts with {words}"
        for flag, value, usual, heeded, words in rows
        if value != usual and not heeded
    ]


LARGEST = 80_000_000
"""Pixels of a result; larger pictures are not read either (`undiffuse.data.files.decode.MAX_PIXELS`)."""


def check_result(sides: Sequence[int]) -> None:
    """Refuse results that no machine holds, before anything is made for them."""
    if math.prod(sides) > LARGEST:
        size = " x ".join(f"{side:,}" for side in sides)
        raise UndiffuseError(f"A result has at most {LARGEST:,} pixels; {size} are asked for: make it in parts")


def check_strength(strength: float) -> None:
    """Refuse a part of the way into noise outside [0, 1]."""
    if not 0 <= strength <= 1:
        raise UndiffuseError(f"A strength lies in 0..1, from the picture itself to pure noise; it is {strength:g}")
