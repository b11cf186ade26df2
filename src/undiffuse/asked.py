"""What is asked of a model: which samples, by their numbers, and by what settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from undiffuse.config import SampleConfig
from undiffuse.config_file import from_plain
from undiffuse.errors import UndiffuseError


def cut_into_blocks(indices: range, size: int) -> list[range]:
    """The numbers cut at multiples of the micro-batch: each piece is drawn in one go."""
    cuts = range(indices.start // size * size, indices.stop, size)
    return [range(max(cut, indices.start), min(cut + size, indices.stop)) for cut in cuts]


def check_numbers(n: int, seed: int, first: int, settings: SampleConfig) -> None:
    """Refuse numbers that cannot be sampled.

    Raises:
        UndiffuseError: one of them is out of range.
    """
    if n < 1 or seed < 0 or first < 0 or settings.micro_batch < 1:
        raise UndiffuseError(
            "Sampling needs n and micro_batch of at least 1, and seed and first of at least 0; it got "
            f"n={n}, micro_batch={settings.micro_batch}, seed={seed}, first={first}"
        )


def override_settings(settings: SampleConfig, overrides: dict[str, Any]) -> SampleConfig:
    """The settings with single fields replaced; names and values are checked."""
    return from_plain(SampleConfig, {**asdict(settings), **overrides}, "the sampling")
