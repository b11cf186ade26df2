"""Coloured pictures of two classes are measured as digits are, by their own classifier."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import undiffuse
from benchmarks.few_step import study, teacher
from benchmarks.few_step.drawing import classes_by_turns
from benchmarks.few_step.judges import labelled_judge
from benchmarks.few_step.plot import plot
from benchmarks.few_step.study import Study
from benchmarks.few_step.table import Table
from benchmarks.lib.judge import model_space
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features import classifier, classifier_training

CLASSES = ("left", "right")


def write_bars(path, count, seed):
    """Coloured bars of 16 x 16, to the left or to the right."""
    stream = np.random.default_rng(seed)
    y = np.array(CLASSES)[np.arange(count) % 2]
    x = stream.integers(0, 40, (count, 16, 16, 3)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        image[:, 8 * (label == "right") :][:, :4] += 200
    np.savez(path, x=x, y=y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures to learn, others, and a model of them."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder / "train.npz", 60, 0)
    write_bars(folder / "test.npz", 130, 1)
    settings = {
        "base": 4,
        "multipliers": (1,),
        "blocks": 1,
        "attention_levels": (),
        "middle_attention": False,
        "condition": ("class",),
        "batch": 4,
        "steps": 1,
        "quiet": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(folder / "cache"))
        undiffuse.train(source=str(folder / "train.npz"), name="bars", runs=folder, **settings)
    return folder


@pytest.fixture(autouse=True)
def quick(folder, monkeypatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(folder / "cache"))
    monkeypatch.setattr(classifier_training, "EPOCHS", 1)
    monkeypatch.setattr(study, "PATH", SampleConfig.of(sampler="ddim", steps=3))


@pytest.fixture
def parts(folder):
    return [prepare(DataConfig(source=str(folder / f"{part}.npz"))) for part in ("train", "test")]


@pytest.fixture
def judge(folder, parts):
    return labelled_judge(folder / "results", *parts)


def test_reference_and_held_out_images_are_halves_of_others_that_nobody_learned(judge, parts):
    data, others = (codec_of(part.info).encode(part.images[:]) for part in parts)
    assert judge.reference.shape == judge.held_out.shape == (65, 3, 16, 16)
    found = torch.cat([judge.reference, judge.held_out]).flatten(1)
    assert torch.equal(found.unique(dim=0), others.flatten(1).unique(dim=0))
    assert torch.equal(judge.learned, data[: len(judge.learned)])
    right = judge.held_out[:, :, :, 8:].mean((1, 2, 3)) > judge.held_out[:, :, :, :8].mean((1, 2, 3))
    assert torch.equal(judge.held_out_labels, right.long())
    fewer = labelled_judge(judge.look.args[0].path.parents[2], *parts, n=40)
    assert len(fewer.held_out) == 40
    assert (fewer.name, fewer.sha256) == (judge.name, judge.sha256)
    assert torch.equal(fewer.reference, judge.reference)


def test_a_classifier_is_trained_once_and_read_from_its_results_afterwards(folder, judge, parts, monkeypatch):
    monkeypatch.setattr(classifier, "train_classifier", lambda *_: pytest.fail("trained again"))
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(folder / "another cache"))
    again = labelled_judge(folder / "results", *parts)
    assert again.sha256 == judge.sha256
    assert again.judge_held_out() == judge.judge_held_out()


def test_the_reference_is_at_no_distance_and_what_was_learned_is_nearest(judge):
    figures = judge.judge_images(judge.reference, None)
    assert figures["fd"] == figures["fd_pixels"] == 0
    assert figures["ink"] == figures["precision"] == figures["recall"] == figures["coverage"] == 1
    assert "accuracy" not in figures
    assert judge.judge_images(judge.learned, None)["nearest"] == 0


def test_values_of_256_levels_are_encoded_as_those_of_digits_always_were(parts):
    values = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(1, 1, 28, 28)
    assert torch.equal(codec_of(parts[0].info).encode(values), model_space(values))


def test_held_out_images_of_another_kind_and_learned_ones_are_refused(folder, parts, tmp_path):
    data = parts[0]
    with pytest.raises(UndiffuseError, match="the very images"):
        labelled_judge(folder / "results", data, data)
    np.savez(tmp_path / "odd.npz", x=np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8), y=np.arange(40) % 2)
    with pytest.raises(UndiffuseError, match="the same shape, type and classes"):
        labelled_judge(folder / "results", data, prepare(DataConfig(source=str(tmp_path / "odd.npz"))))


def test_a_table_takes_rows_of_one_judge_and_one_model(folder, judge, tmp_path):
    path = tmp_path / "rows.json"
    model = undiffuse.load(folder / "bars")
    Study("bars", model, judge).open_table(path).write()
    with pytest.raises(UndiffuseError, match="whose distances do not compare"):
        Table.open(path, "a" * 64, "60,000 MNIST digits")
    model.provenance["sha256"] = "e" * 64
    with pytest.raises(UndiffuseError, match=r"holds rows of bars .*, and this model is other .eeeeeeeeeeee."):
        Study("other", model, judge).open_table(path)


def test_a_model_of_other_images_is_not_judged(folder, judge):
    with pytest.raises(UndiffuseError, match=r"\(3, 16, 16\), classes left, right, and digits draws \(1, 28, 28\)"):
        judge.check_knows(undiffuse.load("digits"), "digits")
    model = undiffuse.load(folder / "bars")
    judge.check_knows(model, "bars")
    assert classes_by_turns(model, 5).tolist() == [0, 1, 0, 1, 0]


def test_the_table_of_a_model_is_made_from_the_command_line(folder, tmp_path, monkeypatch, capsys):
    out, model = tmp_path / "rows.json", str(folder / "bars")
    asked = ["--model", model, "--out", str(out), "-n", "40", "--results", str(folder / "results"), "--threads", "1"]
    data = ["--data", str(folder / "train.npz"), "--held-out", str(folder / "test.npz")]
    monkeypatch.setattr(sys, "argv", ["teacher", "ddim:trailing:1", "dpm++2m-sde:trailing:20", *asked, *data])
    teacher.main()
    table = capsys.readouterr().out
    assert " held-out images " in table
    found = Table.open(out, *_judge_in(out))
    assert [(row["method"], row["steps"], row["n"]) for row in found.rows] == [
        ("held-out images", 0, 40),
        ("teacher", 1, 40),
        ("teacher", 20, 40),
    ]
    assert found.about["model"] == model
    assert found.unit(40) == found.rows[2]["fd"]
    assert "| 0 | held-out images |" in found.summary(40)
    assert "real images" in plot(found.rows, 40)
    monkeypatch.setattr(sys, "argv", ["teacher", *asked, *data[:2]])
    with pytest.raises(UndiffuseError, match="go together"):
        teacher.main()


def _judge_in(path):
    about = json.loads(path.read_text())
    return about["judge_sha256"], about["judge"]
