"""Groups and initialisation."""

import pytest
import torch

from undiffuse.networks.layers import conv, group_count, group_norm, linear


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        (128, 32),
        (256, 32),
        (1024, 32),
        (384, 32),
        (64, 16),
        (16, 4),
        (48, 12),
        (24, 6),
        (6, 1),
        (3, 1),
        (1, 1),
        (10, 2),
    ],
)
def test_groups_are_those_of_ho_from_128_channels_on_and_hold_four_channels_below(channels, groups):
    assert group_count(channels) == groups


def test_groups_always_divide_the_channels():
    assert all(channels % group_count(channels) == 0 for channels in range(1, 600))


def test_group_norm_has_the_epsilon_of_tensorflow():
    x = torch.full((1, 4, 1, 1), 1e-3)
    x[:, :2] = -1e-3  # variance 1e-6, so the result is x / sqrt(1e-6 + 1e-6)
    torch.testing.assert_close(group_norm(4)(x), x / 2e-6**0.5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_start_with_the_variance_of_fan_average_and_no_bias(dims):
    layer = conv(dims, 64, 32)
    bound = (6 / ((64 + 32) * 3**dims)) ** 0.5
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    assert not layer.bias.any()


def test_zeroed_layers_are_zero():
    for layer in (conv(2, 3, 4, zero=True), linear(3, 4, zero=True)):
        assert not layer.weight.any()
        assert not layer.bias.any()
