"""Settings of data: what to learn from, and how its files become arrays of one shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """The data to learn from, and how their files become arrays of one shape."""

    source: str = "digits"
    """A folder, a file or a pattern of any kind in docs/use/data.md, hf:ORG/NAME, or the built-in name 'digits'."""
    size: int | tuple[int, int] | None = None
    """Resize to this side, or to HEIGHT WIDTH; without it nothing is resized and all files must have one shape."""
    crop: Literal["none", "center", "random", "tiles"] = "none"
    """With `size`: 'center' scales the short side and cuts the middle; 'random' cuts another part each time an image is
    learned; 'tiles' makes a sample of every part; 'none' requires the aspect ratio to fit."""
    crop_from: int | None = None
    """With `crop=random` or tiles: scale images to this short side first; else they are cut at their own size."""
    channels: Literal["keep", "grey", "rgb", "rgba"] = "keep"
    """'keep' takes the channels the files have (they must agree); the others convert, alpha onto white."""
    skip_unreadable: bool = False
    """Go on without files that cannot be read, however many they are; they are counted and listed."""
    flip: bool = False
    """Mirror images left to right at random while training; only for data in which left and right are alike."""
    vectors: tuple[str, ...] = ()
    """Columns of numbers in the metadata, or arrays of an .npz file, for `condition=vector`: angle,width. A
    name with a comma stands in quotes: '"size, cm",angle'."""
    pairs: str = ""
    """A second folder or file, with a picture of the same name for each image, for `condition=image`; `size`, `crop`
    and `channels` hold for both."""
    validation: float | str = 0.0
    """A share of the data that is not learned (0.1), or other data: their loss is measured as the training goes."""
    frames: int = 0
    """Frames of a clip, for videos."""
    stride: int = 1
    """For videos: a clip takes every frame, every second one, ..."""
    stream: bool = False
    """Read shards as the training goes, with no prepared copy on the disk; for data larger than it."""
    buffer: int = 2048
    """With `stream`: examples among which the next one is drawn, kept in memory as they are in their files."""

    def of_others(self, source: str) -> DataConfig:
        """The settings for other images to be like these: prepared alike, without what is said of these."""
        return self if source == self.source else replace(self, source=source, vectors=(), pairs="", validation=0.0)
