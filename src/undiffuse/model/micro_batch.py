"""How many samples are evaluated together: a rule of the sample's shape, the network and the kind of device.

A row's rounding depends on the size of its batch (docs/develop/lab-notes.md), so a sample's bits can be the same
whatever else is asked for only if its batch always has one size. That size is what one picture costs: all slots are
computed, whether anybody wants the others or not. Large pictures fill the cores alone and go one by one; the operations
of small ones are so short that several together cost little more than one.

* The rule looks at shapes alone, never at a measurement, at the number of cores or at how many are asked for: the same
  command gives the same size everywhere.
* `model.resolve` writes the number into the settings of samples, and whatever is made again from them takes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undiffuse.model.model import Model

SIZES = {"cpu": ((1 << 12, 16), (1 << 17, 4))}
"""Activations of a picture, and how many go together up to there; beyond, one. Measured on one core: with 6,000
activations four take 2 times the time of one and sixteen 5 times, with 130,000 four take 2.7 times; with 8 million
nothing is gained."""
ELSEWHERE = ((1 << 20, 16), (1 << 22, 4))
"""The same on devices with thousands of cores, which take more to be filled; this was not measured."""


def micro_batch(most: float, device: str) -> int:
    """Samples per evaluation.

    Args:
        most: `NetworkConfig.activations` of a sample, of the largest network where several are asked.
        device: kind of the device: 'cpu', 'cuda', 'mps'.
    """
    return next((size for upto, size in SIZES.get(device, ELSEWHERE) if most <= upto), 1)


def micro_batch_of(stages: Sequence[Model]) -> int:
    """Samples per evaluation where settings do not say: what fits the largest network."""
    most = max(model.config.network.activations(model.shape[1:]) for model in stages)
    return micro_batch(most, stages[-1].device.type)
