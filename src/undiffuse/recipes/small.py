"""A recipe that picks sizes for any small data set from its shape and its count."""

from __future__ import annotations

import math

from undiffuse.config import (
    DataConfig,
    DiffusionConfig,
    EMAConfig,
    LoopConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SampleConfig,
    TrainConfig,
    UNetConfig,
)
from undiffuse.data.info import DataInfo
from undiffuse.recipes.recipe import Recipe

PATCH_FROM = 128**2
"""Positions from which the network works on patches of side 2: a fourth of the cost in 2-D."""
ATTENTION_UP_TO = 16**2
"""Most positions with self-attention, whose cost is their square: Ho's 16 x 16, in any number of dimensions."""
MULTIPLIERS = {1: (1,), 2: (1, 2), 3: (1, 2, 2), 4: (1, 2, 2, 2), 5: (1, 1, 2, 2, 4), 6: (1, 1, 2, 2, 4, 4)}
"""Widths by the number of levels; those of four and of six are Ho's."""
ACTIVATIONS = 64 * 32**2
"""Positions in a batch: 64 images of 32 x 32, fewer of larger ones."""


def small(info: DataInfo) -> TrainConfig:
    """An hour's training on whatever device there is, for data of 1, 2 or 3 dimensions and any number of channels.

    * Levels: halve until the shortest side is between 4 and 8, six levels at most.
    * Attention where at most 256 positions are left.
    * Width 64, or 32 where an image has so many positions that patches are folded.
    * Batch 64, less for large images or fewer than 64 of them.
    * Dropout for fewer than 10,000 images, against learning them by heart.
    * The objective and schedule of the `digits` recipe, where they were measured, at a lower learning rate.

    No flips: only the user knows whether left and right are alike; ``--flip`` says so.
    """
    positions = math.prod(info.spatial)
    patch = 2 if positions >= PATCH_FROM and min(info.spatial) >= 8 else 1
    sides = [math.ceil(side / patch) for side in info.spatial]
    levels = level_count(min(sides))
    batch = max(1, min(64, info.count, ACTIVATIONS * patch ** len(sides) // positions))
    return TrainConfig(
        recipe="small",
        data=DataConfig(source=info.name),
        network=UNetConfig(
            base=64 if patch == 1 else 32 * patch,
            multipliers=MULTIPLIERS[levels],
            blocks=2,
            attention_levels=tuple(k for k in range(levels) if positions_at(sides, k) <= ATTENTION_UP_TO),
            middle_attention=positions_at(sides, levels - 1) <= 4 * ATTENTION_UP_TO,
            dropout=0.1 if info.count < 10_000 else 0.0,
            patch=patch,
        ),
        diffusion=DiffusionConfig(schedule="cosine", parameterization="v"),
        objective=ObjectiveConfig(weighting="min-snr", gamma=5.0, time_law="stratified"),
        optimizer=OptimizerConfig(optimizer="adam", lr=5e-4, warmup=200, decay="linear"),
        ema=EMAConfig(ema=(0.999,)),
        loop=LoopConfig(batch=batch, minutes=60.0, sample_every=1000, checkpoint_every=1000),
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
    needs="An hour on any device; --minutes, --steps or --images sets another budget.",
    reached="Depends on the data; not measured.",
    sampling=SampleConfig(),
    build=small,
)
