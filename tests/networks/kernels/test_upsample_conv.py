"""Doubling and convolving in one is doubling, then convolving."""

import pytest
import torch
import torch.nn.functional as F

from undiffuse.networks.blocks import BlockOptions, ResidualBlock, Upsample
from undiffuse.networks.kernels import accelerate_cpu, upsample_conv
from undiffuse.networks.kernels.upsample_conv import applies, double, fold
from undiffuse.networks.layers import conv


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transposed convolution however few the pixels."""
    monkeypatch.setattr(upsample_conv, "PIXELS", 0)


def filled(dims: int, inputs: int, outputs: int) -> torch.nn.Module:
    torch.manual_seed(0)
    layer = conv(dims, inputs, outputs).double()
    torch.nn.init.normal_(layer.bias)
    return layer


def plainly(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
    return layer(F.interpolate(x, scale_factor=2, mode="nearest"))


def test_a_kernel_is_folded_by_hand() -> None:
    """Of (1, 10, 100): the outer taps, and the sums of two neighbours."""
    assert fold(torch.tensor([[[1.0, 10.0, 100.0]]])).tolist() == [[[100.0, 110.0, 11.0, 1.0]]]


@pytest.mark.parametrize("size", [(7,), (1,), (4, 5), (1, 1), (6, 1), (3, 2, 4), (1, 1, 1)])
def test_it_is_doubling_then_convolving(always: None, size: tuple[int, ...]) -> None:
    layer, x = filled(len(size), 3, 5), torch.randn(2, 3, *size, dtype=torch.float64)
    assert applies(x, layer)
    torch.testing.assert_close(double(x, layer), plainly(x, layer), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(7,), (4, 5), (3, 2, 4)])
def test_its_gradients_are_too_and_the_second_ones(always: None, size: tuple[int, ...]) -> None:
    layer, x = filled(len(size), 2, 3), torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    inputs = (x, *layer.parameters())
    found, wanted = (way(x, layer) for way in (double, plainly))
    upstream = torch.randn_like(wanted)
    pairs = []
    for y in (found, wanted):
        first = torch.autograd.grad(y, inputs, upstream, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first[:2]), inputs[:2])
        pairs.append((*first, *second))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_layouts_stay_as_they_were(always: None) -> None:
    layer = filled(2, 8, 8).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    assert double(x, layer).is_contiguous(memory_format=torch.channels_last)


def test_its_rounding_error_is_that_of_the_plain_way(always: None) -> None:
    layer, x = filled(2, 64, 64), torch.randn(4, 64, 14, 14, dtype=torch.float64)
    exact = plainly(x, layer)
    layer.float()
    errors = [(way(x.float(), layer) - exact).square().mean().sqrt() for way in (double, plainly)]
    assert errors[0] < 1.5 * errors[1] < 1e-5


def test_few_pixels_go_the_plain_way() -> None:
    layer = conv(2, 16, 32)
    assert applies(torch.zeros(1, 16, 4, 4), layer)
    assert not applies(torch.zeros(100, 16, 3, 5), layer), "15 pixels for 32 channels, however many samples"
    assert not applies(torch.zeros(1, 16, 4, 4, device="meta"), layer), "which is how FLOPs are counted"


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_sample_has_the_same_bits_in_batches_of_any_size(rows: int) -> None:
    torch.manual_seed(0)
    layer, x = conv(2, 64, 64), torch.randn(16, 64, 7, 7).contiguous(memory_format=torch.channels_last)
    assert applies(x, layer)
    assert double(x[:rows], layer).equal(double(x, layer)[:rows])


def test_the_u_nets_layers_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, embedding = torch.randn(2, 8, 6, 6), torch.randn(2, 4)
    torch.manual_seed(0)
    modules = [accelerate_cpu(Upsample(2, 8)), accelerate_cpu(ResidualBlock(2, 8, 8, BlockOptions(4), "up"))]
    for parameter in modules[1].parameters():
        torch.nn.init.normal_(parameter)
    calls: list[int] = []
    real = upsample_conv.TRANSPOSED[2]
    monkeypatch.setitem(upsample_conv.TRANSPOSED, 2, lambda *a, **k: calls.append(1) or real(*a, **k))
    found = [module(x, embedding) for module in modules]
    assert len(calls) == 2
    monkeypatch.setattr(upsample_conv, "PIXELS", 1000)
    for module, y in zip(modules, found, strict=True):
        torch.testing.assert_close(module(x, embedding), y, rtol=1e-4, atol=1e-4)
    assert len(calls) == 2
