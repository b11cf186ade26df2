from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.gaussian import kl, posterior, q_sample
from undiffuse.diffusion.losses.variational_bound import bound_terms, chain_of, prior_term
from undiffuse.diffusion.schedules import VP
from undiffuse.errors import UndiffuseError

CHAIN = schedules.linear()
BITS = 1 / math.log(2)


def at(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(("variance", "bits"), [("small", 1.869325), ("large", 1.212529)])
def test_bound_of_the_optimal_network_on_a_gaussian(variance, bits):
    """FACTS: N(0, 0.25) with a continuous decoder; the entropy, which no bound undercuts, is 1.047096 bits."""
    total = 0.0
    for times, elements in ((range(1, 41), 60_000), (range(41, 1001), 1500)):  # the first terms vary most
        generator = torch.Generator().manual_seed(0)
        t = torch.tensor(times, dtype=torch.float64)
        x0, eps = torch.randn(2, len(times), elements, generator=generator, dtype=torch.float64)
        terms = bound_terms(gaussian_denoiser(CHAIN, (elements,)), 0.5 * x0, t, eps, variance, levels=None)
        total += float(terms.sum()) * BITS
    assert total == pytest.approx(bits, rel=0.01)


def test_bound_of_the_optimal_network_in_closed_form():
    """The same without sampling: on a Gaussian the mean square of every term is known."""
    variance_0, bits = 0.25, {}
    for variance in ("small", "large"):
        total = 0.0
        for t in range(1, 1001):
            q_s, q_t = CHAIN(at(t - 1)), CHAIN(at(t))
            post = posterior(q_s, q_t)
            floor = posterior(CHAIN(at(1)), CHAIN(at(2))).variance
            wide = variance == "large" and t > 1  # Ho et al.'s code decodes with the small variance in either case
            log_v = (CHAIN.betas[t - 1] if wide else post.variance.clamp(min=floor)).log()
            # Var[x0 | x_t] = sigma^2 v0 / (alpha^2 v0 + sigma^2): what even the exact denoiser does not know
            unknown = q_t.sigma**2 * variance_0 / (q_t.alpha**2 * variance_0 + q_t.sigma**2)
            error = post.x0_weight**2 * unknown
            if t == 1:
                total += float(0.5 * (math.log(2 * math.pi) + log_v + error * torch.exp(-log_v)))
            else:
                total += float(kl(at(0.0), post.variance.log(), error.sqrt(), log_v))
        alpha, sigma = CHAIN(at(1000))
        total += float(kl(alpha * math.sqrt(variance_0), 2 * sigma.log(), at(0.0), at(0.0)))
        bits[variance] = total * BITS
    assert bits == pytest.approx({"small": 1.869325, "large": 1.212529}, rel=1e-5)


def test_prior_term_of_the_linear_chain():
    x0 = torch.full((2, 3), 1 / math.sqrt(3), dtype=torch.float64)
    assert (prior_term(CHAIN, x0) * BITS).tolist() == pytest.approx([9.70e-6] * 2, rel=1e-3)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_first_term_is_the_discretised_decoder(variance):
    """A denoiser that knows x0 pays the decoder's floor; interior values, since the edge bins are wider."""

    class Knowing:
        schedule = CHAIN

        def __call__(self, x_t, t, **conditions):
            from undiffuse.diffusion.denoiser import Prediction

            return Prediction(x0, eps)

    x0 = (2 * torch.arange(1, 255, dtype=torch.float64) / 255 - 1)[None]
    eps = torch.randn(1, 254, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    term = bound_terms(Knowing(), x0, torch.ones(1, dtype=torch.float64), eps, variance)
    assert float(term) * BITS == pytest.approx(1.30538, abs=2e-5)
    later = bound_terms(Knowing(), x0, torch.tensor([300.0], dtype=torch.float64), eps, "small")
    assert float(later) == pytest.approx(0, abs=1e-12)  # the model's step is the true posterior


def test_terms_mix_decoder_and_divergence_in_one_batch():
    x0 = torch.zeros(2, 4)
    eps = torch.ones(2, 4)
    t = torch.tensor([1.0, 500.0], dtype=torch.float64)
    both = bound_terms(gaussian_denoiser(CHAIN, (4,)), x0, t, eps, "large")
    alone = [float(bound_terms(gaussian_denoiser(CHAIN, (4,)), x0[:1], t[k : k + 1], eps[:1], "large")) for k in (0, 1)]
    assert both.tolist() == pytest.approx(alone, rel=1e-6)
    assert q_sample(x0, eps, CHAIN(t)).shape == (2, 4)


def test_a_continuous_process_has_no_such_bound():
    with pytest.raises(UndiffuseError, match="`method=ode`"):
        chain_of(VP())
