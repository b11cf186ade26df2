"""Variants and several files of weights, as diffusers saves them; and what no index may say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from undiffuse.checkpoints.foreign.diffusers.weights import INDEX, STEM, WEIGHTS, find_weights
from undiffuse.checkpoints.foreign.tensors import unwrapped
from undiffuse.errors import UndiffuseError
from undiffuse.model import load

_spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("folders.py"))
folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(folders)


@pytest.fixture(scope="module")
def unet():
    return folders.random_unet()


@pytest.fixture
def plain(unet, tmp_path):
    """A pipeline whose weights are one file."""
    return folders.saved(tmp_path / "plain", unet)


@pytest.fixture
def sharded(unet, plain):
    """The same in several files with an index."""
    (plain / "unet" / WEIGHTS).unlink()
    unet.save_pretrained(plain / "unet", max_shard_size="60KB")
    assert len(list((plain / "unet").glob("*-of-*.safetensors"))) > 2
    return plain


def weights_of(folder):
    return load(folder).network.state_dict()


def test_weights_in_several_files_are_those_of_one(unet, tmp_path, sharded):
    one = weights_of(folders.saved(tmp_path / "one", unet))
    several = weights_of(sharded)
    assert all(torch.equal(one[name], several[name]) for name in one)
    before = load(sharded).provenance["sha256"]
    last = max((sharded / "unet").glob("*-of-*.safetensors"))
    save_file({name: tensor + 1 for name, tensor in load_file(last).items()}, last)
    assert load(sharded).provenance["sha256"] != before


@pytest.mark.parametrize("size", ["10GB", "60KB"])
def test_a_variant_is_read_where_there_is_nothing_else(unet, tmp_path, plain, size):
    for file in (plain / "unet").glob("*.safetensors"):
        file.unlink()
    unet.save_pretrained(plain / "unet", variant="fp16", max_shard_size=size)
    found = load(plain)
    assert found.provenance["variant"] == "fp16"
    one = weights_of(folders.saved(tmp_path / "one", unet))
    assert all(torch.equal(one[name], tensor) for name, tensor in found.network.state_dict().items())


def test_full_precision_goes_before_a_variant_and_of_two_variants_none_is_taken(unet, plain):
    unet.save_pretrained(plain / "unet", variant="fp16")
    assert "variant" not in load(plain).provenance
    (plain / "unet" / WEIGHTS).rename(plain / "unet" / f"{STEM}.bf16.safetensors")
    with pytest.raises(UndiffuseError, match="the variants bf16, fp16"):
        load(plain)


def test_what_is_there_and_not_read_is_named(plain):
    (plain / "unet" / WEIGHTS).rename(plain / "unet" / f"{STEM}.bin.index.json")
    with pytest.raises(UndiffuseError, match=r"bin\.index\.json is not read here.*safe_serialization"):
        load(plain)


@pytest.mark.parametrize(
    "listed",
    [
        None,
        {},
        [],
        {"a": 3},
        {"a": "../secret.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "other.safetensors"},
        {"a": f"{STEM}-00001-of-00002.bin"},
        {f"t{k}": f"{STEM}-{k:05d}-of-09999.safetensors" for k in range(2000)},
        {"a": f"{STEM}-00009-of-00009.safetensors"},
    ],
)
def test_an_index_names_files_of_weights_beside_it_and_nothing_else(sharded, listed):
    (sharded / "unet" / INDEX).write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(UndiffuseError, match=r"weight_map|is not beside it"):
        load(sharded)


def test_an_index_and_its_files_must_agree(sharded):
    place = sharded / "unet" / INDEX
    index = json.loads(place.read_text())
    first, second = sorted(set(index["weight_map"].values()))[:2]
    name = next(name for name, file in index["weight_map"].items() if file == first)
    place.write_text(json.dumps({"weight_map": {**index["weight_map"], name: second}}))
    with pytest.raises(UndiffuseError, match="does not hold what the index beside it says"):
        load(sharded)
    assert len(find_weights(sharded / "unet").files) > 2


@pytest.fixture
def training(unet, tmp_path):
    """What train_unconditional.py leaves: checkpoints, and the pipeline when it is over."""
    folder = folders.saved(tmp_path / "birds", unet)
    place = folder / "checkpoint-500"
    unet.save_pretrained(place / "unet")
    (place / "optimizer.bin").write_bytes(b"\x80")
    return folder


def test_a_checkpoint_of_train_unconditional_is_read_with_the_noise_of_its_training(unet, training):
    place = training / "checkpoint-500"
    one = weights_of(training)
    found = load(place)
    assert found.provenance["weights"] == "raw"
    assert all(torch.equal(one[name], tensor) for name, tensor in found.network.state_dict().items())
    unet.save_pretrained(place / "unet_ema")
    file = place / "unet_ema" / WEIGHTS
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file)
    average = load(place)
    assert average.provenance["weights"] == "ema"
    assert torch.equal(average.network.state_dict()["stem.weight"], 2 * one["stem.weight"])
    assert torch.equal(load(place / "unet").network.state_dict()["stem.weight"], one["stem.weight"])


def test_a_checkpoint_whose_noise_nobody_tells_says_how_to_tell_it(training):
    place = training.rename(training.with_name("moved")) / "checkpoint-500"
    for file in (training.with_name("moved") / "scheduler").iterdir():
        file.unlink()
    with pytest.raises(UndiffuseError, match=r"train_unconditional.*DDPMScheduler.*save_pretrained.*ddpm_num_steps"):
        load(place)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_networks_that_were_saved_inside_a_wrapper_are_read(unet, plain, wrapper):
    one, file = weights_of(plain), plain / "unet" / WEIGHTS
    save_file({wrapper + name: tensor for name, tensor in load_file(file).items()}, file)
    assert all(torch.equal(one[name], tensor) for name, tensor in weights_of(plain).items())


def test_a_wrapper_around_some_tensors_alone_is_a_name_that_nobody_knows(plain):
    file = plain / "unet" / WEIGHTS
    tensors = load_file(file)
    save_file({("module." if "conv_in" in name else "") + name: tensor for name, tensor in tensors.items()}, file)
    with pytest.raises(UndiffuseError, match=r"lacks 'conv_in"):
        load(plain)


def test_names_lose_what_stands_before_all_of_them():
    assert unwrapped(["module.a", "module.module.b"]) == {"a": "module.a", "module.b": "module.module.b"}
    assert unwrapped(["a", "module.b"]) == {"a": "a", "module.b": "module.b"}
    assert unwrapped([]) == {}
