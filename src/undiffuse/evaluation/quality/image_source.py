"""The images that are measured: a model draws them while they are wanted, or they are there already.

A subject is a row of images, numbered from 0, that can be read piece by piece: fifty thousand images pass through the
extractors without ever being in memory at once, and a range of numbers can be split among processes, since image i is
the same whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import check_unmasked
from undiffuse.errors import UndiffuseError, counted
from undiffuse.evaluation.images import drawn
from undiffuse.model import Model
from undiffuse.model.plan import SamplePlan
from undiffuse.provenance.adapter_names import short_name

BLOCK = 64
"""Given images that are read at a time."""


class ImageSource(Protocol):
    """Numbered images in the data's own values."""

    @property
    def info(self) -> DataInfo:
        """Shape, type and range of the images."""
        ...

    @property
    def count(self) -> int: ...

    @property
    def together(self) -> int:
        """Images that are made at a time: ranges that begin at a multiple of it cost nothing more than the whole."""
        ...

    def blocks(self, indices: range) -> Iterator[NDArray[Any]]:
        """The images of these numbers in order, (block, channels, *spatial) of ``info.dtype``, block after block."""
        ...

    def with_seed(self, seed: int) -> ImageSource:
        """The same subject, drawn by another seed, unless all of its images are in use already."""
        ...

    def facts(self) -> dict[str, Any]:
        """Everything that its images depend on, as plain values; complete once `blocks` has run to its end."""
        ...


@dataclass(frozen=True)
class ModelSamples:
    """Images 0 .. count - 1 of a seed, drawn by a model: the ones that ``undiffuse sample`` draws."""

    plan: SamplePlan
    count: int
    seed: int = 0

    evaluations: list[int] = field(default_factory=list, compare=False, repr=False)
    """Of the network, in each micro-batch that is drawn so far."""

    @property
    def model(self) -> Model:
        return self.plan.model

    @property
    def settings(self) -> SampleConfig:
        return self.plan.settings

    @property
    def info(self) -> DataInfo:
        return self.model.info

    @property
    def together(self) -> int:
        return self.plan.micro_batch

    def blocks(self, indices: range) -> Iterator[NDArray[Any]]:
        """The wanted images of each micro-batch; of a conditional model the classes by turns."""
        for samples in self.plan.draw(indices, self.seed):
            self.evaluations.append(samples.evaluations)
            yield samples.array

    def with_seed(self, seed: int) -> ModelSamples:
        return replace(self, seed=seed, evaluations=[])

    def facts(self) -> dict[str, Any]:
        """The model, its weights and step, the sampler and what an image cost."""
        origin, settings = self.model.provenance, self.settings
        return {
            "kind": "run",
            "name": short_name(origin.get("checkpoint", "a new model")),
            "checkpoint": origin.get("checkpoint"),
            "step": origin.get("step"),
            "weights": origin.get("weights"),
            "sha256": origin.get("sha256"),
            "seed": self.seed,
            "sampler": settings.solver.sampler,
            "steps": settings.solver.steps,
            "evaluations": sum(self.evaluations) / len(self.evaluations) if self.evaluations else None,
            "eta": settings.solver.eta if settings.solver.sampler == "ddim" else None,
            "settings": {**settings.flat(), "times": list(settings.solver.times)},
            "device": self.model.device.type,
            "trained_on": self.model.info.fingerprint,
        }


@dataclass(frozen=True)
class DatasetImages:
    """Images of a prepared data set: their numbers, rising, and the seed that chose them."""

    dataset: Dataset
    indices: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        check_unmasked(self.dataset, "A measure of quality")

    @classmethod
    def of(cls, dataset: Dataset, count: int | None = None, seed: int = 0) -> DatasetImages:
        """All images, or ``count`` of them at random: files are often sorted by class."""
        there = dataset.info.count
        count = there if count is None else count
        if count > there:
            raise UndiffuseError(
                f"'{dataset.info.name}' has {counted(there, 'image')}, not {count:,}; lower `n`, or leave it out to "
                "use all"
            )
        return cls(dataset, drawn(there, count, seed), seed)

    @property
    def info(self) -> DataInfo:
        return self.dataset.info

    @property
    def count(self) -> int:
        return len(self.indices)

    @property
    def together(self) -> int:
        return BLOCK

    def blocks(self, indices: range) -> Iterator[NDArray[Any]]:
        chosen = [self.indices[index] for index in indices]
        for start in range(0, len(chosen), BLOCK):
            yield np.asarray(self.dataset.images[chosen[start : start + BLOCK]])

    def with_seed(self, seed: int) -> DatasetImages:
        if self.count == self.info.count:
            raise UndiffuseError(
                f"`repeat` draws other images for every seed, and all {self.count:,} of '{self.info.name}' are in "
                "use; give `n` fewer than there are, or leave out `repeat`"
            )
        return DatasetImages.of(self.dataset, self.count, seed)

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "images",
            "name": self.info.name,
            "fingerprint": self.info.fingerprint,
            "there": self.info.count,
            "seed": self.seed,
            "device": "cpu",
        }
