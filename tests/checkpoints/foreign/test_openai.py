"""OpenAI's networks against a function of their published tensors, written here from the papers' description."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

import undiffuse.model
from undiffuse.checkpoints.foreign import reader_of
from undiffuse.checkpoints.foreign.mapping import pair, write
from undiffuse.checkpoints.foreign.original import openai
from undiffuse.checkpoints.foreign.original.flags import PUBLISHED, Flags, process
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline
from undiffuse.factories.schedule import make_schedule

_spec = importlib.util.spec_from_file_location("openai_tensors", Path(__file__).with_name("openai_tensors.py"))
openai_tensors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(openai_tensors)
Reference, shapes_of, tensors_of = openai_tensors.Reference, openai_tensors.shapes_of, openai_tensors.tensors_of

GUIDED = {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": True, "classes": 5, "out": 6}
VARIANTS = {
    "improved": (
        {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": False, "classes": 0, "out": 6},
        {"num_heads": 4, "diffusion_steps": 4000, "noise_schedule": "cosine", "rescale_timesteps": True},
    ),
    "improved-lsun": (
        {"mults": (1, 1, 2), "attention": (2,), "scale_shift": False, "resblock": False, "classes": 0, "out": 3},
        {"num_heads": 1, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
    "guided": (
        {**GUIDED, "attention": (0, 1)},
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
    "guided-new-order": (
        GUIDED,
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "cosine", "use_new_attention_order": True},
    ),
    "guided-512": (
        {
            "mults": (0.5, 1),
            "attention": (1,),
            "scale_shift": True,
            "resblock": True,
            "classes": 5,
            "out": 6,
            "width": 64,
        },
        {"num_head_channels": 16, "diffusion_steps": 1000, "noise_schedule": "linear"},
    ),
}


def write_pt(folder, tensors, flags=None, name="model000100.pt"):
    path = folder / name
    torch.save(tensors, path)
    if flags is not None:
        path.with_suffix(".json").write_text(json.dumps({"image_size": 8, **flags}))
    return path


@pytest.fixture
def guided(tmp_path):
    kinds, flags = VARIANTS["guided"]
    return tensors_of(shapes_of(**kinds)), flags, tmp_path


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_the_function_of_the_published_tensors(variant, tmp_path):
    kinds, flags = VARIANTS[variant]
    tensors = tensors_of(shapes_of(**kinds))
    model = undiffuse.model.load(write_pt(tmp_path, tensors, flags))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([3.0, 731.25])
    label = torch.tensor([4, 1]) if kinds["classes"] else None
    reference = Reference(
        tensors,
        heads=flags.get("num_heads"),
        head_channels=flags.get("num_head_channels"),
        new_order=flags.get("use_new_attention_order", False),
        resblock=kinds["resblock"],
    )
    expected = reference(x, time, label)
    with torch.no_grad():
        got = model.network(x, time, **({} if label is None else {"label": label}))
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_round_trip_is_exact(variant, tmp_path):
    kinds, flags = VARIANTS[variant]
    tensors = tensors_of(shapes_of(**kinds))
    found = reader_of(path := write_pt(tmp_path, tensors, flags)).read(path)
    table = openai.rules(found.config.network, flags.get("use_new_attention_order", False))
    back = write(pair(outline(found.config, found.info), table), found.tensors)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_safetensors_give_the_same_model_and_are_told_from_ours(guided):
    tensors, flags, folder = guided
    path = write_pt(folder, tensors, flags)
    other = path.with_suffix(".safetensors")
    safetensors.torch.save_file(tensors, other)
    one, two = (reader_of(each).read(each) for each in (path, other))
    assert one.config == two.config
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    safetensors.torch.save_file({"weight": torch.ones(1)}, other)
    assert reader_of(other) is None


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_what_was_saved_inside_a_wrapper_is_the_same_model(guided, wrapper):
    tensors, flags, folder = guided
    path = write_pt(folder, tensors, flags)
    wanted = reader_of(path).read(path).tensors
    wrapped = {wrapper + name: tensor for name, tensor in tensors.items()}
    write_pt(folder, wrapped, flags)
    safetensors.torch.save_file(wrapped, path.with_suffix(".safetensors"))
    for file in (path, path.with_suffix(".safetensors")):
        found = reader_of(file).read(file).tensors
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_half_precision_is_read_as_float32(guided):
    tensors, flags, folder = guided
    path = write_pt(folder, {name: tensor.half() for name, tensor in tensors.items()}, flags)
    found = reader_of(path).read(path)
    assert torch.equal(found.tensors["stem.weight"], tensors["input_blocks.0.0.weight"].half().float())


def test_samples_are_drawn_with_the_learned_variance(guided):
    tensors, flags, folder = guided
    model = undiffuse.model.load(write_pt(folder, tensors, flags))
    settings = {"sampler": "ddpm", "variance": "learned", "steps": 3, "classes": ("4", "0")}
    assert model.sample(2, **settings).array.shape == (2, 3, 8, 8)
    assert model.info.classes == ("0", "1", "2", "3", "4")
    assert model.config.diffusion.learn_variance


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("middle_block.1.qkv.bias"), "lacks 'middle_block.1.qkv.bias'"),
        (lambda t: t.update(extra=torch.ones(2)), "has a 'extra'"),
        (lambda t: t.update({"out.2.bias": torch.ones(7)}), r"'out.2.bias' of the shape \(7,\)"),
        (lambda t: t.update({"out.2.weight": torch.ones(5, 32, 3, 3)}), "makes 5 channels of 3"),
        (lambda t: t.update({"input_blocks.0.0.weight": torch.ones(32, 6, 3, 3)}), "enlarges images"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("output")], "classifier"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("output_blocks.3")], "different lengths"),
        (lambda t: t.update({"out.2.bias": torch.ones(1).expand(10**12)}), "claim more than the file"),
        (lambda t: t.update({"out.2.bias": "text"}), "tensors by their names and nothing else"),
    ],
)
def test_a_tensor_missing_extra_or_of_another_shape_is_a_sentence(change, sentence, guided):
    tensors, flags, folder = guided
    change(tensors)
    path = write_pt(folder, tensors, flags)
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (None, 'such as {"image_size"'),
        ({"diffusion_steps": 1000, "noise_schedule": "linear"}, "one of num_heads and num_head_channels"),
        ({"diffusion_steps": 4000, "noise_schedule": "cosine", "num_heads": 4}, "must say rescale_timesteps"),
        ({"diffusion_steps": 1000, "noise_schedule": "lineer", "num_heads": 4}, "perhaps you meant 'linear'"),
        ({"diffusion_steps": 1000, "noise_schedule": "linear", "num_heds": 4}, "unknown setting 'num_heds'"),
        ({"diffusion_steps": 1000, "noise_schedule": "linear", "num_heads": 5}, "heads"),
        ({"diffusion_steps": 10**9, "noise_schedule": "linear", "num_heads": 4}, "diffusion_steps of 2 to"),
    ],
)
def test_flags_that_are_missing_or_wrong_are_a_sentence(flags, sentence, guided):
    tensors, _, folder = guided
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.model.load(write_pt(folder, tensors, flags))


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("name", ["bomb.pt", "bomb.pth", "bomb.ckpt", "bomb.pkl"])
def test_a_pickle_that_holds_code_is_refused_and_not_run(name, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"input_blocks.0.0.weight": Bomb(canary)}, path := tmp_path / name)
    with pytest.raises(UndiffuseError, match="safetensors"):
        undiffuse.model.load(path)
    path.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UndiffuseError, match="safetensors"):
        undiffuse.model.load(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes()).close()  # that it would have been run
    assert canary.exists()


def test_names_that_nobody_knows_are_a_sentence(tmp_path):
    with pytest.raises(UndiffuseError, match="names that undiffuse does not know"):
        undiffuse.model.load(write_pt(tmp_path, {"a.weight": torch.ones(2)}))


def test_a_linear_chain_of_any_length_has_the_authors_betas():
    flags = Flags(32, 4000, "linear", num_heads=4, rescale_timesteps=True)
    betas = make_schedule(process(flags, False)).betas
    expected = torch.linspace(1e-4 / 4, 0.02 / 4, 4000, dtype=torch.float64)
    torch.testing.assert_close(betas, expected, rtol=1e-9, atol=1e-13)


def test_the_rescaled_index_is_what_the_network_sees(tmp_path):
    kinds, flags = VARIANTS["improved"]
    model = undiffuse.model.load(write_pt(tmp_path, tensors_of(shapes_of(**kinds)), flags))
    assert model.denoiser.time_input(model.schedule, torch.tensor(4000.0)) == 999.75
    assert model.denoiser.time_input(model.schedule, torch.tensor(1.0)) == 0


@pytest.mark.parametrize("name", ["cifar10_uncond_50M_500K", "64x64_diffusion", "512x512_diffusion"])
def test_a_published_file_needs_no_settings_beside_it(name, tmp_path):
    kinds, _ = VARIANTS["improved" if "cifar" in name else "guided"]
    if PUBLISHED[name].num_head_channels:
        kinds = {**kinds, "width": 64}
    found = reader_of(path := write_pt(tmp_path, tensors_of(shapes_of(**kinds)), name=f"{name}.pt")).read(path)
    assert found.info.shape[1] == PUBLISHED[name].image_size
    assert found.provenance["weights"] == "ema"
