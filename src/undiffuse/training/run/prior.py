"""New data with samples of the model that a training starts from, so that it keeps what it knew.

A model that is trained on twenty pictures soon draws nothing else. Here half of each batch is new, and half are samples
that the model drew before, of each of its classes by turns. Where the model is told classes, what is new becomes one of
them, or several: the old ones stay, and a training asks for either.

The samples lie in the run's folder, ``prior.npz``, and are drawn once: a training that goes on reads them.

Reference:
    Ruiz et al. 2023, "DreamBooth", https://arxiv.org/abs/2208.12242
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import Guide
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import check_unmasked
from undiffuse.data.order import batch_indices
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model import Model
from undiffuse.recipes import advised_sampling
from undiffuse.runtime.durable_files import replace_bytes
from undiffuse.runtime.process_group import Group
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.training.batches import Data, Images
from undiffuse.training.callbacks.console import Console
from undiffuse.training.run.folder import RunFolder

UNNAMED = "prior"
"""The class of what a model without classes drew, beside new data that have some."""


@dataclass(frozen=True)
class Prior:
    """Samples of a model.

    Args:
        images: (count, channels, *spatial), values of its data's type.
        labels: (count,), the class of each, of ``classes``; of a model that is told none, ``(UNNAMED,)``.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def drawn(cls, model: Model, count: int, seed: int, group: Group, progress: bool) -> Prior:
        """Samples as its recipe draws them, but without guidance: as its data are, not better."""
        told = any(condition.name == CLASS for condition in model.conditions)
        classes = model.info.classes if told else (UNNAMED,)
        if count < len(classes):
            raise UndiffuseError(
                f"`prior={count}` is too few: the model that this training starts from has {len(classes)} classes"
            )
        how = advised_sampling(model.config).changed(guidance=Guide.guidance)
        noise = stream_seed(seed, "prior") % 2**31
        images = model.sample(count, noise, settings=how, progress=progress, group=group).array
        return cls(images, np.arange(count) % len(classes), classes)

    @classmethod
    def read(cls, path: Path) -> Prior:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                return cls(found["images"], found["labels"], tuple(map(str, found["classes"])))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UndiffuseError(
                f"cannot read {path}, the samples that this run learns beside its data ({error}); bring a copy back"
            ) from None

    def write(self, path: Path) -> None:
        file = io.BytesIO()
        np.savez_compressed(file, images=self.images, labels=self.labels, classes=np.array(self.classes))
        replace_bytes(path, file.getvalue())

    @property
    def sha256(self) -> str:
        found = hashlib.sha256(repr((self.images.shape, self.images.dtype.str, self.classes)).encode())
        found.update(np.ascontiguousarray(self.images).data)
        found.update(self.labels.astype("<i8").tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class Joined:
    """The rows of two arrays, one after another."""

    first: Images
    count: int
    second: NDArray[Any]

    def __len__(self) -> int:
        return self.count + len(self.second)

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        numbers = np.arange(len(self))[chosen]
        flat = np.atleast_1d(numbers)
        rows = np.empty((len(flat), *self.second.shape[1:]), self.second.dtype)
        new = flat < self.count
        rows[new] = self.first[flat[new]]
        rows[~new] = self.second[flat[~new] - self.count]
        return rows if np.ndim(numbers) else rows[0]


@dataclass(frozen=True)
class WithPrior:
    """Prepared data for a training, see `training.batches.Data`: the new ones, then the samples."""

    info: DataInfo
    images: Joined
    labels: NDArray[np.int64] | None
    prior: Prior

    def order(self, batch: int, step: int, seed: int) -> NDArray[np.int64]:
        """The samples of a batch: half of them new, and one more where it is odd."""
        new, old = batch - batch // 2, batch // 2
        return np.concatenate(
            [
                batch_indices(self.images.count, new, step, seed),
                self.images.count + batch_indices(len(self.prior.images), old, step, stream_seed(seed, "prior order")),
            ]
        )


def with_prior(
    data: Data, old: Model, config: TrainConfig, run: RunFolder, console: Console, group: Group
) -> WithPrior:
    """New data with samples that the model to start from draws now, which the run's folder keeps.

    Raises:
        UndiffuseError: they would be of different kinds.
    """
    check_unmasked(data, "A training with `prior`")
    info, its = data.info, old.info
    if (info.shape, info.dtype, info.low, info.high) != (its.shape, its.dtype, its.low, its.high):
        raise UndiffuseError(
            f"`prior` sets samples of {config.start.start_from}, {_kind(its)}, beside '{info.name}', {_kind(info)}: "
            "prepare them alike with `size` and `channels`"
        )
    prior = Prior.drawn(old, config.start.prior, config.loop.seed, group, not console.quiet)
    if group.is_main:
        prior.write(run.prior)
    joined = join(data, prior, config)
    added = [name for name in joined.info.classes if name not in prior.classes] if joined.labels is not None else []
    console.say(
        f"half of each batch is drawn by {config.start.start_from}: {counted(len(prior.images), 'sample')}, kept in "
        f"{run.prior}" + (f"; new classes: {', '.join(added)}" if added else "")
    )
    return joined


def _kind(info: DataInfo) -> str:
    return f"{' x '.join(map(str, info.shape))} of {info.dtype} from {info.low:g} to {info.high:g}"


def join(data: Data, prior: Prior, config: TrainConfig) -> WithPrior:
    """New data with a model's samples beside them, both of one kind."""
    info, images = data.info, prior.images
    labels, classes = None, info.classes
    if "class" in config.conditions.condition:
        names = info.classes or (Path(info.name).stem,)
        classes = (*prior.classes, *(name for name in names if name not in prior.classes))
        own = np.zeros(info.count, np.int64) if data.labels is None else data.labels
        labels = np.concatenate([np.array([classes.index(name) for name in names])[own], prior.labels])
    both = hashlib.sha256(f"{info.fingerprint} {prior.sha256}".encode()).hexdigest()
    count = info.count + len(images)
    joined = replace(_in_all(info, images), count=count, classes=classes, fingerprint=both, new=info.fingerprint)
    return WithPrior(joined, Joined(data.images, info.count, images), labels, prior)


def _in_all(info: DataInfo, images: NDArray[Any]) -> DataInfo:
    """The data's description with the moments of half new values and half of these."""
    scale, axes = 2 / (info.high - info.low), (0, *range(2, images.ndim))
    mean = (images.mean(axes, np.float64) - info.low) * scale - 1
    spread = images.std(axes, np.float64) * scale
    new_mean, new_std = np.array(info.mean), np.array(info.std)
    variance = (spread**2 + new_std**2) / 2 + (mean - new_mean) ** 2 / 4
    return replace(info, mean=tuple(((mean + new_mean) / 2).tolist()), std=tuple(np.sqrt(variance).tolist()))
