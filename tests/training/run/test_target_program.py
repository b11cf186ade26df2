"""What a training is for is asked before it, not after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from undiffuse.checkpoints.foreign.diffusers.folder import obstacles
from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.model import build_model
from undiffuse.recipes import RECIPES, get_recipe
from undiffuse.training.api import train
from undiffuse.training.run.target_program import changes, fitted


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 48), (1, 30, 20), (3, 9, 9), (3, 7, 31)])
def test_what_the_default_recipe_chooses_for_diffusers_can_be_held_there(shape):
    info = replace(unknown_data("x", shape), count=100)
    config = get_recipe("small").build(info)
    found = fitted(override(config, meant_for="diffusers"), info)
    assert obstacles(found, info) == []
    assert fitted(config, info) == config


def test_the_demo_of_digits_can_be_trained_for_diffusers_and_is_written_without_code(tmp_path):
    info = replace(unknown_data("digits", (1, 28, 28), tuple("0123456789")), count=5000)
    config = get_recipe("digits").build(info)
    assert obstacles(config, info)
    found = fitted(override(config, meant_for="diffusers"), info)
    said = changes(config, found)
    assert "`patch=1`" in said
    assert "`norm_groups=8`" in said
    convert(build_model(found, info), tmp_path / "out", "diffusers")
    assert not list((tmp_path / "out").rglob("*.py"))


def test_what_the_user_chose_is_not_touched_but_refused_with_all_reasons():
    info = unknown_data("x", (1, 8, 8))
    typed = {"patch": 2, "parameterization": "flow", "time_input": "log-snr", "meant_for": "diffusers"}
    config = override(TrainConfig(), **typed, multipliers=(1, 2))
    with pytest.raises(
        UndiffuseError, match=r"`meant_for=diffusers`.*patch.*'flow'.*'log-snr'.*writes code of its own"
    ):
        fitted(config, info, typed)


def test_a_training_for_diffusers_says_what_it_chose_and_is_refused_before_it_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (8, 24, 24), np.uint8))
    how = {"steps": 1, "base": 8, "multipliers": (1,), "sample_every": 0, "device": "cpu", "runs": tmp_path / "runs"}
    how |= {"middle_attention": False, "blocks": 1, "batch": 2, "name": "a"}
    with pytest.raises(UndiffuseError, match="architecture"):
        train(tmp_path / "x.npy", meant_for="diffusers", architecture="ddpm++", **how)
    assert not list((tmp_path / "runs").glob("*"))
    model = train(tmp_path / "x.npy", meant_for="diffusers", **how)
    assert "for diffusers: `patch=1`, `norm_groups=2`, in place of the recipe's choices" in capsys.readouterr().err
    convert(model, tmp_path / "out", "diffusers")
    assert not list((tmp_path / "out").rglob("*.py"))


def test_every_recipe_of_pictures_has_an_answer():
    for name in RECIPES:
        try:
            info = replace(unknown_data("x", (3, 256, 256) if "256" in name else (3, 32, 32)), count=100)
            config = override(get_recipe(name).build(info), meant_for="diffusers")
        except UndiffuseError:  # a recipe of other data
            continue
        try:
            assert obstacles(fitted(config, info), info) == []
        except UndiffuseError as error:
            assert "could not hold this model" in str(error)
