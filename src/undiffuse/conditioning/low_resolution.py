"""Small images enlarged: what a stage of a cascade is told, in training and in sampling.

    z       the image made `upscale` times smaller
    z_s     = cos(pi s / 2) z + sin(pi s / 2) eps,    noise-conditioning augmentation at the level s in [0, 1]
    told    z_s stretched to the size of x, as channels of their own, and s

(Ho et al. 2022, "Cascaded diffusion models", section 4, https://arxiv.org/abs/2106.15282.) What is below a stage makes
other mistakes than data do. A stage that has seen its small images noisy, and how noisy, does not take their finest
detail at its word; and since z_s of right images is right at every s, a perfect cascade is perfect at every s.

Notable choices:

* z is made by an antialiased bicubic filter and clipped, as `size` makes small images of files: what a base model
  learns of the same data is what its stage is told.
* s does not refer to the stage's own process, so that models of two processes can stand one upon the other.
* The noise of training is a function of (seed, step), that of sampling of (seed, number of the sample).
* The small image is never hidden from a stage: guidance there is by classes and texts alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times, expand
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.networks.conditions import Condition
from undiffuse.runtime.devices import send
from undiffuse.runtime.random_streams import generator

SMALL, LEVEL = "small", "small_noise"
"""Arguments that carry the small image, stretched to the size of x, and s."""

Small = Float[Tensor, "batch channels height width"]
Mine = Callable[[Tensor], Tensor]
"""The rows of a whole batch that are a process's own."""


class LowResSource(Protocol):
    """The source of a stage's small images: the model below it, the data, or the user."""

    @property
    def conditions(self) -> frozenset[str]:
        """Names of the conditions that the source itself is asked by, which the stage need not know."""

    def __call__(self, indices: Sequence[int], seed: int) -> Small:
        """The small images of the samples of these numbers, in model space."""


@dataclass(frozen=True)
class BatchImages:
    """Small images of one batch, in model space and in its order, whatever the numbers of its samples."""

    images: Small
    conditions: frozenset[str] = frozenset()

    def __call__(self, indices: Sequence[int], seed: int) -> Small:
        return self.images


class SmallImages(BatchImages):
    """Small images in model space: sample i is told image i, over and over."""

    def __call__(self, indices: Sequence[int], seed: int) -> Small:
        return self.images[[i % len(self.images) for i in indices]]


def stage_conditions(config: ConditionConfig, info: DataInfo) -> tuple[Condition, ...]:
    """The conditions of a stage beside classes and the like; none for a model that is no stage."""
    if config.upscale == 1:
        return ()
    if modality_of(info) is not IMAGES or any(side % config.upscale for side in info.spatial):
        raise UndiffuseError(
            f"`upscale={config.upscale}` needs pictures of sides that are multiples of it, and '{info.name}' has the "
            f"shape {info.shape}; prepare them with `size`"
        )
    return Condition(SMALL, "image", info.channels, required=True), Condition(LEVEL, "vector", 1, required=True)


def downsample(x0: Batch, factor: int) -> Small:
    """Pictures ``factor`` times smaller, by the antialiased bicubic filter that `size` has."""
    sides = [side // factor for side in x0.shape[2:]]
    return F.interpolate(x0, size=sides, mode="bicubic", antialias=True).clamp(-1, 1)


def augmented(small: Small, level: Float[Tensor, "batch"], eps: Small) -> Small:
    """z_s; at level 0 the small images themselves, to the bit."""
    angle = level.double() * (math.pi / 2)
    return expand(angle.cos(), small) * small + expand(angle.sin(), small) * eps


def low_res_conditions(small: Small, level: Float[Tensor, "batch"], eps: Small, factor: int) -> dict[str, Tensor]:
    """The conditions of a batch: its small images, augmented and stretched, and their levels."""
    noisy = augmented(small, level, eps)
    sides = [side * factor for side in small.shape[2:]]
    stretched = F.interpolate(noisy, size=sides, mode="bilinear", align_corners=False)
    return {SMALL: stretched, LEVEL: level.float()[:, None]}


def low_res_training(config: ConditionConfig, seed: int, batch: int) -> Callable[[int, Batch, Mine], dict[str, Tensor]]:
    """``(step, x0, mine) -> conditions`` of a stage: each image has a level of its own, even up to `augmentation`.

    Args:
        batch: images of a step. Noise is drawn for all, and ``mine`` takes those rows of it that belong to x0.
    """

    def conditions(step: int, x0: Batch, mine: Mine) -> dict[str, Tensor]:
        dice = generator(seed, "augmentation", step)
        small = downsample(x0, config.upscale)
        level = config.augmentation * torch.rand(batch, generator=dice, dtype=torch.float64)
        eps = torch.randn(batch, *small.shape[1:], generator=dice)
        return low_res_conditions(small, mine(level), mine(eps), config.upscale)

    return conditions


@dataclass(frozen=True)
class Enlarging:
    """A stage's denoiser that has small images before its eyes; they are made when it is first asked.

    D(x_t, t) = D'(x_t, t, small, level).  Guidance around it may ask for several predictions in one batch, whose small
    images are the same in the same order.
    """

    denoiser: Denoiser
    look: Callable[[], Mapping[str, Tensor]]

    @cached_property
    def small(self) -> Mapping[str, Tensor]:
        return self.look()

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        times = len(x_t) // len(self.small[LEVEL])
        small = {name: torch.cat([send(value, x_t.device)] * times) for name, value in self.small.items()}
        return self.denoiser(x_t, t, **small, **conditions)


def enlarging(
    denoiser: Denoiser, source: LowResSource, factor: int, augmentation: float, indices: Sequence[int], seed: int
) -> Denoiser:
    """The denoiser of a stage for a batch of the samples of these numbers; the small images wait until it is asked."""

    def look() -> dict[str, Tensor]:
        small = source(indices, seed).cpu()
        streams = [generator(seed, "augmentation", i) for i in indices]
        eps = torch.stack([torch.randn(small.shape[1:], generator=stream) for stream in streams])
        level = torch.full((len(small),), augmentation, dtype=torch.float64)
        return low_res_conditions(small, level, eps, factor)

    return Enlarging(denoiser, look)
