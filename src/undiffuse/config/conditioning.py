"""Settings of what a network is told beside the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ConditionConfig:
    """The conditions of the network beside the time, by which samples can be asked for."""

    condition: tuple[Literal["class", "text", "vector", "image"], ...] = ()
    """'class', by the folder or the metadata that an image came with; 'text', by the metadata; 'vector', by the numbers
    that `vectors` names; 'image', by the pictures in `pairs`; 'none' for nothing."""
    condition_dropout: float = 0.1
    """Part of the images whose conditions are hidden, so that the network also learns to do without (guidance)."""
    upscale: int = 1
    """Learn to make images this many times as large, as a stage of a cascade: the network is told the small image."""
    augmentation: float = 0.5
    """With `upscale`: the most noise that small images are given, 0..1, so that the stage learns not to trust them."""
