from __future__ import annotations

import pytest
import torch
from torch import nn

from undiffuse.config.network import UNetConfig
from undiffuse.networks.unet import UNet
from undiffuse.training.optim.muon import Muon, orthogonalise, split


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8), (1, 5)])
def test_orthogonalised_matrices_keep_their_directions_and_lose_their_scales(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix)
    inner = u.T @ found @ vh.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-9, rtol=0)  # the same singular vectors
    assert float(inner.diagonal().min()) > 0.6
    assert float(inner.diagonal().max()) < 1.3
    assert float(s.max() / s.min()) > 1.5 or min(shape) == 1


def test_matrices_are_orthogonalised_one_by_one_though_stacked():
    stack = torch.randn(3, 6, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalise(stack), torch.stack([orthogonalise(m) for m in stack]))


def test_the_scale_of_the_gradient_does_not_matter():
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalise(1e-3 * matrix), orthogonalise(matrix), rtol=1e-3, atol=1e-4)
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_what_is_no_matrix_is_moved_by_adam():
    """Against torch's Adam, over steps with changing gradients."""
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    muon, adam = Muon([], [ours], lr=0.01, betas=(0.8, 0.95)), torch.optim.Adam([theirs], lr=0.01, betas=(0.8, 0.95))
    for step in range(20):
        for p, optimizer in ((ours, muon), (theirs, adam)):
            p.grad = torch.cos(p.detach() * step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_step_has_adams_size():
    filters = nn.Parameter(torch.zeros(32, 16, 3, 3))
    filters.grad = torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    Muon([filters], [], lr=0.01).step()
    assert float(filters.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.25)


def test_muon_reaches_the_minimum_of_an_ill_conditioned_bowl():
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    scale = torch.logspace(0, -2, 8)[:, None]  # some directions have a hundredth of the gradient

    def distance(make) -> float:
        w = nn.Parameter(torch.zeros(8, 8))
        optimizer = make(w)
        for step in range(400):
            optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 400)
            w.grad = scale * (w.detach() - target)
            optimizer.step()
        return float((w.detach() - target).abs().max())

    assert distance(lambda w: Muon([w], [])) < 0.1
    assert distance(lambda w: torch.optim.SGD([w], lr=1.0)) > 1


def test_a_networks_ends_norms_and_biases_are_adams():
    network = UNet(1, 1, 2, UNetConfig(base=8, multipliers=(1, 2), blocks=1))
    matrices, others = split(network)
    assert len(matrices) + len(others) == len(list(network.parameters()))
    assert all(p.ndim >= 2 for p in matrices)
    ends = {id(p) for part in (network.stem, network.out, network.time) for p in part.parameters()}
    assert not ends & {id(p) for p in matrices}
    assert {id(p) for p in network.parameters() if p.ndim < 2} <= {id(p) for p in others}
