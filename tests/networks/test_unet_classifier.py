"""The U-Net's way down with a head."""

import pytest
import torch

from undiffuse.config.network import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet import UNet
from undiffuse.networks.unet_classifier import UNetClassifier

SETTINGS = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(1,))


def randomised(network):
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return network.eval()


@pytest.mark.parametrize(
    "settings", [SETTINGS, UNetConfig(base=8, multipliers=(1, 2, 2), blocks=2, patch=2, resample="residual")]
)
def test_its_layers_are_those_of_the_unet_down_to_the_middle(settings):
    whole, half = UNet(1, 1, 2, settings).state_dict(), UNetClassifier(1, 3, 2, settings).state_dict()
    own = {name for name in half if name.startswith(("norm.", "out."))}
    assert own == {"norm.weight", "norm.bias", "out.weight", "out.bias"}
    assert {name for name in whole if name.startswith(("time.", "stem.", "down.", "middle."))} == set(half) - own
    assert all(half[name].shape == whole[name].shape for name in set(half) - own)


@pytest.mark.parametrize("shape", [(2, 16), (1, 9, 11), (1, 4, 5, 6)])
def test_it_takes_any_size_in_one_two_and_three_dimensions(shape):
    network = randomised(UNetClassifier(shape[0], 5, len(shape) - 1, SETTINGS))
    x = torch.randn(3, *shape)
    logits = network(x, torch.tensor([1.0, 500.0, 999.0]))
    assert logits.shape == (3, 5)
    alone = network(x[1:2], torch.tensor([500.0]))
    torch.testing.assert_close(logits[1:2], alone, rtol=1e-4, atol=1e-4)


def test_a_new_one_knows_nothing():
    logits = UNetClassifier(1, 4, 2, SETTINGS)(torch.randn(2, 1, 8, 8), torch.zeros(2))
    torch.testing.assert_close(logits.softmax(1), torch.full((2, 4), 0.25))


def test_the_time_matters():
    network = randomised(UNetClassifier(1, 4, 2, SETTINGS))
    x = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(network(x, torch.zeros(1)), network(x, torch.full((1,), 900.0)))


def test_one_class_is_no_question():
    with pytest.raises(UndiffuseError, match="at least 2 classes"):
        UNetClassifier(1, 1, 2, SETTINGS)
