from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.quality.image_source import DatasetImages, ModelSamples
from undiffuse.model import Model, build_model

STEPS = SampleConfig.of(steps=3, sampler="ddpm", micro_batch=4)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8))
    return prepare(DataConfig(str(tmp_path / "noise.npy")), tmp_path / "cache", progress=False)


@pytest.fixture
def model(dataset: Dataset) -> Model:
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    return build_model(override(TrainConfig(), steps=1, timesteps=8, **small), dataset.info)


def all_of(subject: ModelSamples | DatasetImages, indices: range | None = None) -> np.ndarray:
    return np.concatenate(list(subject.blocks(range(subject.count) if indices is None else indices)))


def test_a_model_draws_the_images_that_sample_draws(model: Model) -> None:
    drawn = all_of(ModelSamples(model.plan(STEPS), 10, seed=3))
    assert np.array_equal(drawn, model.sample(10, 3, settings=STEPS).array)


@pytest.mark.parametrize("cuts", [(0, 10), (0, 3, 10), (0, 4, 5, 8, 10)])
def test_a_range_may_be_split_anywhere(model: Model, cuts: tuple[int, ...]) -> None:
    subject = ModelSamples(model.plan(STEPS), 10)
    parts = [all_of(subject, range(*ends)) for ends in pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), all_of(subject))


def test_blocks_are_no_larger_than_a_micro_batch(model: Model) -> None:
    assert [len(block) for block in ModelSamples(model.plan(STEPS), 10).blocks(range(10))] == [4, 4, 2]


@pytest.mark.parametrize(("sampler", "evaluations"), [("ddpm", 3), ("heun", 5)])
def test_evaluations_of_an_image_are_counted(model: Model, sampler: str, evaluations: int) -> None:
    subject = ModelSamples(model.plan(steps=3, sampler=sampler, micro_batch=4), 6)
    assert subject.facts()["evaluations"] is None
    all_of(subject)
    assert subject.facts()["evaluations"] == evaluations


def test_other_seeds_draw_other_images(model: Model) -> None:
    subject = ModelSamples(model.plan(STEPS), 4)
    assert not np.array_equal(all_of(subject), all_of(subject.with_seed(1)))
    assert subject.with_seed(1).facts()["seed"] == 1


def test_given_images_are_all_of_them_or_some_at_random(dataset: Dataset) -> None:
    assert np.array_equal(all_of(DatasetImages.of(dataset)), dataset.images)
    some = DatasetImages.of(dataset, 5)
    assert some.count == 5
    assert np.array_equal(all_of(some), dataset.images[list(some.indices)])
    assert some.with_seed(1).indices != some.indices
    assert DatasetImages.of(dataset, 5).indices == some.indices


def test_given_images_are_not_drawn_twice(dataset: Dataset) -> None:
    with pytest.raises(UndiffuseError, match="12 images, not 13"):
        DatasetImages.of(dataset, 13)
    with pytest.raises(UndiffuseError, match="leave out `repeat`"):
        DatasetImages.of(dataset).with_seed(1)


@pytest.mark.filterwarnings("ignore:.eta=0.5. changes nothing")
def test_eta_is_told_where_it_matters(model: Model) -> None:
    for sampler, eta in (("ddim", 0.5), ("ddpm", None)):
        assert ModelSamples(model.plan(sampler=sampler, eta=0.5, steps=4), 4).facts()["eta"] == eta
