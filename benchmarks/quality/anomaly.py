"""The AUROC table of docs/measure/anomaly.md: digits held out by class, rotated, inverted, and noise.

    python -m benchmarks.quality.anomaly MNIST-TEST.npz 9 [--ode]

trains on the 5,000 built-in digits without those of one class (``runs/without-9``, kept for the next time) and judges
MNIST's test set, which has none of those images: arrays ``x`` (N, 28, 28) uint8 and ``y`` (N,).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import undiffuse
from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.evaluation.anomaly.auroc import auroc
from undiffuse.evaluation.anomaly.evaluate import features
from undiffuse.evaluation.anomaly.scores import ReconstructionSettings, Standard
from undiffuse.evaluation.images import choose
from undiffuse.model import Model

STEPS = 3000


def trained_without(digit: int) -> Model:
    """The recipe 'digits', shortened, on nine classes."""
    folder = Path("runs") / f"without-{digit}"
    if folder.exists():
        return undiffuse.load(folder)
    digits = prepare(DataConfig("digits"))
    assert digits.labels is not None
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / f"without-{digit}.npy"
        np.save(source, digits.images[digits.labels != digit][:, 0])
        settings = {"steps": STEPS, "sample_every": 0, "checkpoint_every": 0}
        return undiffuse.train(source, "digits", folder.name, device="cpu", **settings)


def sets(test: Path, digit: int, part: float) -> Iterator[tuple[str, np.ndarray]]:
    """Normal images to standardise on and to judge, then four kinds of strange ones."""
    found = np.load(test)
    x, y = found["x"], found["y"]
    dice = np.random.default_rng(0)
    normal, held_out = (dice.permutation(np.flatnonzero(which)) for which in (y != digit, y == digit))
    size = {name: int(part * count) for name, count in (("normal", 400), ("held", 300), ("odd", 200))}
    ends = np.cumsum([size["normal"], size["normal"], size["odd"], size["odd"]])
    standard, judged, turned, negative = np.split(x[normal[: ends[-1]]], ends[:-1])
    yield "standard", standard
    yield "normal", judged
    yield f"class {digit}", x[held_out[: size["held"]]]
    yield "rotated", np.rot90(turned, axes=(1, 2))
    yield "inverted", 255 - negative
    yield "noise", dice.integers(0, 256, (size["odd"], 28, 28), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("digit", type=int, choices=range(10))
    parser.add_argument("--ode", action="store_true", help="the ODE's likelihood, too, on half as many images")
    parser.add_argument("--steps", type=int, default=1, help="of a reconstruction")
    typed = parser.parse_args()
    model, look = trained_without(typed.digit), ReconstructionSettings(steps=typed.steps)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("UNDIFFUSE_CACHE", scratch)
        for name, images in sets(typed.test, typed.digit, 0.5 if typed.ode else 1.0):
            path = Path(scratch) / f"{name}.npy"
            np.save(path, images)
            chosen = choose(prepare(DataConfig(str(path)), progress=False), model.info)
            found[name] = features(model, chosen, look, with_ode=typed.ode)
    standard = Standard(found.pop("standard"))
    normal = standard.scores(found.pop("normal"))
    strange = {name: standard.scores(one) for name, one in found.items()}
    print("| score |", " | ".join(strange), "|")
    print("|---|" + "---|" * len(strange))
    for score in normal:
        cells = [f"{auroc(normal[score], scores[score]):.3f}" for scores in strange.values()]
        print(f"| {score} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
