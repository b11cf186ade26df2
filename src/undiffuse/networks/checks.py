"""What every U-Net asks of its options before it is built; sentences for what describes no network."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from undiffuse.config.network import RMSUNetConfig, ScoreUNetConfig
from undiffuse.errors import UndiffuseError

LEVELS = 16


def check_depth(multipliers: Sequence[int]) -> None:
    """Check that there are no more levels than any network has: settings may come from a stranger's file."""
    if len(multipliers) > LEVELS:
        raise UndiffuseError(f"`multipliers` has {len(multipliers)} levels, and {LEVELS} are the most")


def check_levels(name: str, chosen: Collection[int], levels: int) -> None:
    """Check that the levels in the setting ``name`` are among 0 .. levels - 1."""
    if not set(chosen) <= set(range(levels)):
        raise UndiffuseError(
            f"`{name}` must be among 0 .. {levels - 1}, the {levels} levels of `multipliers`, not {chosen}."
        )


def check_image_network(config: RMSUNetConfig | ScoreUNetConfig, dims: int, **counts: int) -> None:
    """Check what options of a network for images need: two dimensions, levels, positive ``counts``, an even width."""
    name, values = config.architecture, {"multipliers": config.multipliers, **counts}
    if dims != 2:
        raise UndiffuseError(f"`architecture={name}` is for images, not for data of {dims} spatial dimensions")
    check_depth(config.multipliers)
    sizes = (*config.multipliers, *counts.values())
    if not config.multipliers or min(sizes) < 1 or config.base < 4 or config.base % 2:
        raise UndiffuseError(
            f"`architecture={name}` takes positive {' and '.join(f'`{key}`' for key in values)} and an even `base` of "
            f"at least 4, not {', '.join(map(str, values.values()))} and {config.base}"
        )
    check_levels("attention_levels", config.attention_levels, len(config.multipliers))
    check_dropout(config.dropout)


def check_dropout(probability: float) -> None:
    if not 0 <= probability < 1:
        raise UndiffuseError(f"`dropout` is a probability below 1, not {probability}.")


def check_images(x: Tensor, time: Tensor, channels: int) -> None:
    """Check that a batch is of images of so many channels, each with a time."""
    if x.dim() != 4 or x.shape[1] != channels or time.shape != x.shape[:1]:
        raise UndiffuseError(
            f"This network takes images of {channels} channels and a time for each, not shapes {tuple(x.shape)} and "
            f"{tuple(time.shape)}."
        )
