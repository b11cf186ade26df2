"""New data with samples of the model that a training starts from beside them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import undiffuse
from tests.training.tiny import TinyData, tiny_data, tiny_settings
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.files import override
from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.reports.run_report import write_report
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.batches import TrainData
from undiffuse.training.distillation.request import student_settings
from undiffuse.training.held_out import _labels
from undiffuse.training.run.finetune import started_from
from undiffuse.training.run.prior import Prior, join

DDIM = {"steps": 2, "sampler": "ddim", "threshold": "none"}


def labeled(classes=("dark", "light")):
    data = tiny_data()
    labels = (data.images.reshape(len(data.images), -1).mean(1) > 128).astype(np.int64)
    return TinyData(replace(data.info, classes=classes), data.images, labels)


def few(name="pictures/spots", **changes):
    """Three pictures without classes."""
    data = tiny_data(name)
    info = replace(data.info, name=name, count=3, **changes)
    return TinyData(info, data.images[:3], None)


def on_from(folder, **flat):
    start = override(tiny_settings(), start_from=str(folder)).start
    return override(started_from(tiny_settings(sample_every=0), start), **{"prior": 4, "sample_every": 0, **flat})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    start_run(tiny_settings(steps=6, sample_every=0, condition=("class",)), labeled(), folder / "base")
    start_run(tiny_settings(steps=6, sample_every=0), tiny_data(), folder / "plain")
    start_run(on_from(folder / "base", steps=6, checkpoint_every=3, keep=0, lora_rank=2), few(), folder / "new")
    return folder


def test_half_of_each_batch_is_new_and_all_of_either_come_equally_often():
    data, images = few(), np.zeros((5, 1, 8, 8), np.uint8)
    both = join(data, Prior(images, np.arange(5) % 2, ("a", "b")), tiny_settings(condition=("class",)))
    assert both.info.count == len(both.images) == 8
    batches = [both.order(5, step, seed=7) for step in range(10)]
    assert all((batch < 3).sum() == 3 for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=8)
    assert counts[:3].tolist() == [10, 10, 10]
    assert counts[3:].tolist() == [4, 4, 4, 4, 4]
    np.testing.assert_array_equal(both.order(5, 3, seed=7), batches[3])
    assert not np.array_equal(both.order(5, 3, seed=8), batches[3])


def test_rows_are_the_new_ones_and_then_the_samples():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 1, 8, 8), np.uint8)
    data = few()
    both = join(data, Prior(images, np.arange(5) % 2, ("a", "b")), tiny_settings(condition=("class",)))
    rows = both.images[np.array([7, 0, 3, 2])]
    np.testing.assert_array_equal(rows, np.concatenate([images[4:], data.images[:1], images[:1], data.images[2:3]]))
    np.testing.assert_array_equal(both.images[4], images[1])
    np.testing.assert_array_equal(both.images[1:4], np.concatenate([data.images[1:3], images[:1]]))


@pytest.mark.parametrize(
    ("data", "classes", "labels"),
    [
        (few("pictures/spots"), ("a", "b", "spots"), [2, 2, 2, 0, 1]),  # the folder's name
        (few("pictures/b"), ("a", "b"), [1, 1, 1, 0, 1]),  # a class that it knows
        (
            TinyData(replace(few().info, classes=("b", "c")), few().images, np.array([1, 0, 1])),
            ("a", "b", "c"),
            [2, 1, 2, 0, 1],
        ),
    ],
)
def test_new_classes_come_after_those_that_the_model_knows(data, classes, labels):
    prior = Prior(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), ("a", "b"))
    both = join(data, prior, tiny_settings(condition=("class",)))
    assert both.info.classes == classes
    assert both.labels.tolist() == labels
    assert join(data, prior, tiny_settings()).labels is None


def test_the_moments_are_those_of_half_and_half():
    data, images = tiny_data(), np.random.default_rng(1).integers(0, 90, (7, 1, 8, 8)).astype(np.uint8)
    info = join(data, Prior(images, np.zeros(7, np.int64), ("x",)), tiny_settings()).info
    even = np.concatenate([np.tile(data.images, (7, 1, 1, 1)), np.tile(images, (40, 1, 1, 1))]) / 127.5 - 1
    assert info.mean[0] == pytest.approx(even.mean())
    assert info.std[0] == pytest.approx(even.std())


def test_a_new_class_begins_as_none_and_the_old_ones_as_they_were(runs):
    begun, base = load(runs / "new" / "checkpoints" / "step-00000000"), load(runs / "base")
    assert begun.info.classes == ("dark", "light", "spots")
    drawn = begun.sample(3, classes=("dark", "light", "spots"), **DDIM).array
    np.testing.assert_array_equal(drawn, base.sample(3, classes=("dark", "light", "none"), **DDIM).array)


def test_the_samples_are_the_models_own_and_lie_in_the_run(runs):
    prior = Prior.read(runs / "new" / "prior.npz")
    assert (prior.classes, prior.labels.tolist()) == (("dark", "light"), [0, 1, 0, 1])
    base = load(runs / "base")
    assert prior.images.shape == (4, 1, 8, 8)
    again = Prior.drawn(base, 4, 0, undiffuse.runtime.process_group.ALONE, False)
    np.testing.assert_array_equal(prior.images, again.images)
    assert again.sha256 == prior.sha256


def test_a_resumed_training_needs_no_model_and_is_the_uninterrupted_one_to_the_bit(runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "new", tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "checkpoints" / "step-00000006")
    monkeypatch.setattr(Prior, "drawn", None)
    resume_run(tmp_path / "new", dataset=few())
    ends = [load_checkpoint(folder / "new" / "checkpoints" / "step-00000006") for folder in (runs, tmp_path)]
    for name, tensor in ends[0].weights.items():
        assert torch.equal(tensor, ends[1].weights[name])


def test_other_samples_or_none_are_one_sentence(runs, tmp_path):
    shutil.copytree(runs / "new", tmp_path / "new")
    prior = Prior.read(tmp_path / "new" / "prior.npz")
    replace(prior, images=255 - prior.images).write(tmp_path / "new" / "prior.npz")
    with pytest.raises(UndiffuseError, match="are not those that the run learned from"):
        resume_run(tmp_path / "new", dataset=few(), steps=9)
    whole = (runs / "new" / "prior.npz").read_bytes()
    for damaged in (b"no archive", whole[:-40], whole[:60] + bytes(40) + whole[100:]):
        (tmp_path / "new" / "prior.npz").write_bytes(damaged)
        with pytest.raises(UndiffuseError, match=r"cannot read .*prior.npz, the samples that this run learns beside"):
            resume_run(tmp_path / "new", dataset=few(), steps=9)


def test_a_model_of_no_classes_learns_to_tell_new_from_old(runs, tmp_path):
    model = start_run(on_from(runs / "plain", steps=2, condition=("class",)), few(), tmp_path / "told")
    assert model.info.classes == ("prior", "spots")
    mixed = start_run(on_from(runs / "plain", steps=2), few(), tmp_path / "mixed")
    assert mixed.conditions == ()


@pytest.mark.parametrize(
    ("flat", "data", "sentence"),
    [
        ({"prior": 1}, few(), "`prior=1` is too few: .* has 2 classes"),
        ({"prior": -1}, few(), "`prior` must be at least 0"),
        ({"validation": 0.5}, few(), "`prior` makes each batch half of new samples, which `validation` does not go"),
        ({"batch": 1}, few(), "so `batch` must be at least 2, got 1"),
        ({}, few(high=100.0), "prepare them alike with `size` and `channels`"),
        ({"start_from": ""}, few(), "`prior` is of a training on data from another model: name that one"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_no_run(runs, tmp_path, flat, data, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        start_run(on_from(runs / "base", steps=2, **flat), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_knows_its_own_data_beside_the_samples(runs):
    info = load(runs / "new").info
    assert info.learned(few().info)
    assert not info.learned(replace(few().info, fingerprint="others"))
    assert info.fingerprint != info.new == few().info.fingerprint
    assert type(info).from_json(info.to_json()) == info
    assert "new" not in few().info.to_json()


def test_held_out_data_are_of_the_class_that_is_new(runs):
    """Those without classes; others by their names, and none that the model does not know."""
    model = load(runs / "new")
    assert model.info.classes == ("dark", "light", "spots")
    np.testing.assert_array_equal(_labels(TrainData.of(few("elsewhere")), model), [2, 2, 2])
    np.testing.assert_array_equal(_labels(TrainData.of(labeled(("light", "spots"))), model), 1 + labeled().labels)
    with pytest.raises(UndiffuseError, match="`validation` has other classes than the data"):
        _labels(TrainData.of(labeled(("light", "unknown"))), model)
    with pytest.raises(UndiffuseError, match="`validation` has other classes than the data"):
        _labels(TrainData.of(few()), load(runs / "base"))


def test_data_without_classes_are_told_of_prior(runs, tmp_path):
    with pytest.raises(
        UndiffuseError, match=r"needs classes.*; `prior=200` learns them as one class beside what .*base"
    ):
        start_run(on_from(runs / "base", prior=0, lora_rank=2), few(), tmp_path / "run")


def test_a_report_shows_the_data_beside_which_a_prior_lay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few_steps = {"steps": 2, "batch": 4, "sample_every": 0, "device": "cpu", "quiet": True}
    np.save("spots.npy", few().images[:, 0])
    start_run(
        tiny_settings(steps=1, sample_every=0, condition=("class",), parameterization="v"), labeled(), Path("base")
    )
    undiffuse.train("spots.npy", start_from="base", prior=4, lora_rank=2, name="new", **few_steps)
    assert "Beside them are real data." in write_report("runs/new").read_text(encoding="utf-8")


def test_a_student_does_not_begin_as_its_teacher_did(runs):
    student = student_settings(load(runs / "new").config)
    assert student.start.prior == 0
    assert student.start.start_from == ""
