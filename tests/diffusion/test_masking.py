"""What a mask leaves out changes nothing, and what it leaves is all that is counted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import NetworkDenoiser
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.losses import Bound, Hybrid, Loss, Objective, UniformWeight
from undiffuse.diffusion.losses.variational_bound import bound_terms, prior_term
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.parameterization import EPSILON, X0
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.likelihood.bound import bound_of
from undiffuse.evaluation.likelihood.probability_flow import density_of, draw_probes

CHAIN = schedules.linear()
LOSSES: dict[str, Loss] = {
    "simple": Objective(EPSILON, UniformWeight()),
    "clipped": Objective(X0, UniformWeight(), clipped=True),
    "hybrid": Hybrid(Objective(EPSILON, UniformWeight()), levels=None),
    "hybrid of integers": Hybrid(Objective(EPSILON, UniformWeight()), levels=256),
    "bound": Bound(levels=None),
}
T = torch.tensor([1.0, 2.0, 400.0, 1000.0], dtype=torch.float64)


class Mixing(nn.Module):
    """A network whose every output sees every input, so that what is not hidden from it shows."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.layer = nn.Linear(size, 2 * size, dtype=torch.float64)

    def forward(self, x: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).reshape(len(x), 4, 3)


def network() -> NetworkDenoiser:
    torch.manual_seed(0)
    return NetworkDenoiser(Mixing(), CHAIN, EPSILON)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    x0, eps = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x0 = (x0.clamp(-1, 1) * 127.5).round() / 127.5
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]]).reshape(4, 1, 3)
    return x0, eps, mask


def learned(loss: Loss, x0: Tensor, eps: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    denoiser = network()
    losses = loss(denoiser, x0, T, eps, None, mask)
    losses.sum().backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in denoiser.network.parameters()])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_mask_of_ones_is_bit_equal_to_none(loss: Loss) -> None:
    x0, eps, _ = batch()
    for ones in (torch.ones(4, 1, 3), torch.ones(4, 2, 3, dtype=torch.bool)):
        for masked, plain in zip(learned(loss, x0, eps, ones), learned(loss, x0, eps, None), strict=True):
            assert torch.equal(masked, plain)


@pytest.mark.parametrize("other", [0.5, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_does_not_count_changes_neither_loss_nor_gradient_whatever_it_holds(loss: Loss, other: float) -> None:
    x0, eps, mask = batch()
    out = ~mask.bool()
    there = learned(loss, x0, eps, mask)
    replaced = learned(loss, x0.masked_fill(out, other), eps.masked_fill(out, -other), mask)
    for one, two in zip(there, replaced, strict=True):
        assert torch.isfinite(one).all()
        assert torch.equal(one, two)


def test_a_mean_is_over_what_counts() -> None:
    values = torch.tensor([[[1.0, 2.0, 9.0]], [[4.0, 9.0, 9.0]], [[9.0, 9.0, 9.0]]])
    mask = torch.tensor([[[1, 1, 0]], [[1, 0, 0]], [[0, 0, 0]]])
    assert mean_over(values, mask).tolist() == pytest.approx([1.5, 4, 0])
    assert kept(values, mask).tolist() == [[[1, 2, 0]], [[4, 0, 0]], [[0, 0, 0]]]


@pytest.mark.parametrize("levels", [None, 256])
def test_the_masked_bound_of_a_gaussian_is_that_of_the_smaller_gaussian(levels: int | None) -> None:
    x0, eps, _ = batch()
    mask = torch.tensor([True, False, True]).expand(4, 1, 3)
    small, small_eps = x0[..., [0, 2]], eps[..., [0, 2]]
    whole = bound_terms(gaussian_denoiser(CHAIN, (2, 3)), x0, T, eps, "small", levels, mask)
    torch.testing.assert_close(
        whole, bound_terms(gaussian_denoiser(CHAIN, (2, 2)), small, T, small_eps, "small", levels), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(prior_term(CHAIN, x0, mask), prior_term(CHAIN, small), rtol=1e-12, atol=0)


def test_the_bound_of_images_is_that_of_what_counts() -> None:
    x0, _, _ = batch()
    mask = torch.tensor([True, False, True]).expand(4, 1, 3)
    denoiser = gaussian_denoiser(CHAIN, (2, 3))
    found = bound_of(denoiser, ImageBatch(x0, range(4), mask), levels=None, count=4)
    other = bound_of(denoiser, ImageBatch(x0.masked_fill(~mask, torch.nan), range(4), mask), levels=None, count=4)
    assert torch.isfinite(found.total).all()
    assert torch.equal(found.total, other.total)
    assert torch.equal(found.x0_error, other.x0_error)
    whole = bound_of(denoiser, ImageBatch(x0, range(4)), levels=None, count=4)
    ones = bound_of(denoiser, ImageBatch(x0, range(4), torch.ones_like(mask)), levels=None, count=4)
    assert torch.equal(whole.total, ones.total)
    assert not torch.equal(whole.total, found.total)


def test_the_density_is_over_the_degrees_of_freedom_that_count() -> None:
    x0, _, _ = batch()
    mask = torch.tensor([True, False, True]).expand(4, 1, 3)
    probes = draw_probes((2, 3), range(4), 2)
    near = {"tolerance": Tolerance(1e-4, 1e-4)}
    small = density_of(gaussian_denoiser(CHAIN, (2, 2)), x0[..., [0, 2]], probes[..., [0, 2]], **near)
    filled = x0.masked_fill(~mask, torch.nan)
    masked = density_of(gaussian_denoiser(CHAIN, (2, 3)), filled, probes, mask=mask, **near)
    torch.testing.assert_close(masked.values, small.values, rtol=1e-3, atol=1e-3)
    whole = density_of(gaussian_denoiser(CHAIN, (2, 3)), x0, probes, **near)
    ones = density_of(gaussian_denoiser(CHAIN, (2, 3)), x0, probes, mask=torch.ones_like(mask), **near)
    assert torch.equal(whole.values, ones.values)
