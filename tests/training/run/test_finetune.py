"""Training on from another model's weights: nothing is lost, nothing else is let in, and the new run stands alone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TinyData, tiny_data, tiny_settings

from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.files import override
from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.run import finetune
from undiffuse.training.run.finetune import started_from

DDIM = {"steps": 2, "sampler": "ddim", "threshold": "none"}


def labeled(data=None):
    data = data or tiny_data()
    labels = (data.images.reshape(len(data.images), -1).mean(1) > 128).astype(np.int64)
    return TinyData(replace(data.info, classes=("dark", "light")), data.images, labels)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "old"
    start_run(tiny_settings(steps=6, sample_every=0, ema_warmup=False), tiny_data(), folder)
    return folder


def on_from(folder, **flat):
    """The settings that ``undiffuse train --from folder`` makes out of a recipe's."""
    start = override(tiny_settings(), start_from=str(folder)).start
    recipe = tiny_settings(base=16, timesteps=100, sample_every=0, ema_warmup=False)
    return override(started_from(recipe, start), **flat)


def test_the_network_and_what_it_predicts_come_with_the_weights(old):
    config, was = on_from(old), load(old)
    assert (config.network, config.diffusion) == (was.config.network, was.config.diffusion)
    assert config.start.start_sha256 == was.provenance["sha256"]
    assert on_from(old, base=32).network.base == 32


def test_a_run_that_is_told_classes_begins_with_the_samples_of_one_that_is_not(old, tmp_path):
    start_run(on_from(old, condition=("class",), steps=3), labeled(), tmp_path / "new")
    begun = load(tmp_path / "new" / "checkpoints" / "step-00000000")
    assert "told.label.rows.weight" in begun.network.state_dict()
    np.testing.assert_array_equal(begun.sample(4, **DDIM).array, load(old).sample(4, **DDIM).array)
    first, was = load_checkpoint(tmp_path / "new" / "checkpoints" / "step-00000000"), load(old).network.state_dict()
    for tensors in (first.weights, *first.averages.values()):
        assert all(torch.equal(tensors[name], was[name]) for name in was)


def test_the_model_that_a_run_starts_from_is_loaded_once(old, tmp_path, monkeypatch):
    config, real, loaded = on_from(old, steps=1), finetune.load_model, []
    monkeypatch.setattr(finetune, "load_model", lambda *which: loaded.append(which) or real(*which))
    start_run(config, tiny_data(), tmp_path / "new")
    assert loaded == [(str(old), "ema")]


def test_what_it_started_from_is_on_its_card_and_in_its_settings(old, tmp_path):
    model = start_run(on_from(old, steps=2), tiny_data(), tmp_path / "new")
    assert model.config.start.start_from == str(old)
    assert load(old).provenance["sha256"] in (tmp_path / "new" / "README.md").read_text()


def test_a_resumed_run_needs_nothing_of_the_one_it_started_from(old, tmp_path):
    """Bit for bit the uninterrupted one, the old folder being gone."""
    config = on_from(old, condition=("class",), steps=6, checkpoint_every=3, keep=0)
    shutil.copytree(old, tmp_path / "old")
    config = override(config, start_from=str(tmp_path / "old"))
    whole = start_run(config, labeled(), tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "checkpoints" / "step-00000006")
    shutil.rmtree(tmp_path / "old")
    resumed = resume_run(tmp_path / "new", dataset=labeled())
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name])


def _wider():
    data = tiny_data()
    return TinyData(replace(data.info, shape=(1, 8, 12)), np.tile(data.images, 2)[..., :12], None)


@pytest.mark.parametrize(
    ("flat", "data", "sentence"),
    [
        ({"base": 16}, tiny_data(), "other settings made it"),
        ({}, _wider(), r"of the shape \(1, 8, 8\).*has \(1, 8, 12\): prepare them alike"),
        ({"start_sha256": "0" * 64}, tiny_data(), "has other weights now"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence_and_leave_no_run(old, tmp_path, flat, data, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        start_run(on_from(old, steps=2, **flat), data, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_conditions_are_kept_and_cannot_be_taken_away(old, tmp_path):
    start_run(on_from(old, condition=("class",), steps=2), labeled(), tmp_path / "told")
    assert on_from(tmp_path / "told").conditions.condition == ("class",)
    data = labeled()
    with pytest.raises(UndiffuseError, match="here there would be none"):
        start_run(on_from(tmp_path / "told", steps=2, condition=()), data, tmp_path / "none")


def test_layers_with_as_many_rows_as_a_table_of_classes_are_no_tables(tmp_path):
    """Seven classes and none are eight rows, as many as the network's layers have outputs."""
    data = tiny_data()
    labels = np.arange(len(data.images)) % 7
    seven = TinyData(replace(data.info, classes=tuple("abcdefg")), data.images, labels)
    start_run(tiny_settings(steps=2, condition=("class",), sample_every=0), seven, tmp_path / "seven")
    other = replace(seven, info=replace(seven.info, classes=tuple("bacdefz")))
    start_run(on_from(tmp_path / "seven", steps=1), other, tmp_path / "other")
    begun, was = (
        load(place).network.state_dict()
        for place in (tmp_path / "other" / "checkpoints" / "step-00000000", tmp_path / "seven")
    )
    table = "told.label.rows.weight"
    assert torch.equal(begun[table], was[table][[1, 0, 2, 3, 4, 5, 7, 7]])
    assert any(len(tensor) == 8 for name, tensor in was.items() if name != table)
    assert all(torch.equal(begun[name], tensor) for name, tensor in was.items() if name != table)


def test_there_must_be_something_to_start_from(tmp_path):
    with pytest.raises(UndiffuseError, match="not there"):
        on_from(tmp_path / "nowhere")
