"""Winograd's convolution is a convolution: values, gradients, every shape, to a millionth."""

import pytest
import torch
import torch.nn.functional as F

from undiffuse.networks.kernels import accelerate_cpu, winograd
from undiffuse.networks.kernels.winograd import applies, convolve, kernel_gradient, pays
from undiffuse.networks.layers import conv


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer_of(inputs, outputs):
    return accelerate_cpu(conv(2, inputs, outputs))


def test_the_interpolation_is_exact():
    """Y = A^T [(G g) * (B^T d)] is the one-dimensional correlation of any 6 numbers with any 3."""
    a_t, g, b_t = winograd._matrices()
    data, kernel = numbers(6, dtype=torch.float64), numbers(3, seed=1, dtype=torch.float64)
    direct = F.conv1d(data[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(a_t @ ((g @ kernel) * (b_t @ data)), direct, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (6, 9), (16, 16), (17, 31)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_direct_convolution_at_any_size_and_layout(size, layout):
    x = numbers(3, 5, *size).contiguous(memory_format=layout)
    weight, bias = numbers(7, 5, 3, 3, seed=1), numbers(7, seed=2)
    direct = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(convolve(x, weight, bias).double(), direct, rtol=1e-5, atol=2e-5)


def test_its_rounding_error_is_a_millionth_of_the_result():
    x, weight = numbers(2, 128, 32, 32), numbers(128, 128, 3, 3, seed=1) / 1152**0.5
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert (convolve(x, weight) - exact).square().mean().sqrt() < 2e-6 * exact.square().mean().sqrt()


def test_parts_of_a_batch_give_what_the_whole_gives(monkeypatch):
    x, weight = numbers(9, 80, 20, 20), numbers(80, 80, 3, 3, seed=1)
    whole = convolve(x, weight)
    monkeypatch.setattr(winograd, "CACHE", 1)
    assert len(winograd.parts(x)) > 1
    torch.testing.assert_close(convolve(x, weight), whole, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_direct_convolution():
    x, weight, bias = numbers(5, 96, 16, 15), numbers(88, 96, 3, 3, seed=1) / 30, numbers(88, seed=2)
    upstream = numbers(5, 88, 16, 15, seed=3)
    layer = layer_of(96, 88)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    seen = x.clone().requires_grad_()
    assert applies(seen, layer.weight)
    layer(seen).backward(upstream)
    exact = [v.double().requires_grad_() for v in (x, weight, bias)]
    F.conv2d(exact[0], exact[1], exact[2], padding=1).backward(upstream.double())
    for ours, theirs in zip((seen.grad, layer.weight.grad, layer.bias.grad), exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs.grad, rtol=1e-4, atol=1e-5 * theirs.grad.abs().max().item())


def test_the_kernels_gradient_is_summed_over_parts(monkeypatch):
    x, upstream = numbers(6, 8, 9, 9), numbers(6, 5, 9, 9, seed=1)
    whole = kernel_gradient(x, upstream)
    monkeypatch.setattr(winograd, "CACHE", 1)
    monkeypatch.setattr(winograd, "FEWEST", 1)
    assert len(winograd.parts(x)) == 6
    torch.testing.assert_close(kernel_gradient(x, upstream), whole, rtol=1e-4, atol=1e-4)


def test_few_channels_few_tiles_and_wasted_tiles_do_not_pay():
    assert pays(16, 128, 128, 32, 32)
    assert not pays(16, 32, 32, 32, 32)
    assert not pays(16, 256, 256, 5, 5)
    assert not pays(1, 256, 256, 8, 8)


def test_it_leaves_other_number_formats_and_autocast_to_torch():
    x, layer = numbers(16, 128, 16, 16), layer_of(128, 128)
    assert applies(x, layer.weight)
    assert not applies(x.double(), layer.weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(x, layer.weight)
        assert layer(x).dtype == torch.bfloat16


def test_no_gradient_is_computed_that_nobody_wants():
    x, layer = numbers(16, 96, 16, 16), layer_of(96, 96)
    layer.requires_grad_(False)
    seen = x.clone().requires_grad_()
    layer(seen).sum().backward()
    assert seen.grad is not None
    assert layer.weight.grad is None


def test_it_is_for_one_thread():
    x, layer = numbers(16, 128, 16, 16), layer_of(128, 128)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert not applies(x, layer.weight)
        torch.set_num_threads(1)
        assert applies(x, layer.weight)
    finally:
        torch.set_num_threads(before)
