"""What is asked of a model: which samples, by their numbers, and by what settings."""

from __future__ import annotations

import math
import operator
import warnings
from dataclasses import asdict
from typing import Any

from undiffuse.config import SampleConfig
from undiffuse.config_file import from_plain
from undiffuse.errors import UndiffuseError


def cut_into_blocks(indices: range, size: int) -> list[range]:
    """The numbers cut at multiples of the micro-batch: each piece is drawn in one go."""
    cuts = range(indices.start // size * size, indices.stop, size)
    return [range(max(cut, indices.start), min(cut + size, indices.stop)) for cut in cuts]


MOST = 100_000_000
"""Samples asked for at once: their numbers alone, in micro-batches, take memory."""


def check_numbers(n: int, seed: int, first: int) -> None:
    """Refuse numbers that cannot be sampled.

    Raises:
        UndiffuseError: one of them is out of range.
    """
    if n > MOST:
        raise UndiffuseError(
            f"Sampling takes at most {MOST:,} samples at a time, and n is {n:,}: draw them in parts, with first"
        )
    if n < 1 or seed < 0 or first < 0:
        raise UndiffuseError(
            "Sampling needs n of at least 1, and seed and first of at least 0; it got "
            f"n={n}, seed={seed}, first={first}"
        )


def whole_numbers(**values: Any) -> list[int]:
    """Numbers that Python's callers may have as NumPy's or as tensors, as the plain ones that files can hold.

    Raises:
        UndiffuseError: one is no whole number, such as 2.5, "2" or None.
    """
    for name, value in values.items():
        if not hasattr(value, "__index__") or getattr(value, "shape", ()) != ():
            raise UndiffuseError(f"{name} must be a whole number, got {value!r}")
    try:
        return [operator.index(value) for value in values.values()]
    except TypeError:  # NumPy's and torch's numbers that are not whole
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise UndiffuseError(f"expected whole numbers, got {shown}") from None


def whole_range(indices: Any) -> range:
    """Numbers of samples: a range in steps of 1, of plain whole numbers.

    Raises:
        UndiffuseError: it is another thing.
    """
    if not isinstance(indices, range) or indices.step != 1:
        raise UndiffuseError(f"The samples to draw must be a range in steps of 1, such as range(16), got {indices!r}")
    if indices.stop - indices.start > MOST:  # len() itself fails beyond the machine's integers
        raise UndiffuseError(f"Sampling takes at most {MOST:,} samples at a time, got {indices!r}: draw them in parts")
    return indices


BOUNDS = {
    "steps": (-math.inf, 100_000),
    "eta": (0.0, 1.0),
    "churn": (0.0, 10_000),
    "tolerance": (1e-12, 1.0),
    "guidance": (-1000.0, 1000.0),
    "augmentation": (0.0, 1.0),
}
"""Finite numbers that mean something, by the field of `SampleConfig`; beyond them there is noise, NaN, or no end."""
SATURATING = 50.0
"""Guidance from which on samples are mostly values at the ends of their range."""


def check_bounds(settings: SampleConfig) -> None:
    """Refuse numbers that are finite and senseless, and say of guidance that is far beyond use what it does.

    Raises:
        UndiffuseError: one of them is out of `BOUNDS`.
    """
    for name, (low, high) in BOUNDS.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            limits = f"at most {high:g}" if low == -math.inf else f"from {low:g} to {high:g}"
            raise UndiffuseError(f"--{name.replace('_', '-')} takes a number {limits}, and it is {value:g}")
    if settings.micro_batch is not None and settings.micro_batch < 1:
        raise UndiffuseError(f"An evaluation takes a micro_batch of at least 1 image, and it is {settings.micro_batch}")
    if abs(settings.guidance) >= SATURATING:
        warnings.warn(
            f"--guidance {settings.guidance:g} leads far beyond what was learned: most values will be at the ends of "
            "their range; 1 to 10 is usual",
            stacklevel=3,
        )


def override_settings(settings: SampleConfig, overrides: dict[str, Any]) -> SampleConfig:
    """The settings with single fields replaced; names and values are checked."""
    return from_plain(SampleConfig, {**asdict(settings), **overrides}, "the sampling")
