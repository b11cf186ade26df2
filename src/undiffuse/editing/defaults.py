"""The names of methods, and how each is walked where nothing else is asked for. No torch: `--help` reads this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError

Method = Literal["ddnm", "pigdm", "dps"]
FillMethod = Literal["replace", "repaint", "ddnm", "pigdm", "dps"]
Way = Literal["slerp", "shared"]

ADVISED: dict[str, SampleConfig] = {
    "replace": SampleConfig.of(sampler="ddpm", steps=100),
    "repaint": SampleConfig.of(sampler="ddpm", steps=50),
    "ddnm": SampleConfig.of(sampler="ddpm", steps=100),
    "pigdm": SampleConfig.of(sampler="ddpm", steps=100),
    "dps": SampleConfig.of(sampler="ddpm", steps=250),
    "stage": SampleConfig.of(augmentation=0.0),
}
"""What was measured for docs/use/editing.md."""

TO_NOISE = SampleConfig.of(sampler="ddim", steps=100, spacing="linspace")
"""How walks are inverted."""

ROUNDING: float = 2 / 255 / 12**0.5
"""Standard deviation, in model space, of what rounding to 256 levels does to a value."""


@dataclass(frozen=True)
class Quick:
    """Settings of the sampler where somebody waits, and options of the edit on fewer steps than ``below``."""

    settings: SampleConfig
    options: Mapping[str, Any]
    below: int


QUICK: dict[str, Quick] = {"dps": Quick(SampleConfig.of(sampler="ddpm", steps=50), {"scale": 2.0}, below=100)}
"""By method: DPS on a fifth of its steps, with a gradient twice as long."""

LARGEST = 80_000_000
"""Pixels of a result; larger pictures are not read either (`undiffuse.data.files.decode.MAX_PIXELS`)."""


def check_result(sides: Sequence[int]) -> None:
    if math.prod(sides) > LARGEST:
        size = " x ".join(f"{side:,}" for side in sides)
        raise UndiffuseError(f"A result has at most {LARGEST:,} pixels; {size} are asked for: make it in parts")


def nearest_strength(times: Sequence[float], t_max: float, strength: float) -> float:
    """The strength nearest to one wanted that names a time of a walk, 0 at its end left out."""
    return min((t / t_max for t in times if t > 0), key=lambda part: abs(part - strength))


def own_strength(times: Sequence[float], t_max: float, strength: float) -> float:
    """The strength of a student's time that a strength names, within a rounding to two digits.

    Args:
        times: of its walk, from noise to data.

    Raises:
        UndiffuseError: it names none.
    """
    own = [t for t in times if t > 0]
    nearest = nearest_strength(own, t_max, strength)
    if abs(nearest - strength) <= 0.005:
        return nearest
    allowed = ", ".join(f"{t / t_max:.3g}" for t in reversed(own))
    where = "1 step and starts at its one time" if len(own) == 1 else f"{len(own)} steps and starts at one of its times"
    raise UndiffuseError(f"This model was distilled for {where} alone: `strength` is {allowed}, and it is {strength:g}")


def check_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise UndiffuseError(f"A strength lies in 0..1, from the picture itself to pure noise; it is {strength:g}")


def quarter(sides: Sequence[int]) -> int:
    """The margin that an extension has where nothing is said: a quarter of the shorter side."""
    return max(1, (min(sides) + 2) // 4)
