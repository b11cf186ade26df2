"""Images of a data set as a model sees them: do they fit, which ones, in batches of model space.

Every image has random streams of its own, so that what is measured of it does not depend on its neighbours in a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.data.codec import codec_of
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import masks_of
from undiffuse.diffusion.masking import kept
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.value_range import Extent
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.runtime.process_group import Group
from undiffuse.runtime.random_streams import generator, stream_seed


@dataclass(frozen=True)
class ImageBatch:
    """Some images at a time.

    Args:
        x0: in model space.
        indices: numbers of the images, which name their random streams.
        mask: 1 where a value counts, see `diffusion.masking`; None where all do.
    """

    x0: Float[Tensor, "batch *shape"]
    indices: Sequence[int]
    mask: Tensor | None = None

    def streams(self, seed: int, name: str) -> list[torch.Generator]:
        return [generator(seed, name, index) for index in self.indices]

    def noise(self, streams: Sequence[torch.Generator]) -> Float[Tensor, "batch *shape"]:
        """The next standard normal noise of the streams, 0 where nothing counts."""
        noise = torch.stack([torch.randn(self.x0.shape[1:], generator=stream) for stream in streams])
        return kept(noise.to(self.x0), self.mask)


@dataclass(frozen=True)
class Images:
    """Some images of a data set by their rising numbers; the range of ``info``, the model's own, maps to [-1, 1]."""

    dataset: Dataset
    info: DataInfo
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, size: int, device: torch.device | str = "cpu", fill: bool = False) -> Iterator[ImageBatch]:
        """``size`` images after ``size`` images.

        Args:
            fill: the last batch with its last image over and over: a row's rounding depends on the size of its batch.
        """
        masks = masks_of(self.dataset)
        for start in range(0, len(self), size):
            chosen = list(self.indices[start : start + size])
            chosen += chosen[-1:] * (size - len(chosen) if fill else 0)
            x0 = codec_of(self.info).encode(self.dataset.images[chosen]).to(device)
            yield ImageBatch(x0, chosen, None if masks is None else torch.from_numpy(masks[chosen]).to(device))

    def part(self, size: int, group: Group) -> Images:
        """This process's share, in whole batches: each is the one that a single process would see."""
        starts = group.shard(range(0, len(self), size))
        return self.take([k for start in starts for k in range(start, min(start + size, len(self)))])

    def take(self, positions: list[int]) -> Images:
        return Images(self.dataset, self.info, tuple(self.indices[k] for k in positions))


def choose(dataset: Dataset, info: DataInfo, limit: int | None = None, seed: int = 0) -> Images:
    """All images of a data set, or ``limit`` of them drawn at random: files are often sorted by class.

    Raises:
        UndiffuseError: the data are not of the model's kind.
    """
    check_fit(dataset.info, info)
    if masks_of(dataset) is None:
        _say_range(dataset, info)
    return Images(dataset, info, drawn(dataset.info.count, limit, seed))


def drawn(count: int, limit: int | None, seed: int, stream: str = "which images") -> tuple[int, ...]:
    """Rising numbers below ``count``: all of them, or ``limit`` drawn at random."""
    if limit is None or limit >= count:
        return tuple(range(count))
    dice = np.random.default_rng(stream_seed(seed, stream))
    return tuple(sorted(dice.choice(count, limit, replace=False).tolist()))


LOOKED_AT = 256
"""Images whose values are compared with the model's range."""


def _say_range(dataset: Dataset, info: DataInfo) -> None:
    """Warn where data of the right type are of another range than those that the model learned."""
    extent, count = Extent(), dataset.info.count
    for number in range(0, count, max(1, count // LOOKED_AT)):
        extent.look(np.asarray(dataset.images[[number]]), info)
    if words := extent.words(info, dataset.info.name, "what the model learned"):
        warnings.warn(words, stacklevel=3)


def check_fit(data: DataInfo, model: DataInfo) -> None:
    """Refuse data of another shape or kind of number than the model learned."""
    if (remedy := remedy_for(data, model)) is not None:
        raise UndiffuseError(
            f"The model learned {model.dtype} data of the shape {model.shape}, and '{data.name}' has {data.dtype} data "
            f"of the shape {data.shape}{remedy}"
        )


def remedy_for(data: DataInfo, wanted: DataInfo) -> str | None:
    """The remedy for data of another shape or kind of number, empty where there is none; None where both agree."""
    if data.dtype != wanted.dtype:
        return "; save both as one kind of number in one range, such as uint8 from 0 to 255"
    if data.shape == wanted.shape:
        return None
    if data.channels != wanted.channels:
        words = {1: "grey", 3: "rgb", 4: "rgba"}.get(wanted.channels)
        return f"; try `channels={words}`" if words else ""
    pictures = modality_of(data) is modality_of(wanted) is IMAGES
    return f"; try `size={' '.join(map(str, wanted.spatial))}`" if pictures else ""
