from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.likelihood.bound import Terms, bound_of, draw_times, strata
from undiffuse.evaluation.likelihood.evaluate import gathered, mean_and_error
from undiffuse.runtime.random_streams import generator

CHAIN = schedules.linear()
SHORT = schedules.cosine(50)
BITS = 1 / math.log(2)


def gaussian_images(count: int, elements: int, seed: int = 0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(count, elements, generator=stream, dtype=torch.float64)


@pytest.mark.parametrize(("variance", "bits"), [("small", 1.869325), ("large", 1.212529)])
def test_bound_of_gaussian_images_is_the_closed_form(variance, bits):
    """FACTS: the optimal network's bound on N(0, 0.25) with a continuous decoder."""
    x0 = gaussian_images(8, 1000)
    terms = bound_of(gaussian_denoiser(CHAIN, (1000,)), ImageBatch(x0, range(8)), variance=variance, levels=None)
    mean, error = mean_and_error(terms.total * BITS)
    assert error < 0.03
    assert abs(mean - bits) < 4 * error


def test_a_model_that_knows_the_image_pays_the_decoder_alone():
    """Every step is the true posterior, so the bound is tight: the probability of a bin around the exact mean."""
    x0 = (2 * torch.arange(1, 255, dtype=torch.float64) / 255 - 1)[None]
    terms = bound_of(MixtureDenoiser(CHAIN, x0), ImageBatch(x0, [0]))
    assert float(terms.total - terms.prior) * BITS == pytest.approx(1.30538, abs=2e-5)
    assert terms.x0_error.max() < 1e-20
    assert terms.eps_error.max() < 1e-20


def test_probabilities_that_the_bound_promises_sum_to_at_most_one():
    """exp(-bound) is at most the model's probability of each of 256 values, whatever the model."""
    values = (2 * torch.arange(256, dtype=torch.float64) / 255 - 1)[:, None]
    denoiser = gaussian_denoiser(schedules.cosine(20), (1,))
    many = values.repeat(20, 1)
    mean = bound_of(denoiser, ImageBatch(many, range(len(many))), variance="large").total.reshape(20, 256).mean(0)
    assert 0.5 < float(torch.exp(-mean).sum()) <= 1.0


def test_two_equal_images_cost_a_bit_and_the_decoder():
    """Data: all pixels at -1 or all at +1, each half the time. No code is shorter than one bit an image."""
    pair = torch.tensor([-1.0, 1.0], dtype=torch.float64)[:, None].expand(2, 16)
    x0 = pair.repeat(200, 1)
    nats = 16 * bound_of(MixtureDenoiser(SHORT, pair), ImageBatch(x0, range(400)), variance="small").total
    mean, error = mean_and_error(nats * BITS)
    decoder = 16 * 1.31
    assert 1 - 3 * error < mean < 1.5 + decoder


def test_a_sample_of_the_timesteps_has_the_mean_of_all():
    x0 = gaussian_images(1, 40).expand(600, 40)
    denoiser = gaussian_denoiser(SHORT, (40,))
    whole = bound_of(denoiser, ImageBatch(x0, range(600)), levels=None)
    some = bound_of(denoiser, ImageBatch(x0, range(600)), levels=None, count=6, seed=1)
    assert some.t.shape == (600, 6)
    gap = float(whole.total.mean() - some.total.mean())
    error = math.hypot(mean_and_error(whole.total)[1], mean_and_error(some.total)[1])
    assert abs(gap) < 4 * error
    assert error < 0.05 * float(whole.total.mean())


def test_the_error_of_an_image_is_no_smaller_than_its_scatter():
    x0 = gaussian_images(1, 40).expand(400, 40)
    for count in (12, None):
        some = bound_of(gaussian_denoiser(SHORT, (40,)), ImageBatch(x0, range(400)), levels=None, count=count)
        scatter = float((some.total - some.term[:, 0]).std())
        assert scatter < float(some.error.square().mean().sqrt()) < 3 * scatter


def test_the_standard_error_falls_as_one_over_the_root():
    values = torch.randn(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few, many = mean_and_error(values[:2500])[1], mean_and_error(values)[1]
    assert few / many == pytest.approx(4, rel=0.05)
    assert many == pytest.approx(1 / 200, rel=0.02)
    assert math.isnan(mean_and_error(values[:1])[1])


def test_an_image_does_not_depend_on_its_batch():
    x0 = gaussian_images(5, 12)
    denoiser = gaussian_denoiser(SHORT, (12,))
    for count in (None, 7):
        together = bound_of(denoiser, ImageBatch(x0, [3, 8, 2, 5, 9]), levels=None, count=count)
        alone = gathered(
            Terms,
            [
                bound_of(denoiser, ImageBatch(x0[k : k + 1], [i]), levels=None, count=count)
                for k, i in enumerate([3, 8, 2, 5, 9])
            ],
            5,
        )
        assert torch.equal(together.t, alone.t)
        assert torch.allclose(together.total, alone.total, rtol=1e-12)


@pytest.mark.parametrize("T", [2, 3, 17, 1000])
def test_strata_cover_the_chain_once(T):
    for count in sorted({2, min(3, T), min(10, T), T - 1 if T > 2 else 2, T}):
        edges = strata(T, count)
        assert len(edges) == count + 1
        assert edges[0] == 1
        assert edges[1] == 2
        assert edges[-1] == T + 1
        assert bool((edges.diff() >= 1).all())
        times = draw_times(edges, generator(0))
        assert bool(((edges[:-1] <= times) & (times < edges[1:])).all())
    assert torch.equal(strata(T), torch.arange(1, T + 2))


@pytest.mark.parametrize("count", [1, 51])
def test_too_few_or_too_many_timesteps_are_refused(count):
    with pytest.raises(UndiffuseError, match="between 2 and 50"):
        strata(50, count)
