"""What every U-Net asks of its options before it is built; sentences for what describes no network."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from undiffuse.errors import UndiffuseError

LEVELS = 16


def check_depth(multipliers: Sequence[int]) -> None:
    """Refuse more levels than any network has: settings may come from a stranger's file."""
    if len(multipliers) > LEVELS:
        raise UndiffuseError(f"`multipliers` has {len(multipliers)} levels, and {LEVELS} are the most")


def check_levels(name: str, chosen: Collection[int], levels: int) -> None:
    """Refuse numbers of levels, of the setting ``name``, that are not among 0 .. levels - 1."""
    if not set(chosen) <= set(range(levels)):
        raise UndiffuseError(
            f"`{name}` must be among 0 .. {levels - 1}, the {levels} levels of `multipliers`, not {chosen}."
        )


def check_dropout(probability: float) -> None:
    if not 0 <= probability < 1:
        raise UndiffuseError(f"`dropout` is a probability below 1, not {probability}.")


def check_images(x: Tensor, time: Tensor, channels: int) -> None:
    """Refuse a batch that is not of images of so many channels, each with a time."""
    if x.dim() != 4 or x.shape[1] != channels or time.shape != x.shape[:1]:
        raise UndiffuseError(
            f"This network takes images of {channels} channels and a time for each, not shapes {tuple(x.shape)} and "
            f"{tuple(time.shape)}."
        )
