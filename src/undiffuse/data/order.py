"""The samples of batch number k: a function of the seed and of k, so that resuming needs no saved position; and those
that are in no batch, for validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError, counted
from undiffuse.runtime.random_streams import stream_seed

EpochOrder = Callable[[int, int, int], NDArray[np.int64]]
"""``(count, seed, epoch) -> a permutation of 0..count-1``."""


@lru_cache(maxsize=2)  # a batch may lie across two epochs; beyond that a permutation is cheap to draw again
def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Every sample once, each order as likely as any other."""
    order = np.random.Generator(np.random.PCG64(stream_seed(seed, "order", epoch))).permutation(count)
    order.flags.writeable = False
    return order


def shuffled_runs(runs: Sequence[range], window: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Every sample once, in an order in which data are read without jumping about.

    The runs, which together hold 0..count-1 and are each read in one go, stand one after another in a random order;
    then the sample at place j moves to the rank of

        j + window u_j,    u_j uniform in [0, 1)

    so it comes out among the samples at most ``window`` places before or after it. A shuffle buffer of ``window``
    samples does the same, but this is a function of (seed, epoch) alone: a training that goes on needs no saved buffer.
    """
    dice = np.random.Generator(np.random.PCG64(stream_seed(seed, "stream order", epoch)))
    samples = np.concatenate([np.arange(runs[k].start, runs[k].stop) for k in dice.permutation(len(runs))])
    keys = np.arange(len(samples)) + window * dice.random(len(samples))
    return samples[np.argsort(keys, kind="stable")]


def batch_indices(count: int, batch: int, step: int, seed: int, order: EpochOrder = permutation) -> NDArray[np.int64]:
    """Indices, int64 (batch,), of the samples in batch ``step`` (from 0) of an endless sequence of shuffled epochs.

    Epoch e is a permutation of 0..count-1, a function of (seed, e). The epochs stand one after another and batch k
    takes places k * batch ... (k + 1) * batch - 1, across the border of two epochs (or more, where batch > count):
    every sample is seen equally often, and all batches are full.
    """
    if count < 1 or batch < 1 or step < 0:
        raise UndiffuseError(
            f"expected count >= 1, batch >= 1 and step >= 0, got count {count}, batch {batch} and step {step}"
        )
    place, end = step * batch, (step + 1) * batch
    pieces = []
    while place < end:
        epoch, offset = divmod(place, count)
        piece = order(count, seed, epoch)[offset : offset + end - place]
        pieces.append(piece)
        place += len(piece)
    return np.concatenate(pieces)


def held_out_samples(count: int, share: float) -> NDArray[np.int64]:
    """The samples that are not learned, at least one: the same whatever the run's seed, so that runs compare.

    Raises:
        UndiffuseError: none are left to learn.
    """
    few = max(1, round(share * count))
    if few >= count:
        raise UndiffuseError(
            f"`validation={share:g}` holds out all of {counted(count, 'sample')}: give a smaller share"
        )
    return np.random.Generator(np.random.PCG64(stream_seed(0, "held out"))).permutation(count)[:few]
