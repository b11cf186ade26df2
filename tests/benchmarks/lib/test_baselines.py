from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchmarks.lib.baselines.family import LATENT, PIXELS, FallingRate
from benchmarks.lib.baselines.gan import GAN, gradient_penalty
from benchmarks.lib.baselines.vae import MIN_LOG_SCALE, VAE, Network, expected_level, level_log_probability
from benchmarks.lib.ours import Ours
from benchmarks.quality.demo_against_textbook import settings

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.123, 1.0])
@pytest.mark.parametrize("log_scale", [MIN_LOG_SCALE, -3.0, 0.0, 2.0])
def test_probabilities_of_the_levels_sum_to_one(mean, log_scale):
    log_p = level_log_probability(LEVELS, torch.tensor(mean).double(), torch.tensor(log_scale).double())
    assert log_p.exp().sum() == pytest.approx(1, abs=1e-9)
    assert (log_p <= 0).all()


def test_log_probabilities_and_gradients_are_finite_far_from_the_mean():
    mean = torch.zeros(256, requires_grad=True)
    log_scale = torch.full((256,), MIN_LOG_SCALE, requires_grad=True)
    level_log_probability(LEVELS.float(), mean, log_scale).sum().backward()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()


def blind_network() -> Network:
    """A VAE whose posterior is the prior and whose decoder does not look at z: its bound is its likelihood."""
    network = Network()
    for layer in (network.encoder[-1], network.decoder[0]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


def test_bounds_of_a_blind_network_are_its_likelihood():
    chosen = torch.randint(256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    network, x = blind_network(), LEVELS[chosen].float()
    exact = network.log_likelihood(x, torch.zeros(3, LATENT))
    torch.testing.assert_close(network.bound(x, torch.randn(3, LATENT)), exact)
    weighted = network.weighted_bound(x, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(weighted.float(), exact)


def test_importance_weighting_tightens_the_bound_of_a_seeing_network():
    torch.manual_seed(0)
    network, x = Network(), -torch.ones(4, 1, 28, 28)
    nn.init.normal_(network.encoder[-1].bias, std=0.5)
    single = torch.stack([network.weighted_bound(x, 1, torch.Generator().manual_seed(k)) for k in range(40)]).mean()
    many = network.weighted_bound(x, 40, torch.Generator().manual_seed(99)).mean()
    assert many > single


def test_bits_of_a_blind_network_are_those_of_its_likelihood(bench, monkeypatch):
    vae, network = VAE(bench.data, 0), blind_network()
    monkeypatch.setattr(vae, "trained", lambda: network)
    x = bench.held_out.images[:2]
    expected = -network.log_likelihood(x, torch.zeros(2, LATENT)) / (PIXELS * math.log(2))
    torch.testing.assert_close(vae.bits(x, count=3).float(), expected)


def test_gradient_penalty_of_a_linear_discriminator_is_its_squared_weight():
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
    penalty = gradient_penalty(discriminator, torch.randn(5, 1, 28, 28))
    torch.testing.assert_close(penalty, discriminator[1].weight.square().sum().expand(5))


@pytest.mark.parametrize("make", [VAE, GAN])
def test_a_step_moves_weights_and_a_drawing_is_a_function_of_its_seed(bench, make):
    family = make(bench.data, seed=0, batch=8)
    before = family.draw(3, seed=1)
    family.plan(0.0, 1.0)
    family.step()
    after = family.draw(3, seed=1)
    assert not torch.equal(before, after)
    assert torch.equal(after, family.draw(3, seed=1))
    assert not torch.equal(after, family.draw(3, seed=2))
    assert after.shape == (3, 1, 28, 28)
    assert after.abs().max() <= 1


@pytest.mark.parametrize("make", [VAE, GAN])
def test_a_training_is_a_function_of_its_seed(bench, make):
    def train(seed):
        family = make(bench.data, seed=seed, batch=8)
        for _ in range(2):
            family.plan(0.5, 0.5)
            family.step()
        return family.draw(2, seed=0)

    assert torch.equal(train(0), train(0))
    assert not torch.equal(train(0), train(1))


def test_families_are_of_one_size(bench):
    demo = Ours("demo", settings("demo", bench.data, 0), bench.data).parameters
    for make in (VAE, GAN):
        assert make(bench.data, 0).parameters == pytest.approx(demo, rel=0.05)


def test_a_generators_loss_leaves_the_discriminators_weights_trainable(bench):
    gan = GAN(bench.data, 0, batch=4)
    gan.plan(0.0, 1.0)
    gan.step()
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())


def rate_of(rate, step):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=9.0)
    rate.set(optimizer, step)
    return optimizer.param_groups[0]["lr"]


def test_the_rate_rises_and_falls_to_zero_with_the_budget():
    rate = FallingRate(1.0)
    assert rate_of(rate, 49) == 0.5
    rate.plan(600, 5.0, 5.0)
    assert rate_of(rate, 100) == 1
    assert rate_of(rate, 650) == 0.5
    assert rate_of(rate, 1199) < 1e-3
    assert 0 < rate_of(rate, 1300) < 1e-3


@pytest.mark.parametrize(("mean", "log_scale"), [(-30.0, 1.5), (-1.0, -2.0), (0.3, 0.0), (0.7, -6.0), (25.0, 2.0)])
def test_expected_level_is_the_mean_over_the_levels(mean, log_scale):
    mean, log_scale = torch.tensor(mean, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64)
    probabilities = level_log_probability(LEVELS, mean, log_scale).exp()
    exact = (probabilities * LEVELS).sum()
    assert expected_level(mean, log_scale) == pytest.approx(float(exact), abs=1 / 255)
