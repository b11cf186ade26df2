"""From prepared data to the batches of a training, each a function of (seed, step)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.conditioning.low_resolution import low_res_training
from undiffuse.conditioning.request import CLASS, IMAGE, VECTOR, dropped
from undiffuse.conditioning.student import OF_STUDENTS
from undiffuse.conditioning.text.embedding_table import text_table
from undiffuse.config.schema import TrainConfig
from undiffuse.data.augment import fair_coins, flipped
from undiffuse.data.codec import codec_of
from undiffuse.data.crops import Crops
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import masks_of
from undiffuse.data.order import batch_indices, held_out_samples
from undiffuse.model import Model
from undiffuse.runtime.random_streams import generator
from undiffuse.training.device_dataset import encoded
from undiffuse.training.parallel.batch_shards import BatchShard

CPU = torch.device("cpu")


class Images(Protocol):
    """An array, or what gives parts of one."""

    def __getitem__(self, chosen: Any, /) -> NDArray[Any]: ...


class Data(Protocol):
    """A prepared data set for a training; it may have the other parts of `TrainData`, too."""

    @property
    def info(self) -> DataInfo: ...

    @property
    def images(self) -> Images: ...

    @property
    def labels(self) -> NDArray[np.int64] | None: ...


@dataclass(frozen=True)
class TrainData:
    """A prepared data set with all parts that one can have; None where it has no such attribute or method.

    Args:
        images: (count, channels, *spatial), values of the data's own type.
        labels: (count,), the class of each image; None without classes.
        vectors: gives the (count, numbers) of the samples, NaN where nothing is said of one.
        texts: gives what is said of each sample; '' where nothing is.
        pairs: (count, channels, *spatial), pictures that go with the samples.
        masks: see `data.masks`.
        order: gives the samples of batch (batch, step, seed), once its images were asked for; before that some may be
            others. None: in any order.
    """

    info: DataInfo
    images: Images
    labels: NDArray[np.int64] | None = None
    vectors: Callable[[], NDArray[np.float32]] | None = None
    texts: Callable[[], list[str]] | None = None
    pairs: Images | None = None
    masks: NDArray[np.bool_] | None = None
    order: Callable[[int, int, int], NDArray[np.int64]] | None = None

    @classmethod
    def of(cls, data: Data) -> TrainData:
        parts: dict[str, Any] = {part.name: getattr(data, part.name, None) for part in fields(cls)}
        return cls(**parts)


def order_of(data: TrainData, config: TrainConfig) -> Callable[[int], NDArray[np.int64]]:
    """``step -> samples`` of the whole batch: a function of (seed, step)."""
    share, count, loop = config.data.validation, data.info.count, config.loop
    if isinstance(share, float) and share > 0:
        learned = np.setdiff1d(np.arange(count), held_out_samples(count, share))
        return lambda step: learned[batch_indices(len(learned), loop.batch, step, loop.seed)]
    order = data.order or partial(batch_indices, count)
    return lambda step: order(loop.batch, step, loop.seed)


def flipped_alike(values: Tensor, config: TrainConfig, step: int, share: BatchShard) -> Tensor:
    """Values that belong to this process's images of a batch, mirrored where these are."""
    if not config.data.flip:
        return values
    return flipped(values, share.take(fair_coins(config.loop.batch, generator(config.loop.seed, "flip", step))))


def image_batches(
    data: TrainData, config: TrainConfig, share: BatchShard, device: torch.device = CPU
) -> Callable[[int], Tensor]:
    """``step -> x0`` in model space, of this process's share: the order, the flips and
    what is cut at random are functions of (seed, step).

    Args:
        device: where x0 is wanted; it is there already where all images are.
    """
    loop, order, codec = config.loop, order_of(data, config), codec_of(data.info)
    values = encoded(data.images, codec, device)

    def batch(step: int) -> Tensor:
        chosen = share.take(order(step))
        if not isinstance(data.images, Crops):
            return values(chosen)
        where = torch.rand(loop.batch, 2, generator=generator(loop.seed, "crop", step), dtype=torch.float64)
        return codec.encode(data.images.at(chosen, share.take(where).numpy()))

    return lambda step: flipped_alike(batch(step), config, step, share)


def mask_batches(data: TrainData, config: TrainConfig, share: BatchShard) -> Callable[[int], Tensor] | None:
    """``step -> mask`` of the images of `image_batches`; None where all values count, see `masks_of`."""
    masks, order = masks_of(data), order_of(data, config)
    if masks is None:
        return None
    return lambda step: flipped_alike(torch.from_numpy(masks[share.take(order(step))]), config, step, share)


Tables = Mapping[str, Callable[[Tensor], Tensor]]


def condition_batches(
    data: TrainData, model: Model, share: BatchShard, tables: Tables
) -> Callable[[int, Tensor], dict[str, Tensor]]:
    """``(step, x0) -> conditions`` of this process's images: what the tables say of them, hidden by a function of
    (seed, step); of a stage the images themselves, made smaller."""
    told, settings = model.conditions, model.config.conditions
    loop, order = model.config.loop, order_of(data, model.config)
    everyone = BatchShard(loop.batch)
    if not told:
        return lambda step, x0: {}
    small = low_res_training(settings, loop.seed, loop.batch)

    def conditions(step: int, x0: Tensor) -> dict[str, Tensor]:
        chosen = torch.from_numpy(order(step))
        values = {name: table(chosen) for name, table in tables.items()}
        if IMAGE in values:
            values[IMAGE] = flipped_alike(values[IMAGE], model.config, step, everyone)
        whole = dropped(told, values, settings.condition_dropout, generator(loop.seed, "condition", step))
        found = {name: share.take(value) for name, value in whole.items()}
        return found | small(step, x0, share.take) if settings.upscale > 1 else found

    return conditions


def condition_tables(data: TrainData, model: Model) -> dict[str, Callable[[Tensor], Tensor]]:
    """``samples -> values`` of each condition that the data say something of."""
    told = [c.name for c in model.conditions if not c.required and c.name not in OF_STUDENTS]
    return {name: _condition_table(data, name, model.info) for name in told}


def _condition_table(data: TrainData, name: str, info: DataInfo) -> Callable[[Tensor], Tensor]:
    """``info`` is the model's, whose standard of numbers may be that of a model it started from, and which says that
    the data have what the model is told."""
    if name == IMAGE:
        assert data.pairs is not None
        assert info.pair is not None
        pairs, codec = data.pairs, codec_of(info.pair)
        return lambda samples: codec.encode(pairs[samples.numpy()])
    if name == CLASS:
        assert data.labels is not None
        table = torch.from_numpy(data.labels)
    elif name == VECTOR:
        assert data.vectors is not None
        table = torch.from_numpy(info.numbers(data.vectors()))
    else:
        assert data.texts is not None
        return text_table(data.texts(), progress=True).batch
    return lambda samples: table[samples]


def examples_of(data: TrainData, model: Model, tables: Tables) -> dict[str, Tensor]:
    """What is said of the first images of the training, which its grids are drawn by: a model of texts should be seen
    following some.

    Nothing where classes are all that a model is told: those are taken by turns.
    """
    config = model.config
    if set(tables) <= {CLASS} and config.conditions.upscale == 1:
        return {}
    order, count = order_of(data, config), config.loop.sample_count
    first = np.concatenate([order(step) for step in range(math.ceil(count / config.loop.batch))])[:count]
    return {name: table(torch.from_numpy(first)) for name, table in tables.items()}
