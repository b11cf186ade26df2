"""Pairs of noise and of what the teacher makes of it, as a data set.

Pair i is the teacher's sample i of a seed, by DDIM, and the noise that it starts from, which is a stream of its own: so
pairs are the same whenever they are drawn, and no file is needed. They are told what the samples of the data are told,
by turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.config.distillation import RegressionConfig
from undiffuse.data.order import batch_indices
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.runtime.process_group import Group
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.training.batches import TrainData, condition_tables

MOST_MEGABYTES = 4096
"""Of pairs, which are kept in memory."""


def pairs_of(config: RegressionConfig, teacher: Model, data: TrainData, seed: int, group: Group) -> TrainData:
    """The pairs of a student's training.

    Args:
        teacher: on its device.
        data: what it learned from, which says what there is to be asked for.
        seed: of the training.
        group: processes that draw them together.

    Raises:
        UndiffuseError: so many do not fit into memory, or there are none.
    """
    count, own = config.pair_count, stream_seed(seed, "pairs")
    megabytes = count * float(np.prod(data.info.shape)) * np.dtype(data.info.dtype).itemsize / 1e6
    if count < 1 or megabytes > MOST_MEGABYTES:
        raise UndiffuseError(
            f"`pair_count` takes from 1 pair to as many as {MOST_MEGABYTES:,} MB hold, and {count:,} would be "
            f"{megabytes:,.0f} MB: ask for fewer"
        )
    chosen = np.arange(count) % data.info.count
    rows = {name: table(torch.from_numpy(chosen)) for name, table in condition_tables(data, teacher).items()}
    plan = teacher.plan(
        sampler="ddim",
        times=config.teacher_times,
        threshold=config.teacher_threshold,
        guidance=config.teacher_guidance,
        examples=rows or None,
    )
    drawn = plan.sample(count, own, progress=group.is_main, group=group)
    return replace(
        data,
        images=drawn.array,
        labels=None if data.labels is None else data.labels[chosen],
        vectors=data.vectors and partial(_vectors, data.vectors, chosen),
        texts=data.texts and partial(_texts, data.texts, chosen),
        pairs=None if data.pairs is None else data.pairs[chosen],
        masks=None,
        order=partial(batch_indices, count),
        noise=partial(noise_of, own, teacher.shape),
    )


def noise_of(seed: int, shape: tuple[int, ...], samples: NDArray[np.int64]) -> Tensor:
    """The noise that samples of these numbers start from, (samples, channels, *spatial), on the CPU."""
    return Noise(seed, samples.tolist()).normal(shape)


def _vectors(rows: Callable[[], NDArray[np.float32]], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    return rows()[chosen]


def _texts(texts: Callable[[], list[str]], chosen: NDArray[np.int64]) -> list[str]:
    found = texts()
    return [found[k] for k in chosen]
