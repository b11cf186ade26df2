"""Other people's files with tensors gone, renamed, of other shapes, types and values: a model, or one sentence."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import undiffuse.model
from undiffuse.errors import UndiffuseError
from undiffuse.model.noise_classifier import load_noisy_classifier


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


openai, lucidrains = beside("openai_tensors"), beside("test_lucidrains")
edm, edm_score = beside("test_edm"), beside("test_edm_score")
FLAGS = {"image_size": 8, "diffusion_steps": 1000, "noise_schedule": "linear", "num_head_channels": 16}


def unet():
    kinds = {"mults": (1, 2), "attention": (1,), "scale_shift": True, "resblock": True, "classes": 2, "out": 6}
    return openai.tensors_of(openai.shapes_of(**kinds)), FLAGS, undiffuse.model.load


def classifier():
    return openai.tensors_of(openai.classifier_shapes((1, 2), (1,), 3, 8)), FLAGS, load_noisy_classifier


def trainer():
    tensors, process = lucidrains.tensors_of(lucidrains.shapes_of()), lucidrains.process_of(lucidrains.sigmoid_chain())
    return lucidrains.trainer_of(tensors, tensors, process), {"image_size": 8}, undiffuse.model.load


def preconditioned():
    return edm.tensors_of(), {}, undiffuse.model.load


def score():
    return edm_score.tensors_of("ncsn++, classes"), {}, undiffuse.model.load


VALUES = (
    *(None, True, -1, 10**400, float("nan"), "text", [], {}, (1, 2)),
    *(torch.zeros(()), torch.zeros(0), torch.zeros(0, 3, 3, 3), torch.ones(3, dtype=torch.int64), torch.ones(2, 2)),
    *(torch.ones(1).expand(10**9), torch.ones(1).expand(10**5, 10**7), torch.full((40,), torch.nan)),
    *(torch.ones(2, 2).to_sparse(), torch.ones(3, dtype=torch.complex64), torch.ones(8, 3, 7, 7, dtype=torch.bfloat16)),
)


def mutate(tree, rng):
    """One to three entries of a dictionary, or of one inside it, gone, renamed or replaced."""
    for _ in range(rng.integers(1, 4)):
        inside = tree
        while True:
            names = list(inside)
            if not names:
                return
            name = names[rng.integers(len(names))]
            if not isinstance(inside[name], dict) or rng.random() < 0.3:
                break
            inside = inside[name]
        value = inside[name]
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel() < 10**6
        match rng.integers(5):
            case 0:
                del inside[name]
            case 1:
                inside[f"{name}.x" if rng.random() < 0.5 else int(rng.integers(9))] = inside.pop(name)
            case 2 if plain and value.ndim:
                axis = int(rng.integers(value.ndim))
                inside[name] = torch.cat([value, value], axis) if rng.random() < 0.5 else value.narrow(axis, 0, 0)
            case 3 if plain:
                inside[name] = value.reshape(-1) if rng.random() < 0.5 else value[None]
            case _:
                inside[name] = VALUES[rng.integers(len(VALUES))]


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of saving sparse tensors
@pytest.mark.parametrize("count", [12, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("kind", [unet, classifier, trainer, preconditioned, score])
def test_a_mutated_file_is_a_model_or_one_sentence(kind, count, tmp_path):
    rng = np.random.default_rng(count)
    whole, flags, load = kind()
    path, refused = tmp_path / "model.pt", 0
    for _ in range(count):
        tree, said = copy.deepcopy(whole), dict(flags)
        mutate(said if said and rng.random() < 0.1 else tree, rng)
        torch.save(tree, path)
        said = {str(name): value for name, value in said.items() if not isinstance(value, torch.Tensor)}
        path.with_suffix(".json").write_text(json.dumps(said))
        try:
            load(path)
        except UndiffuseError:
            refused += 1
    assert count / 4 < refused <= count
