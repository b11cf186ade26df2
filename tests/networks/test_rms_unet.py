"""The U-Net of denoising-diffusion-pytorch by itself; checkpoints/foreign/test_lucidrains.py has its tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.network import RMSUNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.networks.rms_unet import RMSNorm, RMSUNet, linear_attention

SMALL = RMSUNetConfig(base=8, multipliers=(1, 2), heads=2, head_width=8)


def test_sides_that_the_levels_do_not_divide_are_padded_and_cropped():
    network = RMSUNet(1, 1, 2, SMALL)
    assert network(torch.randn(2, 1, 7, 9), torch.tensor([1.0, 2.0])).shape == (2, 1, 7, 9)


@pytest.mark.parametrize(
    ("settings", "dims", "sentence"),
    [
        ({"base": 7}, 2, "an even `base`"),
        ({"multipliers": ()}, 2, "positive `multipliers`"),
        ({"attention_levels": (2,)}, 2, "among 0 .. 1"),
        ({"heads": 10**9}, 2, "`heads` times `head_width`"),
        ({"head_width": 0}, 2, "`heads` times `head_width`"),
        ({"dropout": 1.0}, 2, "probability"),
        ({}, 3, "for images"),
    ],
)
def test_settings_that_describe_no_such_network_are_a_sentence(settings, dims, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        RMSUNet(1, 1, dims, replace(SMALL, **settings))


def test_it_cannot_be_told_a_class():
    config = TrainConfig(network=SMALL, conditions=ConditionConfig(condition=("class",)))
    with pytest.raises(UndiffuseError, match="cannot be told 'label'"):
        build_model(config, unknown_data("birds", (1, 8, 8), ("a", "b")))


def test_the_norm_gives_every_position_a_mean_square_of_one():
    y = RMSNorm(6)(torch.randn(2, 6, 3, 3) * 7)
    torch.testing.assert_close((y**2).mean(1), torch.ones(2, 3, 3))


def test_linear_attention_to_one_token_is_its_value_whatever_was_asked():
    q, v = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 1, 4)
    y = linear_attention(q, torch.randn(1, 2, 1, 4), v)
    # softmax over the one key is 1 in every channel, so the context is v in each row, and q's softmax sums to 1.
    torch.testing.assert_close(y, v.expand(1, 2, 5, 4) / 2)


def test_it_learns():
    torch.manual_seed(0)
    network = RMSUNet(1, 1, 2, SMALL)
    x, time = torch.randn(4, 1, 8, 8), torch.arange(4.0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(10):
        loss = ((network(x, time) - x.flip(3)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.8
    assert all(parameter.grad is not None for parameter in network.parameters())
