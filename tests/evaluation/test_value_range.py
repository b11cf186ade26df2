"""Data of another range are measured and said to be so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.pixels import Pixels
from undiffuse.evaluation.images import check_fit, choose
from undiffuse.evaluation.memorization.evaluate import HeldOutBaseline, TrainingImages, memorization
from undiffuse.evaluation.quality.evaluate import evaluate
from undiffuse.evaluation.quality.image_source import DatasetImages
from undiffuse.evaluation.quality.reference import Reference, check_comparable
from undiffuse.evaluation.quality.report import table
from undiffuse.evaluation.value_range import Extent


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """x and y in [0, 1], and x in other ranges."""
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 100, 8, 8, 3), np.float32)
    x[0, 0, 0], y[0, 0, 0] = (0, 1, 0.5), (0, 1, 0.5)
    found = {"x": x, "y": y, "both_signs": 2 * x - 1, "bytes_as_floats": 255 * x, "y_of_both_signs": 2 * y - 1}
    found |= {"bytes": (255 * x).astype(np.uint8), "masks": (x > 0.5).astype(np.uint8)}
    found["y_bytes"] = (255 * y).astype(np.uint8)
    opened = {}
    for name, array in found.items():
        np.savez(tmp_path / f"{name}.npz", x=array)
        opened[name] = prepare(DataConfig(source=str(tmp_path / f"{name}.npz")))
    return opened


@pytest.mark.parametrize(
    ("subject", "reference", "words"),
    [
        ("both_signs", "y", "from -1 to 1, and the reference y.npz from 0 to 1: 50% lie outside"),
        ("bytes_as_floats", "y", "lie outside"),
        ("x", "y_of_both_signs", "from 0 to 1, and the reference y_of_both_signs.npz from -1 to 1: they fill a small"),
        ("masks", "y_bytes", "from 0 to 1, and the reference y_bytes.npz from 0 to 255: they fill a small part"),
        ("bytes", "masks", ", and of the reference masks.npz the values hardly vary (std 0.003"),
        ("x", "y", ""),
        ("masks", "masks", "fill a small part"),
        ("bytes", "y_bytes", ""),
    ],
)
def test_images_of_another_range_than_the_reference_are_said_to_be_so(sets, subject, reference, words):
    found = evaluate(DatasetImages.of(sets[subject]), Reference(sets[reference]), [Pixels()])
    said = " ".join(table(found).split())
    assert (words in said) if words else "values from" not in said


def test_memorisation_says_it_too(sets):
    training = TrainingImages.of(sets["y"])
    yardstick = HeldOutBaseline.leave_one_out(training)
    with pytest.warns(UserWarning, match="both_signs.npz has values from -1 to 1, and the training data y.npz from 0"):
        memorization(DatasetImages.of(sets["both_signs"]), training, yardstick, [Pixels()])


def test_what_is_judged_by_a_model_of_another_range_is_said_to_be_so(sets):
    with pytest.warns(UserWarning, match="what the model learned from 0 to 1: 50% lie outside"):
        choose(sets["both_signs"], sets["y"].info, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose(sets["x"], sets["y"].info, 10)


def test_bytes_beside_floats_are_refused_with_what_to_do(sets):
    for refuse in (check_comparable, check_fit):
        with pytest.raises(UndiffuseError, match="one kind of number in one range"):
            refuse(sets["bytes"].info, sets["y"].info)


def test_a_little_outside_is_nothing(sets):
    extent = Extent()
    extent.look(np.linspace(-0.02, 1.02, 1000), sets["y"].info)
    assert extent.words(sets["y"].info, "a", "b") == ""
