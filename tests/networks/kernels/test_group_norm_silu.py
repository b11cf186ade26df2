"""GroupNorm and SiLU in one are GroupNorm, then SiLU."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from undiffuse.networks.kernels import group_norm_silu as here
from undiffuse.networks.kernels.group_norm_silu import NormSiLUByChannel, applies
from undiffuse.networks.layers import group_norm

LAST = {3: torch.contiguous_format, 4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the numbers, on one thread."""
    monkeypatch.setattr(here, "FEWEST", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def numbers(*shape: int, seed: int = 0, scale: float = 1.0, mean: float = 0.0) -> Tensor:
    drawn = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + mean
    return drawn.contiguous(memory_format=LAST[len(shape)]) if len(shape) in (4, 5) else drawn


def layer(channels: int, groups: int | None = None) -> nn.GroupNorm:
    norm = group_norm(channels, groups, kind=NormSiLUByChannel)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias)
    return norm


def plainly(h: Tensor, norm: nn.GroupNorm, embedding: Tensor | None = None) -> Tensor:
    e = 0 if embedding is None else embedding.reshape(*embedding.shape, *[1] * (h.dim() - 2)).double()
    weight, bias = norm.weight.double(), norm.bias.double()
    return F.silu(F.group_norm(h.double() + e, norm.num_groups, weight, bias, norm.eps))


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (8, 8), (12, None), (64, None)])
@pytest.mark.parametrize("size", [(5, 7), (9, 1), (3, 2, 4)])
@pytest.mark.parametrize("told", [True, False])
def test_values_and_gradients_are_those_of_the_two(
    always: None, channels: int, groups: int | None, size: tuple[int, ...], told: bool
) -> None:
    norm = layer(channels, groups)
    h = numbers(3, channels, *size, scale=2, mean=1).requires_grad_()
    e = numbers(3, channels, seed=1).requires_grad_()
    inputs = (h, norm.weight, norm.bias, *([e] if told else []))
    assert applies(h, norm)
    found, wanted = norm(h, e if told else None), plainly(h, norm, e if told else None)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    assert found.movedim(1, -1).is_contiguous()
    upstream = numbers(*h.shape, seed=2)
    ours = torch.autograd.grad(found, inputs, upstream)
    theirs = torch.autograd.grad(wanted, inputs, upstream.double())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-4, atol=2e-5 * max(1, b.abs().max().item()))


def test_only_the_gradients_that_are_wanted_are_given(always: None) -> None:
    norm = layer(8).requires_grad_(False)
    h = numbers(2, 8, 4, 4).requires_grad_()
    norm(h).sum().backward()
    assert h.grad is not None
    assert norm.weight.grad is None


@pytest.mark.parametrize(("mean", "first"), [(1e3, 0.0), (0.0, 1e3), (1e3, -1e3)])
def test_a_mean_far_from_zero_and_an_outlier_do_not_cancel_the_variance(
    always: None, mean: float, first: float
) -> None:
    h, norm = numbers(2, 8, 16, 16, mean=mean), layer(8)
    h[:, :, 0, 0] += first
    exact = plainly(h, norm)
    ours, theirs = ((y - exact).abs().max() for y in (norm(h), F.silu(nn.GroupNorm.forward(norm, h))))
    assert ours < max(2 * theirs, 1e-4)


def test_equal_numbers_have_no_variance_and_no_nan(always: None) -> None:
    h, norm = torch.full((2, 8, 4, 4), 3.7).contiguous(memory_format=torch.channels_last).requires_grad_(), layer(8)
    y = norm(h)
    torch.testing.assert_close(y, F.silu(norm.bias)[None, :, None, None].expand_as(y), rtol=1e-3, atol=1e-3)
    y.sum().backward()
    assert torch.isfinite(h.grad).all()


def test_it_does_not_change_its_input(always: None) -> None:
    h, norm = numbers(2, 8, 4, 4), layer(8)
    before = h.clone()
    norm(h, numbers(2, 8, seed=1))
    assert h.equal(before)


def test_what_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    h, norm = numbers(2, 32, 18, 18), layer(32)
    assert applies(h, norm)
    assert not applies(h.contiguous(), norm), "channels first"
    assert not applies(h.bfloat16(), norm)
    assert not applies(numbers(50, 32, 16, 16), norm), "few numbers, however many samples"
    assert not applies(h, layer(32, 4)), "wide groups"
    assert not applies(h.to("meta"), norm)
    many = numbers(2, 32, 32, 32)
    assert applies(many, norm)
    with torch.no_grad():
        assert not applies(many, norm), "1,024 positions, no gradient"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not applies(h, norm)


def test_either_way_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    h, e, norm = numbers(2, 32, 18, 18), numbers(2, 32, seed=1), layer(32)
    found = norm(h, e)
    monkeypatch.setattr(here, "FEWEST", 10**9)
    torch.testing.assert_close(norm(h, e), found, rtol=1e-5, atol=1e-5)


def test_a_sample_has_the_same_bits_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    h, norm = numbers(9, 32, 18, 18), layer(32)
    assert all(norm(h[:rows]).equal(norm(h)[:rows]) for rows in (1, 2, 5))
