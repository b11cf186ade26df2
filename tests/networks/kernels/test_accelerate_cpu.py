"""`accelerate_cpu` changes how a network's layers are computed, and nothing else of the network."""

import copy

import pytest
import torch
from torch import nn

from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.factories.network import build_network
from undiffuse.model.noise_classifier import build_classifier
from undiffuse.networks.blocks import BlockOptions, Downsample, ResidualBlock
from undiffuse.networks.kernels import accelerate_cpu, quick_class
from undiffuse.networks.kernels.winograd import WinogradConv2d
from undiffuse.networks.layers import conv
from undiffuse.networks.unet import UNet

SMALL = UNetConfig(base=16, multipliers=(1, 2), blocks=1, residual_up_levels=(1,), attention_levels=())
INFO = DataInfo("things", "0" * 64, 40, (1, 8, 8), "uint8", 0.0, 255.0, (0.0,), (0.5,), classes=("a", "b"))


def left(network: nn.Module) -> list[str]:
    """Layers that have a quick class and not yet that class."""
    return [name for name, module in network.named_modules() if quick_class(module) is not None]


def drawn(dims: int) -> UNet:
    torch.manual_seed(0)
    network = UNet(1, 1, dims, SMALL)
    for parameter in network.parameters():  # last layers start at 0
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_parameters_stay_and_the_numbers_change_by_rounding(dims):
    network = drawn(dims)
    before, names = dict(network.named_parameters()), list(network.state_dict())
    x, time = torch.randn(2, 1, *[16] * dims), torch.tensor([3.0, 700.0])
    plain = network(x, time)
    assert left(network)
    assert accelerate_cpu(network) is network
    assert left(network) == []
    assert list(network.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in network.named_parameters())
    torch.testing.assert_close(network(x, time), plain, rtol=1e-4, atol=1e-4)


def test_a_copy_goes_the_same_ways():
    network = accelerate_cpu(drawn(2))
    copied = copy.deepcopy(network)
    assert [type(module) for module in copied.modules()] == [type(module) for module in network.modules()]
    x, time = torch.randn(2, 1, 16, 16), torch.zeros(2)
    assert copied(x, time).equal(network(x, time))


def test_other_convolutions_stay_what_they_are():
    layers = [conv(2, 4, 4, kernel=1), conv(2, 4, 4, kernel=7), conv(1, 4, 4), conv(3, 4, 4), Downsample(2, 4).conv]
    layers += [nn.Conv2d(4, 4, 3, padding=1, **way) for way in ({"groups": 2}, {"padding_mode": "reflect"})]
    layers += [nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 3, padding="same")]
    assert not any(quick_class(layer) for layer in layers)
    assert quick_class(conv(2, 4, 4)) is WinogradConv2d
    assert quick_class(ResidualBlock(2, 4, 4, BlockOptions(4))) is None


@pytest.mark.parametrize("architecture", ["unet", "rms-unet", "ddpm++", "ncsn++"])
def test_every_network_that_is_built_goes_the_quick_ways(architecture):
    config = override(TrainConfig(), base=8, multipliers=(1, 2), attention_levels=(), architecture=architecture)
    network = build_network(config, INFO)
    assert left(network) == []
    assert any(isinstance(module, WinogradConv2d) for module in network.modules())


def test_a_classifier_of_noisy_images_goes_them_too():
    network = build_classifier(override(TrainConfig(), base=8, multipliers=(1, 2)), INFO).network
    assert left(network) == []
    assert any(isinstance(module, WinogradConv2d) for module in network.modules())
