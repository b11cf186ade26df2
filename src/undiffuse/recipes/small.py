"""A recipe that picks sizes for any small data set from its shape and its count."""

from __future__ import annotations

import math

from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, LoopConfig, ObjectiveConfig, OptimizerConfig
from undiffuse.data.info import DataInfo
from undiffuse.recipes.recipe import Recipe

PATCH_FROM = {1: 128**2, 2: 24**2, 3: 24**2}
"""Positions, by the number of dimensions, from which the network works on patches of side 2: a fourth of the cost in
2-D."""
GRAY_WIDTH, COLOR_WIDTH = 32, 64
"""Channels of the first level, for data of one channel and of several."""
ATTENTION_UP_TO = 32**2
"""Most positions with self-attention, whose cost is their square, in any number of dimensions."""
MULTIPLIERS = {1: (1,), 2: (1, 2), 3: (1, 2, 2), 4: (1, 2, 2, 2), 5: (1, 1, 2, 2, 4), 6: (1, 1, 2, 2, 4, 4)}
"""Widths by the number of levels; those of four and of six are Ho's."""
BATCH = 16
"""Many small steps go further than few large ones while minutes are what is short."""
ACTIVATIONS = 64 * 32**2
"""Most positions in a batch."""


def small(info: DataInfo) -> TrainConfig:
    """Minutes to an hour on a CPU, for data of 1, 2 or 3 dimensions and any number of channels.

    * Patches of 2 x 2 from 24 x 24 pixels.
    * Levels: halve until the shortest side is between 4 and 8, six levels at most; one block a level.
    * Attention in the middle, where at most 1024 positions are left.
    * Batch 16, less for large images or fewer than 16 of them.
    * Dropout for fewer than 10,000 images, against learning them by heart.
    * The objective, the optimiser and the schedule of the `digits` recipe, with times around log-SNR 0 instead of -1.6.
    * The network predicts x0. A narrow network has no room to carry the noise of all pixels to its output, which eps
      and v ask of it (Li & He 2025, https://arxiv.org/abs/2511.13720, show it for patches of wide ones): of
      thirteen changes it was the one that helped: a third less distance after half a minute, a quarter after ten on
      MNIST, a ninth on CIFAR-10.

    Batch, optimiser and times were tried one by one on CIFAR-10's images, these and patches, levels, blocks and
    attention on MNIST, for 60 s of processor time on one thread. The width follows ten minutes on one core
    (docs/measure/quality-per-minute.md): on MNIST 32 channels are far ahead of 64 at every minute, on CIFAR-10 they are
    ahead until the tenth, when 64, the steeper curve, has caught up: ``--base 32`` for less. An hour was not measured.
    A GPU has time for more: ``--base 128 --blocks 2 --patch 1 --batch 128``.

    No flips: only the user knows whether left and right are alike; ``--flip`` says so.
    """
    positions, dims = math.prod(info.spatial), len(info.spatial)
    patch = 2 if positions >= PATCH_FROM[dims] and min(info.spatial) >= 8 else 1
    sides = [math.ceil(side / patch) for side in info.spatial]
    levels = level_count(min(sides))
    return TrainConfig(
        recipe="small",
        data=DataConfig(source=info.name),
        network=UNetConfig(
            base=GRAY_WIDTH if info.channels == 1 else COLOR_WIDTH,
            multipliers=MULTIPLIERS[levels],
            blocks=1,
            attention_levels=(),
            middle_attention=positions_at(sides, levels - 1) <= ATTENTION_UP_TO,
            dropout=0.1 if info.count < 10_000 else 0.0,
            patch=patch,
        ),
        diffusion=DiffusionConfig(schedule="cosine", parameterization="x0"),
        objective=ObjectiveConfig(
            weighting="min-snr", gamma=5.0, time_law="logit-normal", logit_mean=0.0, logit_std=1.0, logit_uniform=0.15
        ),
        optimizer=OptimizerConfig(optimizer="muon", lr=2e-3, warmup=100, decay="linear"),
        ema=EMAConfig(ema=(0.999,)),
        loop=LoopConfig(
            batch=max(1, min(BATCH, info.count, ACTIVATIONS * patch**dims // positions)),
            minutes=60.0,
        ),
    )


def level_count(side: int) -> int:
    """Levels that bring ``side`` down to between 4 and 8: 1 up to 8, 2 up to 16, ... and 6 at most."""
    return min(max(MULTIPLIERS), 1 + max(0, math.ceil(math.log2(side / 8))))


def positions_at(sides: list[int], level: int) -> int:
    """Positions after ``level`` halvings, each rounded up as the network's padding does."""
    return math.prod(math.ceil(side / 2**level) for side in sides)


SMALL = Recipe(
    name="small",
    description="Any small data set of 1, 2 or 3 dimensions: sizes from its shape and its count.",
    needs="Ten minutes to an hour on a CPU; `minutes`, `steps` or `images` sets another budget.",
    reached="In ten minutes on one core a twelfth to a fourth of the distance of what others start with.",
    sampling=SampleConfig(),
    build=small,
)
