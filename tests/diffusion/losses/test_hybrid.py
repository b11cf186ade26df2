from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.training import ObjectiveConfig
from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import NetworkDenoiser
from undiffuse.diffusion.losses import Bound, Hybrid, Objective, UniformWeight
from undiffuse.diffusion.losses.variational_bound import bound_terms
from undiffuse.diffusion.parameterization import EPSILON
from undiffuse.errors import UndiffuseError
from undiffuse.factories.loss import make_objective

CHAIN = schedules.linear()


class TwoNumbers(nn.Module):
    """One parameter for the mean, one for the variance."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.3))
        self.variance = nn.Parameter(torch.tensor(-0.2))

    def forward(self, x, time):
        return torch.cat([self.mean * x, self.variance.expand_as(x)], dim=1)


def pieces(n=6):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, n, 1, 4, generator=generator)
    network = TwoNumbers()
    t = torch.tensor([1, 2, 10, 100, 500, 1000], dtype=torch.float64)[:n]
    return network, NetworkDenoiser(network, CHAIN, EPSILON), x0.clamp(-1, 1), t, eps


def test_hybrid_is_simple_plus_a_thousandth_of_the_bound():
    _, denoiser, x0, t, eps = pieces()
    simple = Objective(EPSILON, UniformWeight())
    bits = 1000 * bound_terms(denoiser, x0, t, eps, "learned") / math.log(2)
    torch.testing.assert_close(Hybrid(simple)(denoiser, x0, t, eps), simple(denoiser, x0, t, eps) + 0.001 * bits)
    torch.testing.assert_close(Bound()(denoiser, x0, t, eps), bits)


def test_in_the_hybrid_the_bound_trains_the_variance_alone():
    network, denoiser, x0, t, eps = pieces()
    simple = Objective(EPSILON, UniformWeight())
    simple(denoiser, x0, t, eps).sum().backward()
    mean_alone = network.mean.grad.clone()
    assert network.variance.grad is None or network.variance.grad == 0
    network.zero_grad()
    Hybrid(simple)(denoiser, x0, t, eps).sum().backward()
    assert torch.equal(network.mean.grad, mean_alone)
    assert network.variance.grad != 0
    network.zero_grad()
    Bound()(denoiser, x0, t, eps).sum().backward()
    assert not torch.isclose(network.mean.grad, mean_alone)


def test_the_bound_prefers_the_variance_that_is_right():
    """A denoiser that knows x0: beta-tilde (fraction 0) is the true variance of every step, so the bound is 0 there."""

    class Knowing:
        schedule = CHAIN

        def __init__(self, fraction):
            self.fraction = fraction

        def __call__(self, x_t, t, **conditions):
            from undiffuse.diffusion.denoiser import Prediction

            return Prediction(x0, eps, torch.full_like(x0, self.fraction))

    x0, t, eps = (a[1:] for a in pieces()[2:])
    losses = [float(Bound()(Knowing(f), x0, t, eps).sum()) for f in (0.0, 0.3, 1.0)]
    assert losses[0] < losses[1] < losses[2]
    assert losses[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("loss", "learn"), [("simple", True), ("hybrid", False), ("vlb", False)])
def test_loss_and_learned_variance_go_together(loss, learn):
    with pytest.raises(UndiffuseError, match="use `learn_variance` `loss=hybrid`"):
        make_objective(ObjectiveConfig(loss=loss), DiffusionConfig(learn_variance=learn))


def test_objectives_are_made_by_name():
    learned = DiffusionConfig(learn_variance=True)
    assert isinstance(make_objective(ObjectiveConfig(loss="hybrid"), learned), Hybrid)
    assert make_objective(ObjectiveConfig(loss="vlb"), learned, levels=None) == Bound(None)
    assert isinstance(make_objective(ObjectiveConfig(), DiffusionConfig()), Objective)
