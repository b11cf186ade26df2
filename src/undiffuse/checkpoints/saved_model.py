"""A checkpoint in our terms: what every reader gives back, and every model is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import NetworkConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, ObjectiveConfig
from undiffuse.data.info import DataInfo


@dataclass(frozen=True)
class SavedModel:
    """All that a model is made of.

    Args:
        config: settings; of somebody else's checkpoint the network and the process, the rest being defaults.
        info: the shape and the range of what it makes, and what else is known of its data.
        tensors: float32, under the names and in the shapes of the network that the settings describe.
        provenance: see `provenance`; of what is about to be written, `step` and `weights` alone.
    """

    config: TrainConfig
    info: DataInfo
    tensors: Mapping[str, Tensor]
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls, config: TrainConfig, info: DataInfo, tensors: Mapping[str, Tensor], step: int, weights: str
    ) -> SavedModel:
        """A model that is not in a file yet.

        Args:
            step: of the training.
            weights: which these are: 'raw', or the rate of the average.
        """
        return cls(config, info, tensors, {"step": step, "weights": weights})


@dataclass(frozen=True)
class ForeignReader:
    """A layout of files.

    Args:
        name: for people.
        recognises: whether a path, which may not be there, is of this layout: by names and beginnings of files alone.
        read: the checkpoint at such a path; raises UndiffuseError for whatever it cannot express.
    """

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path], SavedModel]


def provenance(
    place: str | Path, file: Path | Sequence[Path], weights: str = "raw", step: int = 0, **more: Any
) -> dict[str, Any]:
    """A record of where a model's weights came from.

    Args:
        place: what the user called it.
        file: the weights' own file, or several in their order, whose sha256 tells them from others.
        weights: which these are: 'raw', 'ema' where all that is known is that they are an average, or its rate.
        step: of the training; 0 where nobody knows.
        more: what else is known, such as the ``layout`` of somebody else's.
    """
    total = hashlib.sha256()
    for part in [file] if isinstance(file, Path) else file:
        with part.open("rb") as opened:
            hashlib.file_digest(opened, lambda: total)
    return {"checkpoint": str(place), "step": step, "weights": weights, "sha256": total.hexdigest(), **more}


def foreign_config(
    recipe: str, source: str, network: NetworkConfig, diffusion: DiffusionConfig, classes: int = 0
) -> TrainConfig:
    """Settings for somebody else's checkpoint: its network and its process, and what follows from these."""
    return TrainConfig(
        recipe=recipe,
        data=DataConfig(source=source),
        network=network,
        diffusion=diffusion,
        conditions=ConditionConfig(condition=("class",) if classes else (), condition_dropout=0.0),
        objective=ObjectiveConfig(loss="hybrid" if diffusion.learn_variance else "simple"),
        ema=EMAConfig(ema=()),
    )


def unknown_data(name: str, shape: tuple[int, ...], classes: Iterable[object] = ()) -> DataInfo:
    """Data as they are assumed of a checkpoint that says nothing of them: 8-bit images; classes by any names."""
    channels = shape[0]
    return DataInfo(
        name=name,
        fingerprint="",
        count=0,
        shape=shape,
        dtype="uint8",
        low=0.0,
        high=255.0,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        classes=tuple(map(str, classes)),
    )
