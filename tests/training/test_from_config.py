"""A training that starts from another run's settings: `config=` and `--config`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_settings

import undiffuse
from undiffuse.cli import main
from undiffuse.config.distillation import MatchConfig
from undiffuse.config.files import read_config, to_yaml
from undiffuse.errors import UndiffuseError


@pytest.fixture
def first(own_cache, tmp_path) -> Path:
    """A run of pictures of a file, by settings that no recipe has."""
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8))
    how = tiny_settings(steps=3, source=str(tmp_path / "data.npy"), ema=(0.5,))
    undiffuse.train(config=how, name="first", runs=tmp_path / "runs", quiet=True)
    return tmp_path / "runs" / "first"


def equal(a: undiffuse.Model, b: undiffuse.Model) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def test_the_settings_of_a_run_make_it_again(first):
    again = undiffuse.train(config=first / "config.yaml", name="again", runs=first.parent, quiet=True)
    assert equal(undiffuse.load(first), again)
    assert read_config(first.parent / "again" / "config.yaml") == read_config(first / "config.yaml")


def test_what_is_typed_beside_them_is_changed(first, tmp_path):
    assert main(["train", "--config", str(first / "config.yaml"), "--lr", "0.01", "--runs", str(tmp_path / "b")]) == 0
    was, now = read_config(first / "config.yaml"), read_config(tmp_path / "b" / "data" / "config.yaml")
    assert now == replace(was, optimizer=replace(was.optimizer, lr=0.01))
    other = tmp_path / "other.npy"
    np.save(other, np.random.default_rng(1).integers(0, 256, (5, 8, 8), dtype=np.uint8))
    given = {"config": str(first / "config.yaml"), "images": 8, "runs": tmp_path / "c", "quiet": True}
    model = undiffuse.train(other, **given)
    assert (model.info.count, model.config.loop.steps, model.config.loop.images) == (5, None, 8)


def test_another_start_is_taken_and_the_same_must_be_unchanged(first, tmp_path):
    how = {"runs": first.parent, "quiet": True}
    undiffuse.train(config=first / "config.yaml", name="tuned", start_from=str(first), **how)
    tuned = first.parent / "tuned" / "config.yaml"
    assert read_config(tuned).start.start_sha256
    assert equal(undiffuse.load(first.parent / "tuned"), undiffuse.train(config=tuned, name="tuned again", **how))
    undiffuse.train(name="first", resume=True, steps=6, **how)
    with pytest.raises(UndiffuseError, match="has other weights now than when these settings were made"):
        undiffuse.train(config=tuned, name="no", **how)
    undiffuse.train(config=tuned, name="yes", start_from=str(first), **how)


def test_what_says_the_same_twice_or_cannot_be_is_refused(first, tmp_path, capsys):
    config = first / "config.yaml"
    student = tmp_path / "student.yaml"
    student.write_text(to_yaml(replace(read_config(config), distillation=MatchConfig(teacher="x", origin="x"))))
    for how, sentence in (
        ({"config": config, "recipe": "small"}, "`recipe` names settings, too: leave one of them out"),
        ({"config": config, "resume": True}, "a run that goes on has its own settings: leave one of them out"),
        ({"config": tmp_path / "none.yaml"}, "cannot read the settings in .*none.yaml: No such file"),
        ({"config": student}, "are a student's, which undiffuse distill makes"),
        ({"config": 3}, "`config` is a TrainConfig or a file of one, got a int"),
        ({"config": config, "learning_rate": 1.0}, "unknown setting 'learning_rate'; perhaps you meant 'lr'"),
    ):
        with pytest.raises(UndiffuseError, match=sentence):
            undiffuse.train(runs=tmp_path, quiet=True, **how)
    assert main(["train", "--config", str(tmp_path / "none.yaml")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("undiffuse: cannot read the settings in ")
