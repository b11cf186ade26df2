"""A data set and settings so small that a step takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo


@dataclass(frozen=True)
class TinyData:
    info: DataInfo
    images: NDArray[Any]
    labels: NDArray[np.int64] | None = None


def tiny_data(fingerprint: str = "tiny") -> TinyData:
    """Forty 8 x 8 pictures, each of one brightness and a little noise."""
    stream = np.random.default_rng(0)
    images = (stream.integers(20, 200, (40, 1, 1, 1)) + stream.integers(0, 50, (40, 1, 8, 8))).astype(np.uint8)
    x = images / 127.5 - 1
    mean, std = (float(x.mean()),), (float(x.std()),)
    return TinyData(DataInfo("tiny", fingerprint, 40, (1, 8, 8), "uint8", 0.0, 255.0, mean, std), images)


def tiny_settings(**flat: Any) -> TrainConfig:
    """Twelve steps of a U-Net with one level, dropout and flips; a log line every two, a checkpoint every three."""
    small = {
        "base": 8,
        "multipliers": (1,),
        "blocks": 1,
        "attention_levels": (),
        "middle_attention": False,
        "dropout": 0.1,
        "timesteps": 8,
        "flip": True,
        "offset_noise": 0.1,
        "lr": 1e-3,
        "warmup": 4,
        "decay": "cosine",
        "batch": 4,
        "ema": (0.99, 0.9),
        "device": "cpu",
        "log_every": 2,
        "sample_every": 5,
        "sample_count": 2,
        "checkpoint_every": 3,
        "keep": 2,
    }
    budget = {} if {"steps", "images", "minutes"} & flat.keys() else {"steps": 12}
    return override(TrainConfig(), **{**small, **budget, **flat})
