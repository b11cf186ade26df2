"""Stages of cascades are trained and resumed as every model is, and set upon each other in one folder."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import TinyData, tiny_data, tiny_settings

import undiffuse
from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.conditioning.low_resolution import LEVEL, SMALL, downsample
from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.build import make_train_step

QUICK = SampleConfig.of(sampler="ddpm", steps=3, micro_batch=4)


def small_data():
    """The tiny data at half of their size."""
    data = tiny_data()
    images = data.images.reshape(len(data.images), 1, 4, 2, 4, 2).mean((3, 5)).astype(np.uint8)
    return TinyData(replace(data.info, shape=(1, 4, 4)), images)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A base of 4 x 4 and a stage of 8 x 8."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    start_run(tiny_settings(sample_every=0, steps=3), small_data(), folder / "base")
    start_run(tiny_settings(upscale=2, keep=0, checkpoint_every=6), tiny_data(), folder / "up")
    return folder


def newest(run):
    folder = checkpoints(run / "checkpoints")[-1]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.safetensors")}


def test_a_resumed_stage_is_the_uninterrupted_one_bit_for_bit(runs, tmp_path, console):
    run = shutil.copytree(runs / "up", tmp_path / "up")
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    resume_run(run, dataset=tiny_data(), console=console)
    assert newest(run) == newest(runs / "up")
    assert (run / "samples/step-00000012.png").read_bytes() == (runs / "up/samples/step-00000012.png").read_bytes()


def test_a_step_is_told_its_own_images_made_smaller():
    data = tiny_data()
    model = build_model(tiny_settings(upscale=2, augmentation=0.0, condition_dropout=0.9), data.info)
    batch = make_train_step(model, data, 4).batch(2)
    seen = torch.nn.functional.interpolate(downsample(batch.x0, 2), size=(8, 8), mode="bilinear")
    torch.testing.assert_close(batch.conditions[SMALL], seen)
    assert not batch.conditions[LEVEL].any()


def test_the_class_is_hidden_now_and_then_and_the_small_image_never():
    data = tiny_data()
    labeled = TinyData(replace(data.info, classes=("a", "b")), data.images, np.zeros(40, np.int64))
    config = tiny_settings(upscale=2, condition=("class",), condition_dropout=0.5, batch=40)
    batch = make_train_step(build_model(config, labeled.info), labeled, 4).batch(0)
    assert set(batch.conditions[CLASS].tolist()) == {0, 2}
    assert batch.conditions[SMALL].isfinite().all()


def test_a_cascade_is_one_folder_that_draws_and_tells_of_itself(runs, tmp_path):
    model = undiffuse.make_cascade([runs / "base", runs / "up"], tmp_path / "both")
    assert sorted(file.name for file in (tmp_path / "both").iterdir()) == [
        "0-base.safetensors",
        "1-up.safetensors",
        "cascade.json",
    ]
    assert model.info.shape == (1, 8, 8)
    moved = shutil.move(tmp_path / "both", tmp_path / "elsewhere")
    again = undiffuse.load(moved)
    assert again.provenance["sha256"] == model.provenance["sha256"]
    np.testing.assert_array_equal(again.sample(3, settings=QUICK).array, model.sample(3, settings=QUICK).array)
    # The stage's weights are those of the run, in half precision.
    run = undiffuse.load(runs / "up").network.state_dict()
    for name, tensor in again.top.network.state_dict().items():
        assert torch.equal(tensor, run[name].half().float() if tensor.is_floating_point() else run[name])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["base"], "at least one stage"),
        (["up", "up"], "cannot be the first"),
        (["base", "base"], "is no stage"),
        (["base", "up", "up"], "makes (1, 8, 8)"),
    ],
)
def test_models_that_do_not_fit_are_not_set_upon_each_other(runs, tmp_path, parts, said):
    with pytest.raises(UndiffuseError) as caught:
        undiffuse.make_cascade([runs / part for part in parts], tmp_path / "x")
    assert said in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_a_stage_that_knows_more_than_the_base_is_refused(runs, tmp_path):
    data = tiny_data()
    labeled = TinyData(replace(data.info, classes=("a", "b")), data.images, np.arange(40) % 2)
    config = tiny_settings(upscale=2, condition=("class",), sample_every=0, steps=1)
    start_run(config, labeled, tmp_path / "knowing")
    with pytest.raises(UndiffuseError, match=r"is told class, .*nothing"):
        undiffuse.make_cascade([runs / "base", tmp_path / "knowing"], tmp_path / "x")


def damaged(text):
    return lambda folder: (folder / "cascade.json").write_text(text)


def flipped(folder):
    file = folder / "1-up.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damaged("{"), "not valid JSON"),
        (damaged("[]"), "format None"),
        (damaged('{"format": 2, "models": []}'), "reads up to 1"),
        (damaged('{"format": 1, "models": [{}]}'), "from 2 to"),
        (damaged(json.dumps({"format": 1, "models": [{"file": "../x.safetensors"}] * 2})), "names the file"),
        (flipped, "does not hold what was saved"),
        (lambda folder: (folder / "0-base.safetensors").unlink(), "cannot read 0-base"),
    ],
)
def test_a_damaged_cascade_is_a_sentence(runs, tmp_path, damage, said):
    undiffuse.make_cascade([runs / "base", runs / "up"], tmp_path / "both")
    damage(tmp_path / "both")
    with pytest.raises(UndiffuseError) as caught:
        undiffuse.load(tmp_path / "both")
    assert said in str(caught.value)
