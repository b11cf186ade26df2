"""Which samples make batch number k: a function of the seed and of k, so that resuming needs no saved position."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError
from undiffuse.seeds import stream_seed


@lru_cache(maxsize=2)  # a batch may lie across two epochs; beyond that a permutation is cheap to draw again
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = np.random.Generator(np.random.PCG64(stream_seed(seed, "order", epoch))).permutation(count)
    order.flags.writeable = False
    return order


def batch_indices(count: int, batch: int, step: int, seed: int) -> NDArray[np.int64]:
    """Indices of the samples in batch ``step`` (from 0) of an endless sequence of shuffled epochs.

    Epoch e is a permutation of 0..count-1 drawn from (seed, e). The epochs stand one after another and batch k takes
    places k * batch ... (k + 1) * batch - 1, across the border of two epochs (or more, where batch > count): every
    sample is seen equally often, and all batches are full.

    Args:
        count: samples in the data set, at least 1.
        batch: samples per batch, at least 1.
        step: number of the batch, from 0.
        seed: the run's seed.

    Returns:
        int64 indices, shape (batch,).
    """
    if count < 1 or batch < 1 or step < 0:
        raise UndiffuseError(
            f"expected count >= 1, batch >= 1 and step >= 0, got count {count}, batch {batch} and step {step}"
        )
    place, end = step * batch, (step + 1) * batch
    pieces = []
    while place < end:
        epoch, offset = divmod(place, count)
        piece = _permutation(count, seed, epoch)[offset : offset + end - place]
        pieces.append(piece)
        place += len(piece)
    return np.concatenate(pieces)
