"""Parts of images that are larger than the samples: tiles, and parts at random.

``--crop tiles`` makes a sample of every part of an image that one fits into; they lie beside one another, in the middle
of the image, and do not overlap. ``--crop random`` keeps images whole in the cache, and a training cuts another part
each time it learns from one. Where it is cut is a function of (seed, step), so that a resumed training cuts what an
uninterrupted one would. Whoever asks for image k otherwise (to measure, to look, for a likelihood) gets its middle.

Images are cut at their own size, or once their short side is ``--crop-from``; one that has the size of a sample is one
sample as it is, and one that is smaller than a sample is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.errors import UndiffuseError, counted

CUTS = ("random", "tiles")
"""Values of DataConfig.crop that may make several samples of an image."""
PLACES, SAMPLE, ABOUT = "places.npy", "sample.json", "crops.json"


def checked_size(config: DataConfig) -> tuple[int, int] | None:
    """Height and width that are asked for."""
    if config.crop_from is not None and config.crop not in CUTS:
        raise UndiffuseError("`crop_from` is for `crop=random` and `crop=tiles`; leave it out, or add one of them")
    if config.size is None:
        if config.crop != "none":
            raise UndiffuseError(f"expected `size` together with `crop={config.crop}`, got none; add `size=64`, say")
        return None
    sides = (config.size,) * 2 if isinstance(config.size, int) else tuple(config.size)
    if len(sides) != 2:
        raise UndiffuseError(f"expected `size` as one side or as height and width, got {len(sides)} numbers")
    height, width = sides
    if not (1 <= height <= 1 << 14 and 1 <= width <= 1 << 14):
        raise UndiffuseError(f"expected `size` between 1 and {1 << 14}, got {height} x {width}")
    if config.crop_from is not None and not max(height, width) <= config.crop_from <= 1 << 14:
        raise UndiffuseError(
            f"expected `crop_from` between {max(height, width)}, the longer side of a sample, and {1 << 14}, got "
            f"{config.crop_from}"
        )
    return height, width


@dataclass(frozen=True)
class Cut:
    """A summary of how images were cut."""

    kind: str
    """'random' or 'tiles'."""
    images: int
    least: int
    """Tiles of an image at least; for parts at random the least number of places."""
    most: int
    unused: float
    """Share of the pixels that are in no tile."""

    def says(self, count: int, size: Sequence[int]) -> str:
        sample = f"{size[0]} x {size[1]}"
        if self.kind == "tiles":
            each = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
            return (
                f"{counted(count, 'tile')} of {sample} from {counted(self.images, 'image')}, {each} of each; "
                f"{self.unused:.1%} of the pixels, at the edges, are in none"
            )
        return (
            f"a part of {sample} at random each time an image is learned, of {self.least:,} to {self.most:,} possible "
            "ones; figures and pictures are of the middle of each image"
        )


def scaled(height: int, width: int, size: tuple[int, int], short: int | None) -> tuple[int, int]:
    """Height and width at which an image is cut."""
    if short is None or (height, width) == size:
        return height, width
    scale = short / min(height, width)
    return max(short, round(height * scale)), max(short, round(width * scale))


def tiles(image: NDArray[Any], size: tuple[int, int]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name (top and left) and values of each tile of an image (height, width, channels), row by row."""
    height, width = image.shape[:2]
    for top in range(height % size[0] // 2, height - size[0] + 1, size[0]):
        for left in range(width % size[1] // 2, width - size[1] + 1, size[1]):
            yield f"{top},{left}", image[top : top + size[0], left : left + size[1]]


def about(kind: str, shapes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Cut:
    if kind == "random":
        places = [(h - size[0] + 1) * (w - size[1] + 1) for h, w in shapes]
        return Cut(kind, len(shapes), min(places), max(places), 0.0)
    counts = [(h // size[0]) * (w // size[1]) for h, w in shapes]
    unused = 1 - sum(counts) * size[0] * size[1] / sum(h * w for h, w in shapes)
    return Cut(kind, len(shapes), min(counts), max(counts), unused)


def write_cut(folder: Path, cut: Cut, sample: tuple[int, int, int], places: Sequence[tuple[int, int, int]]) -> None:
    """Write the files of a prepared folder that are about its crops."""
    (folder / ABOUT).write_text(json.dumps(asdict(cut)))
    if cut.kind == "random":
        (folder / SAMPLE).write_text(json.dumps(sample))
        np.save(folder / PLACES, np.array(places, np.int64).reshape(-1, 3))


def read_cut(folder: Path) -> Cut | None:
    """The cut that `write_cut` wrote, None without one. Raises ValueError or TypeError for damaged files."""
    return Cut(**json.loads((folder / ABOUT).read_text())) if (folder / ABOUT).exists() else None


@dataclass(frozen=True, eq=False)
class Crops:
    """Whole images of any sizes, from which samples of one size are cut; by number it gives the middle of each.

    Args:
        values: of all images, one after another, each (channels, height, width).
        places: (count, 3), the beginning, height and width of each image.
        sample: (channels, height, width).
    """

    values: NDArray[Any]
    places: NDArray[np.int64]
    sample: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.places), *self.sample)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def whole(self) -> bool:
        """True where all images lie within the values and are no smaller than a sample."""
        if self.places.ndim != 2 or self.places.shape[1:] != (3,) or self.values.ndim != 1 or not len(self.places):
            return False
        offsets, heights, widths = self.places.T
        ends = offsets + self.sample[0] * heights * widths
        large = (heights >= self.sample[1]).all() and (widths >= self.sample[2]).all()
        return bool(large and (offsets >= 0).all() and (ends <= len(self.values)).all())

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """The middle of one image, or those of several."""
        numbers = np.arange(len(self))[chosen]
        found = self.at(np.atleast_1d(numbers), np.full((np.size(numbers), 2), 0.5))
        return found[0] if np.ndim(numbers) == 0 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def at(self, chosen: NDArray[np.int64], where: Float[NDArray[np.float64], "n 2"]) -> NDArray[Any]:
        """Parts of the (n,) chosen images, from top to bottom and from left to right at places in [0, 1)."""
        channels, high, wide = self.sample
        found = np.empty((len(chosen), *self.sample), self.dtype)
        for row, (number, (down, right)) in enumerate(zip(chosen.tolist(), where.tolist(), strict=True)):
            offset, height, width = self.places[number].tolist()
            image = self.values[offset : offset + channels * height * width].reshape(channels, height, width)
            top, left = int(down * (height - high + 1)), int(right * (width - wide + 1))
            found[row] = image[:, top : top + high, left : left + wide]
        return found
