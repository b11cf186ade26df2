"""The names of methods, and how each is walked where nothing else is asked for. No torch: `--help` reads this."""

from __future__ import annotations

from typing import Literal

from undiffuse.config import SampleConfig
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


def check_strength(strength: float) -> None:
    """Refuse a part of the way into noise outside [0, 1]."""
    if not 0 <= strength <= 1:
        raise UndiffuseError(f"A strength lies in 0..1, from the picture itself to pure noise; it is {strength:g}")
