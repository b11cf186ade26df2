"""What the tests of benchmarks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.lib.judge import Bench, Digits, Judge, TrainingData
from undiffuse.data.info import DataInfo


@pytest.fixture(scope="session")
def bench() -> Bench:
    """A judge that learned nothing, over made-up pictures: bright bars whose place is their class."""
    stream = np.random.default_rng(0)
    labels = np.arange(120) % 10
    images = stream.integers(0, 40, (120, 1, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, :, 2 * label + 3 : 2 * label + 6] += 200
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Judge().eval()
    digits = Digits.of(images, labels)
    x = digits.images
    info = DataInfo("bars", "bars", 80, (1, 28, 28), "uint8", 0.0, 255.0, (float(x.mean()),), (float(x.std()),))
    return Bench(judge, digits[:80], digits[80:], TrainingData(info, images[:80]))
