"""A recipe: a function from what is known of the data to every setting of a training, and its promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Recipe:
    """A named set of settings, with what it costs and what it gave; ``undiffuse recipes`` lists these lines."""

    name: str
    """The value of the setting `recipe`."""
    description: str
    needs: str
    """Data, time and hardware; a figure says who measured it."""
    reached: str
    """Quality, with everything that a figure needs beside it; a figure says who measured it."""
    sampling: SampleConfig
    """The settings to draw with; where ``reached`` holds figures, they were reached with these."""
    build: Callable[[DataInfo], TrainConfig]
    """The settings for a data set; raises UndiffuseError for data that the recipe is not for."""


def require(recipe: str, shape: tuple[int, ...], info: DataInfo) -> None:
    """Check that the data have the paper's shape."""
    if info.shape != shape:
        raise UndiffuseError(
            f"The recipe '{recipe}' is for data of the shape {shape} (channels, height, width), and '{info.name}' has "
            f"{info.shape}; bring it to that shape with `size={shape[-1]}` `channels=rgb`, or use `recipe=small`."
        )
