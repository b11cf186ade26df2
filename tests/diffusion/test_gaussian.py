from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.gaussian import (
    Marginal,
    discretised_log_likelihood,
    kl,
    posterior,
    posterior_mean,
    q_sample,
    transition,
)
from undiffuse.diffusion.schedules import VE, VP, RectifiedFlow


def at(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


# FACTS of the linear chain: t, beta, posterior variance, mean's coefficient of x0 and of x_t
CHAIN = [
    (1, 0.0001, 0.0, 1.0, 0.0),
    (2, 1.1991991992e-4, 5.4531876613e-5, 0.5452914995, 0.454708499),
    (10, 2.79279279279e-4, 2.38182027823e-4, 0.1472737174, 0.8527262261),
    (100, 2.07207207207e-3, 2.03459625949e-3, 0.01907634532, 0.9808960213),
    (500, 0.01004004004, 0.0100313554146, 0.003070071114, 0.9941066702),
    (1000, 0.02, 0.0199999835266, 1.283514872e-4, 0.9899486783),
]


@pytest.mark.parametrize(("t", "beta", "variance", "x0_weight", "xt_weight"), CHAIN)
def test_posterior_and_step_of_the_linear_chain(t, beta, variance, x0_weight, xt_weight):
    chain = schedules.linear()
    q_s, q_t = chain(at(t - 1)), chain(at(t))
    post = posterior(q_s, q_t)
    assert float(transition(q_s, q_t).sigma ** 2) == pytest.approx(beta, rel=1e-10)
    assert float(post.variance) == pytest.approx(variance, rel=1e-9, abs=1e-18)
    assert float(post.x0_weight) == pytest.approx(x0_weight, rel=1e-9)
    assert float(post.xt_weight) == pytest.approx(xt_weight, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("schedule", [schedules.linear(), schedules.cosine(), VP(), VE(), RectifiedFlow()])
def test_steps_compose_into_the_closed_form(schedule):
    """Walking 0 -> s -> t with two transitions gives the mean and variance of q(x_t | x0)."""
    u = torch.linspace(0.01, 0.99, 30, dtype=torch.float64) * schedule.t_max
    s, t = u[:-1], u[1:]
    q_s, q_t = schedule(s), schedule(t)
    step = transition(q_s, q_t)
    torch.testing.assert_close(step.alpha * q_s.alpha, q_t.alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close((step.alpha * q_s.sigma) ** 2 + step.sigma**2, q_t.sigma**2, rtol=1e-12, atol=0)


def test_chain_iterated_step_by_step_has_the_closed_forms_moments():
    """10,000 particles through all T noisy steps end with the mean and variance that q(x_t | x0) states."""
    chain, generator = schedules.linear(100), torch.Generator().manual_seed(0)
    n = 10_000
    x = torch.full((n, 1), 0.7, dtype=torch.float64)
    for t in range(1, 101):
        step = transition(chain(at(t - 1)), chain(at(t)))
        x = q_sample(x, torch.randn(n, 1, generator=generator, dtype=torch.float64), step)
        if t in (1, 10, 50, 100):
            alpha, sigma = (float(c) for c in chain(at(t)))
            assert abs(float(x.mean()) - 0.7 * alpha) < 5 * sigma / math.sqrt(n)
            assert float(x.var()) == pytest.approx(sigma**2, rel=5 * math.sqrt(2 / n))


def test_chain_iterated_in_closed_form_is_exact():
    chain = schedules.linear()
    mean, variance = at(1.0), at(0.0)
    for t in range(1, 1001):
        step = transition(chain(at(t - 1)), chain(at(t)))
        mean, variance = step.alpha * mean, step.alpha**2 * variance + step.sigma**2
    assert float(mean) == pytest.approx(math.sqrt(4.035829765376e-5), rel=1e-10)
    assert float(variance) == pytest.approx(1 - 4.035829765376e-5, rel=1e-12)


@pytest.mark.parametrize("schedule", [schedules.linear(), VP(), VE(), RectifiedFlow()])
def test_posterior_is_bayes_rule(schedule):
    """q(x_s | x_t, x0) q(x_t | x0) = q(x_t | x_s) q(x_s | x0), as densities, for times that are no neighbours."""
    q_s, q_t = schedule(at(0.31 * schedule.t_max)), schedule(at(0.72 * schedule.t_max))
    x0, x_s, x_t = at(0.4)[None], at(-0.3)[None], at(0.9)[None]

    def log_normal(x, mean, variance):
        return -0.5 * ((x - mean) ** 2 / variance + torch.log(2 * math.pi * variance))

    step, post = transition(q_s, q_t), posterior(q_s, q_t)
    left = log_normal(x_s, posterior_mean(x0, x_t, post), post.variance)
    left += log_normal(x_t, q_t.alpha * x0, q_t.sigma**2)
    right = log_normal(x_t, step.alpha * x_s, step.sigma**2) + log_normal(x_s, q_s.alpha * x0, q_s.sigma**2)
    assert float(left) == pytest.approx(float(right), rel=1e-10)


def test_posterior_at_pure_noise_and_at_data():
    """Zero terminal SNR: x_T tells nothing, so x_s comes from x0 alone; and the step to t = 0 returns x0."""
    chain = schedules.zero_terminal_snr(schedules.linear())
    last = posterior(chain(at(999)), chain(at(1000)))
    assert float(last.xt_weight) == 0
    assert float(last.x0_weight) == pytest.approx(float(chain(at(999)).alpha), rel=1e-12)
    home = posterior(chain(at(0)), chain(at(7)))
    assert (float(home.x0_weight), float(home.xt_weight), float(home.variance)) == (1.0, 0.0, 0.0)


def test_neighbouring_times_keep_their_digits():
    """A step of 1e-12 has variance beta(t) 1e-12, which a difference of squares would lose."""
    vp, t, h = VP(), 0.5, 1e-12
    beta = 0.1 + t * 19.9
    step = transition(vp(at(t)), vp(at(t + h)))
    assert float(step.sigma**2) == pytest.approx(beta * h, rel=2e-3)


def test_kl_against_torch_and_for_close_variances():
    generator = torch.Generator().manual_seed(1)
    m1, m2, v1, v2 = torch.randn(4, 50, generator=generator, dtype=torch.float64)
    p = torch.distributions.Normal(m1, (0.5 * v1).exp())
    q = torch.distributions.Normal(m2, (0.5 * v2).exp())
    torch.testing.assert_close(kl(m1, v1, m2, v2), torch.distributions.kl_divergence(p, q))
    gap = 1e-9  # KL = gap^2 / 4 to first order; float64 loses it without expm1
    assert float(kl(at(0.0), at(gap), at(0.0), at(0.0))) < 1e-15
    assert float(kl(at(0.3), at(0.0), at(0.3), at(0.0))) == 0


def test_prior_kl_of_the_linear_chain():
    """E[x0^2] = 1/3: 9.70e-6 bits per dimension (q(x_T | x0) against N(0, I))."""
    alpha, sigma = schedules.linear()(at(1000))
    mean_square = kl(alpha / math.sqrt(3), 2 * sigma.log(), at(0.0), at(0.0))
    assert float(mean_square) / math.log(2) == pytest.approx(9.70e-6, rel=1e-3)


@pytest.mark.parametrize("levels", [2, 256, 4096])
@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.1234, 0.999, 40.0])
@pytest.mark.parametrize("log_std", [-12.0, -4.9, 0.0, 3.0])
def test_discretised_probabilities_sum_to_one(levels, mean, log_std):
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)
    log_p = discretised_log_likelihood(grid, at(mean), at(log_std), levels)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-10)
    assert not log_p.isnan().any()


@pytest.mark.parametrize(("variance", "bits"), [("small", 1.30538), ("large", 1.71285)])
def test_decoder_floor_at_an_exact_mean(variance, bits):
    """The bits that the last step costs even a perfect model, with beta-tilde (of t = 2) or beta as the variance."""
    chain = schedules.linear()
    log_variance = posterior(chain(at(1)), chain(at(2))).variance.log() if variance == "small" else at(math.log(1e-4))
    if variance == "small":
        assert float(log_variance) == pytest.approx(-9.81672513529567, rel=1e-12)
    x = 2 * torch.arange(1, 255, dtype=torch.float64) / 255 - 1
    log_p = discretised_log_likelihood(x, x, 0.5 * log_variance)
    assert float(-log_p.mean()) / math.log(2) == pytest.approx(bits, abs=2e-5)


def test_far_tails_keep_finite_logs():
    log_p = discretised_log_likelihood(torch.tensor([0.0, 1.0]), torch.tensor([1.0, -1.0]), torch.tensor([-4.0, -4.0]))
    assert log_p.isfinite().all()
    assert float(log_p[0]) < -1000


def test_q_sample_broadcasts_one_time_per_sample():
    x0, eps = torch.ones(3, 2, 4, 4), torch.full((3, 2, 4, 4), 2.0)
    q = Marginal(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    x_t = q_sample(x0, eps, q)
    assert x_t.dtype == torch.float32
    assert x_t[:, 0, 0, 0].tolist() == [1.0, 1.5, 2.0]
