"""DDPM++ and NCSN++ by themselves; tests/checkpoints/foreign/test_edm_score.py has EDM's tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.network import ScoreUNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import build_network
from undiffuse.networks.conditions import Condition
from undiffuse.networks.score_unet import Double, Halve, RandomWaves, ScoreUNet, SmallerPicture

SMALL = ScoreUNetConfig(base=8, multipliers=(1, 2), blocks=1)
KINDS = [SMALL, replace(SMALL, architecture="ncsn++")]
LABEL = Condition("label", "class", 3)


@pytest.mark.parametrize("config", KINDS)
def test_sides_that_the_levels_do_not_divide_are_padded_and_cropped(config):
    network = ScoreUNet(1, 1, 2, config)
    assert network(torch.randn(2, 1, 7, 9), torch.tensor([1.0, 2.0])).shape == (2, 1, 7, 9)


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize(
    ("settings", "dims", "sentence"),
    [
        ({"base": 7}, 2, "an even `base`"),
        ({"multipliers": ()}, 2, "positive `multipliers`"),
        ({"blocks": 0}, 2, "positive `multipliers` and `blocks`"),
        ({"attention_levels": (2,)}, 2, "among 0 .. 1"),
        ({"dropout": 1.0}, 2, "probability"),
        ({}, 3, "for images"),
    ],
)
def test_settings_that_describe_no_such_network_are_a_sentence(config, settings, dims, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        ScoreUNet(1, 1, dims, replace(config, **settings))


@pytest.mark.parametrize("size", [{"base": 1 << 20}, {"blocks": 10**9}, {"multipliers": (1,) * 40}])
@pytest.mark.parametrize("config", KINDS)
def test_what_no_machine_holds_is_refused_before_it_is_allocated(config, size):
    with pytest.raises(UndiffuseError, match=r"too large|are the most"):
        build_network(TrainConfig(network=replace(config, **size)), unknown_data("birds", (1, 8, 8)))


def test_it_can_be_told_a_class_and_nothing_else():
    with pytest.raises(UndiffuseError, match="leave 'vector' out"):
        ScoreUNet(1, 1, 2, SMALL, (LABEL, Condition("vector", "vector", 2)))
    config = TrainConfig(network=SMALL, conditions=ConditionConfig(condition=("class",)))
    network = build_network(config, unknown_data("birds", (1, 8, 8), ("a", "b")))
    with pytest.raises(UndiffuseError, match="cannot be told 'angle'"):
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1), angle=torch.zeros(1, 2))


@pytest.mark.parametrize("config", KINDS)
def test_no_class_is_the_index_after_the_last_and_classes_differ(config):
    torch.manual_seed(0)
    network = ScoreUNet(1, 1, 2, config, (LABEL,))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, time = torch.randn(1, 1, 8, 8), torch.zeros(1)
    none, *others = (network(x, time, label=torch.tensor([k])) for k in (3, 0, 1, 2))
    assert torch.equal(network(x, time), none)
    assert all((other - none).abs().max() > 1e-3 for other in others)


def test_blurred_resampling_has_weights_of_1_3_3_1_and_zeros_beyond_the_border():
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    pixel = torch.zeros(1, 1, 8, 8)
    pixel[0, 0, 3, 4] = 1
    doubled = Double(blurred=True)(pixel)
    torch.testing.assert_close(doubled[0, 0, 5:9, 7:11], torch.outer(line, line) / 16)
    assert doubled.count_nonzero() == 16
    weights = torch.autograd.functional.jacobian(lambda x: Halve(blurred=True)(x)[0, 0, 1, 2], torch.zeros(1, 1, 8, 8))
    torch.testing.assert_close(weights[0, 0, 1:5, 3:7], torch.outer(line, line) / 64)
    ones = Halve(blurred=True)(torch.ones(1, 1, 8, 8))[0, 0]
    torch.testing.assert_close(ones[0], torch.tensor([49.0, 56.0, 56.0, 49.0]) / 64)


def test_a_smaller_picture_of_one_colour_has_one_colour_within_and_half_the_size():
    layer = SmallerPicture(2, 3)
    y = layer(torch.ones(1, 2, 8, 8))
    assert y.shape == (1, 3, 4, 4)
    torch.testing.assert_close(y[0, :, 1, 1], y[0, :, 2, 2])
    torch.testing.assert_close(y[0, :, 1, 1], layer.conv.weight.sum((1, 2, 3)))


def test_random_frequencies_are_kept_with_the_weights_and_not_trained():
    waves = RandomWaves(64)
    assert list(waves.state_dict()) == ["frequencies"]
    assert not list(waves.parameters())
    torch.testing.assert_close((waves(torch.tensor([0.3])) ** 2).sum(), torch.tensor(32.0))


@pytest.mark.parametrize("config", KINDS)
def test_it_learns(config):
    torch.manual_seed(0)
    network = ScoreUNet(1, 1, 2, config, (LABEL,))
    x, time, label = torch.randn(4, 1, 8, 8), torch.arange(4.0) / 4, torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(10):
        loss = ((network(x, time, label=label) - x.flip(3)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.8
    assert all(parameter.grad is not None for parameter in network.parameters())
