from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import choose
from undiffuse.evaluation.likelihood.evaluate import bound
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.evaluation.options import MeasureOptions
from undiffuse.evaluation.quality.bits import measure_bits
from undiffuse.evaluation.quality.evaluate import Quality, QualitySettings
from undiffuse.model import Model, build_model


def open_(folder: Path, name: str, shape: tuple[int, ...] = (20, 8, 8)) -> Dataset:
    np.save(folder / name, np.random.default_rng(len(name)).integers(0, 256, shape, np.uint8))
    return prepare(DataConfig(str(folder / name)), folder / "cache", progress=False)


def model_of(dataset: Dataset, **settings: Any) -> Model:
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    return build_model(override(TrainConfig(), **{"steps": 1, "timesteps": 8, **small, **settings}), dataset.info)


def test_bits_are_the_bound_s_mean_over_the_images(tmp_path: Path) -> None:
    dataset = open_(tmp_path, "a.npy")
    model = model_of(dataset)
    found = measure_bits(model, dataset, 6, 4, seed=2)
    assert found is not None
    terms = bound(model, choose(dataset, model.info, 6, 2), count=4, how=MeasureOptions(seed=2))
    assert found.figure.value == pytest.approx(float(Units.of(model.info).of_bound(terms.total).mean()), rel=1e-12)
    assert found.figure.name == "bits/dim"
    assert (found.facts["count"], found.facts["timesteps"], found.figure.n) == (6, 4, 6)


def test_images_that_the_model_was_trained_on_are_said_to_be_so(tmp_path: Path) -> None:
    own, held_out = open_(tmp_path, "a.npy"), open_(tmp_path, "others.npy")
    model = model_of(own)
    for dataset, seen in ((own, True), (held_out, False)):
        found = measure_bits(model, dataset, 4, 4)
        assert found is not None
        assert found.facts["trained_on"] is seen
        assert ("trained on these images" in found.figure.warning) is seen


def test_a_chain_shorter_than_the_timesteps_is_taken_whole(tmp_path: Path) -> None:
    dataset = open_(tmp_path, "a.npy")
    found = measure_bits(model_of(dataset), dataset, 2)
    assert found is not None
    assert found.facts["timesteps"] == 8


def test_a_continuous_process_has_no_bits_and_the_table_says_why(tmp_path: Path) -> None:
    dataset = open_(tmp_path, "a.npy")
    assert measure_bits(model_of(dataset, schedule="vp"), dataset) is None
    quality = Quality((), 1, {}, {}, (), QualitySettings()).with_bits(None)
    assert quality.figures == ()
    assert "no variational bound" in quality.notes[0]


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="1, 8, 8"):
        measure_bits(model_of(open_(tmp_path, "a.npy")), open_(tmp_path, "wide.npy", (12, 8, 16)))
