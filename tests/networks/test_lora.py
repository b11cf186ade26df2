"""Adapters of low rank: nothing at first, and then what they say of themselves."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import build_network
from undiffuse.networks.lora import adapt, added, is_whole, learned_of, merged, own_names

INFO = DataInfo("x", "", 1, (3, 8, 8), "uint8", 0.0, 255.0, (0.0,) * 3, (1.0,) * 3, classes=("a", "b"))
ONE_LEVEL = {"blocks": 1, "attention_levels": (1,), "condition": ("class",)}
OWN = {"unet": ONE_LEVEL, "rms-unet": {}, "ddpm++": ONE_LEVEL, "ncsn++": ONE_LEVEL}
"""Options of each architecture beside those of all."""


def network(architecture):
    """Its zero layers drawn, so that all of it matters."""
    small = {"base": 8, "multipliers": (1, 2), **OWN[architecture]}
    made = build_network(override(TrainConfig(), architecture=architecture, **small), INFO)
    torch.manual_seed(1)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.eval()


def asked(of):
    dice = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 8, 8, generator=dice), torch.tensor([10.0, 700.0])
    told = {condition.name: torch.tensor([0, 2]) for condition in getattr(of, "conditions", ())}
    return of(x, t, **told)


def shaken(of):
    torch.manual_seed(2)
    for parameter in of.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return of


@pytest.mark.parametrize("architecture", OWN)
def test_every_network_starts_as_it_was_and_merges_into_what_it_became(architecture):
    plain = network(architecture)
    adapted = copy.deepcopy(plain)
    adapt(adapted, 4)
    assert torch.equal(asked(adapted), asked(plain))
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learning
    assert all(name.rpartition(".")[2] in ("lora_A", "lora_B", "delta") for name in learning)

    shaken(adapted)
    assert (asked(adapted) - asked(plain)).abs().max() > 0.1
    whole = copy.deepcopy(plain)
    whole.load_state_dict(merged(adapted.state_dict()))
    assert torch.equal(asked(whole), asked(adapted))
    whole.load_state_dict(added(plain.state_dict(), learned_of(adapted.state_dict())))
    assert torch.equal(asked(whole), asked(adapted))
    assert is_whole(adapted.state_dict())
    assert not is_whole(plain.state_dict())
    assert not is_whole(learned_of(adapted.state_dict()))


def test_plain_weights_find_their_places_beside_adapters():
    plain, adapted = network("unet"), network("unet")
    adapt(adapted, 2)
    shaken(plain)
    adapted.load_state_dict(own_names(adapted, plain.state_dict()), strict=False)
    assert torch.equal(asked(adapted), asked(plain))


def test_the_sum_is_that_of_the_equation():
    layer = nn.Sequential(nn.Conv2d(3, 5, 3))
    weight = layer[0].weight.detach().clone()
    adapt(layer, 4)
    shaken(layer)
    a, b = (learned_of(layer.state_dict())[f"0.weight.lora_{k}"] for k in "AB")
    assert (tuple(a.shape), tuple(b.shape)) == ((4, 27), (5, 4))
    torch.testing.assert_close(layer[0].weight, weight + torch.einsum("or,ri->oi", b, a).view(5, 3, 3, 3) / 2)
    half = added({"0.weight": weight}, learned_of(layer.state_dict()), 0.5)["0.weight"]
    torch.testing.assert_close(half, (weight + layer[0].weight) / 2)
    none = added({"0.weight": weight}, learned_of(layer.state_dict()), 0.0)["0.weight"]
    assert torch.equal(none, weight)


def test_a_rank_learns_the_best_sum_of_that_rank():
    """The least error of a matrix by one of rank 2 is the square sum of its other singular values (Eckart & Young)."""
    torch.manual_seed(0)
    layer, target = nn.Linear(6, 5, bias=False).double(), torch.randn(5, 6, dtype=torch.float64)
    values = torch.linalg.svdvals(target - layer.weight)
    stack = nn.Sequential(layer)
    adapt(stack, 2)
    stack.double()
    learning = [p for p in stack.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(learning, max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def error():
        optimizer.zero_grad()
        loss = (layer.weight - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(error)
    assert error().item() == pytest.approx(values[2:].square().sum().item(), rel=1e-6)


def test_the_rank_is_at_most_that_of_the_matrix():
    stack = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 1))
    adapt(stack, 16)
    shapes = {name: tuple(tensor.shape) for name, tensor in learned_of(stack.state_dict()).items()}
    assert shapes["0.weight.lora_A"] == (2, 6)
    assert shapes["1.weight.lora_B"] == (1, 1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 3)
        self.back = nn.Linear(3, 4, bias=False)
        self.back.weight = self.table.weight
        self.normed = parametrizations.weight_norm(nn.Linear(3, 3))
        self.free = nn.Linear(3, 3)


def test_weights_that_are_shared_or_made_of_others_are_left_alone():
    made = Tied()
    adapt(made, 2)
    assert set(learned_of(made.state_dict())) == {"free.weight.lora_A", "free.weight.lora_B"}
    assert made.back.weight is made.table.weight


def test_layers_are_chosen_by_parts_of_their_names():
    made = network("unet")
    adapt(made, 2, ("attention",))
    names = {name.rpartition(".")[0] for name in learned_of(made.state_dict())}
    assert names
    assert all("attention" in name or name == "told.label.rows.weight" for name in names)


def test_no_layer_is_one_sentence():
    with pytest.raises(UndiffuseError, match="`lora_layers=wing` is in no name of this network's layers; they begin"):
        adapt(nn.Sequential(nn.Linear(2, 2)), 2, ("wing",))
    with pytest.raises(UndiffuseError, match="for networks with linear maps or convolutions, and this one has none"):
        adapt(nn.Sequential(nn.ReLU()), 2)


@pytest.mark.parametrize(
    ("learned", "sentence"),
    [
        ({"b.weight.lora_A": torch.ones(1, 2), "b.weight.lora_B": torch.ones(3, 1)}, "the model has no such weight"),
        ({"a.weight.lora_A": torch.ones(1, 3), "a.weight.lora_B": torch.ones(3, 1)}, "does not fit"),
        ({"a.weight.lora_A": torch.ones(1, 2), "a.weight.lora_B": torch.ones(3, 2)}, "does not fit"),
        ({"a.weight.lora_A": torch.ones(0, 2), "a.weight.lora_B": torch.ones(3, 0)}, "does not fit"),
        ({"a.weight.lora_A": torch.ones(1, 2)}, "does not fit"),
        ({"a.weight.delta": torch.ones(2, 3)}, "does not fit"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(learned, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        added({"a.weight": torch.zeros(3, 2)}, learned)
