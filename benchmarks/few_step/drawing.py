"""Samples of a case, their evaluations counted, kept in files so that another figure need not draw again."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import SampleConfig
from undiffuse.model import Model

BLOCK = 500
"""Samples of a file."""
MICRO_BATCH = 250


@dataclass(frozen=True)
class Drawn:
    """Samples 0 .. n - 1 of a seed, the model's classes by turns.

    Args:
        images: (n, *shape) of the data's own type and range.
        evaluations: of the network, for each of them; guidance asks it twice.
        seconds: of the processor, for all of them.
    """

    images: NDArray[Any]
    evaluations: float
    seconds: float


def tells_class(model: Model) -> bool:
    return any(condition.name == CLASS for condition in model.conditions)


def classes_by_turns(model: Model, n: int) -> Tensor | None:
    """The classes that samples 0 .. n - 1 are drawn for; None of a model that is told no class."""
    return torch.arange(n) % len(model.info.classes) if tells_class(model) else None


def draw(model: Model, settings: SampleConfig, n: int, seed: int, folder: Path) -> Drawn:
    """Draw what no file has yet, a block at a time; what is there is read."""
    settings = settings.changed(micro_batch=min(n, MICRO_BATCH))
    plan, home, parts = model.plan(settings), folder / name_of(model, settings, seed), []
    for first in range(0, n, BLOCK):
        block = range(first, min(first + BLOCK, n))
        path = home / f"{block.start:06d}-{block.stop:06d}.npz"
        if not path.exists():
            begun = time.process_time()
            with counted_rows(model.network) as rows:
                images = np.concatenate([samples.array for samples in plan.draw(block, seed)])
            _write(path, images, rows[0] / (len(plan.blocks(block)) * plan.micro_batch), time.process_time() - begun)
        with np.load(path, allow_pickle=False) as arrays:
            parts.append(Drawn(arrays["images"], float(arrays["evaluations"]), float(arrays["seconds"])))
    (evaluations,) = {part.evaluations for part in parts}
    return Drawn(np.concatenate([part.images for part in parts]), evaluations, sum(part.seconds for part in parts))


def _write(path: Path, images: NDArray[Any], evaluations: float, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, images=images, evaluations=evaluations, seconds=seconds)
    partial.replace(path)


def name_of(model: Model, settings: SampleConfig, seed: int) -> str:
    """A folder for the samples of one model by some settings: words for the eye and a sha256 of all that counts."""
    usual, solver, guide = SampleConfig().flat(), settings.solver, settings.guide
    unusual = {name: value for name, value in settings.flat().items() if value != usual[name]}
    told = json.dumps([model.provenance["sha256"], unusual, seed])
    steps = len(solver.times) or solver.steps
    words = f"{solver.sampler}-{steps}-guidance-{guide.guidance:g}-{guide.threshold}-seed-{seed}"
    return f"{words}-{hashlib.sha256(told.encode()).hexdigest()[:10]}"


@contextmanager
def counted_rows(network: nn.Module) -> Iterator[list[int]]:
    """The number of rows that the network is asked for within, in a list of one."""
    rows = [0]

    def count(_: nn.Module, given: tuple[Any, ...]) -> None:
        rows[0] += len(given[0])

    hook = network.register_forward_pre_hook(count)
    try:
        yield rows
    finally:
        hook.remove()


def fidelity(images: Tensor, others: Tensor) -> dict[str, float]:
    """How far images in [-1, 1] are from others, one by one: root mean square of a pixel, mean Euclidean distance."""
    apart = (images - others).flatten(1).double()
    return {
        "rms": round(math.sqrt(float(apart.square().mean())), 4),
        "distance": round(float(apart.norm(dim=1).mean()), 3),
    }
