"""Clips of videos: (channels, frames, height, width), seen by their frames."""

from __future__ import annotations

from typing import ClassVar

from undiffuse.modalities.volumes import Volumes


class Videos(Volumes):
    """The middle frame, and beside it two slices through all frames, of a row and of a column of pixels over time."""

    noun: ClassVar[str] = "clip"
    axes: ClassVar[str] = "frames x height x width"
    tile_shows: ClassVar[str] = "the middle frame of each clip"


VIDEOS = Videos()
