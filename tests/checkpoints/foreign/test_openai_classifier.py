"""OpenAI's classifiers against a function of their published tensors, and how they lead."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

import undiffuse.model
from undiffuse.checkpoints.foreign.original.flags import PUBLISHED
from undiffuse.errors import UndiffuseError
from undiffuse.model.noise_classifier import load_noisy_classifier

_spec = importlib.util.spec_from_file_location("openai_tensors", Path(__file__).with_name("openai_tensors.py"))
tensors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tensors)

SIDE, CLASSES = 8, 5
FLAGS = {"image_size": SIDE, "diffusion_steps": 1000, "noise_schedule": "linear", "num_head_channels": 16}
KINDS = {
    "plain": {"mults": (1, 2), "attention": (1,), "width": 32},
    "narrow stem": {"mults": (0.5, 1, 1), "attention": (0, 2), "width": 64},
}


def drawn(kind="plain"):
    return tensors.tensors_of(tensors.classifier_shapes(**KINDS[kind], classes=CLASSES, side=SIDE))


def save(folder, tree, flags=FLAGS, name="classifier.pt"):
    path = folder / name
    torch.save(tree, path)
    if flags:
        path.with_suffix(".json").write_text(json.dumps(flags))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_the_published_tensors(kind, tmp_path):
    tree = drawn(kind)
    found = load_noisy_classifier(save(tmp_path, tree))
    x, t = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), torch.tensor([1.0, 300, 1000])
    expected = tensors.ClassifierReference(tree, head_channels=16, resblock=True)(x, t - 1)
    assert expected.std() > 0.1
    torch.testing.assert_close(found(x, t), expected, rtol=2e-4, atol=2e-5)
    assert found.info.classes == ("0", "1", "2", "3", "4")


def test_it_leads_a_model_of_the_same_noise(tmp_path):
    kinds = {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": True, "classes": CLASSES, "out": 6}
    tree = tensors.tensors_of(tensors.shapes_of(**kinds))
    model = undiffuse.model.load(save(tmp_path, tree, name="model000100.pt"))
    classifier = save(tmp_path, drawn())
    asked = {"classes": ("3",), "threshold": "none", "guidance": 3.0, "micro_batch": 1}
    plan = model.plan(classifier=str(classifier), **asked)
    assert plan.settings.guide.classifier == f"{classifier}@{load_noisy_classifier(classifier).sha256[:12]}"
    denoiser = plan.denoiser(range(1))
    x, t = torch.randn(1, 3, SIDE, SIDE), torch.tensor(500.0, dtype=torch.float64)
    x.requires_grad_(True)
    score = load_noisy_classifier(classifier)(x, t).log_softmax(1)[0, 3]
    (gradient,) = torch.autograd.grad(score, x)
    x.requires_grad_(False)
    told = {"label": torch.tensor([3])}
    expected = model.denoiser(x, t, **told).eps - 3 * model.schedule(t).sigma.float() * gradient
    torch.testing.assert_close(denoiser(x, t, **told).eps, expected, rtol=1e-4, atol=1e-5)
    cosine = save(tmp_path, drawn(), {**FLAGS, "noise_schedule": "cosine"}, "other.pt")
    with pytest.raises(UndiffuseError, match="noise of schedule=cosine"):
        model.sample(1, sampler="ddim", steps=2, classes=("3",), classifier=str(cosine))


def test_the_flags_of_the_published_ones_are_known(tmp_path):
    for name, flags in PUBLISHED.items():
        if name.endswith("_classifier"):
            assert flags.image_size == int(name.split("x")[0])
    path = save(tmp_path, drawn(), None, "64x64_classifier.pt")
    with pytest.raises(UndiffuseError, match="3 blocks on its way down, which are no 5 levels"):
        load_noisy_classifier(path)


def without(name):
    return lambda tree: tree.pop(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without(tensors.POSITIONS), "no classifier of noisy images"),
        (without("out.2.c_proj.weight"), "lacks 'out.2.c_proj.weight'"),
        (without("middle_block.1.qkv.bias"), "lacks 'middle_block.1.qkv.bias'"),
        (lambda t: t.update({"extra.weight": torch.ones(2)}), "has a 'extra.weight'"),
        (lambda t: t.update({tensors.POSITIONS: torch.ones(64, 18)}), "attends to 17 positions"),
        (lambda t: t.update({tensors.POSITIONS: torch.ones(64, 0)}), "attends to -1 positions"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("input_blocks.3.")], "2 blocks on its way down"),
    ],
)
def test_what_does_not_fit_is_a_sentence(change, sentence, tmp_path):
    tree = drawn()
    change(tree)
    with pytest.raises(UndiffuseError, match=sentence):
        load_noisy_classifier(save(tmp_path, tree))


def test_a_classifier_in_place_of_a_model_says_what_it_is_for(tmp_path):
    with pytest.raises(UndiffuseError, match="undiffuse sample RUN --classifier"):
        undiffuse.model.load(save(tmp_path, drawn()))
