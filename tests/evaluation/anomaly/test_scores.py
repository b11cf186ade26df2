from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.anomaly.scores import (
    FINE,
    Features,
    ReconstructionSettings,
    Standard,
    error_maps,
    log_errors,
    reconstruct,
)
from undiffuse.evaluation.images import ImageBatch

CHAIN = schedules.cosine(200)
SHAPE = (1, 4, 4)
LOOK = ReconstructionSettings(fine=(4.0,), middle=(0.0, -1.0), draws=3)


def normal_images(count: int, std: float = 0.5, seed: int = 0) -> torch.Tensor:
    return std * torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(maps: torch.Tensor) -> Features:
    return Features(log_errors(maps))


def test_errors_are_those_that_the_exact_denoiser_must_make():
    """sigma^2 v / (alpha^2 v + sigma^2) for data of variance v."""
    x0 = normal_images(300)
    maps = error_maps(gaussian_denoiser(CHAIN, SHAPE), ImageBatch(x0, range(300)), LOOK)
    assert maps.shape == (300, 3, 4, 4)
    for k, level in enumerate(LOOK.levels):
        alpha, sigma = CHAIN(CHAIN.inverse_log_snr(torch.tensor(level, dtype=torch.float64)))
        exact = float(sigma**2 * 0.25 / (alpha**2 * 0.25 + sigma**2))
        assert float(maps[:, k].mean()) == pytest.approx(exact, rel=0.05)


def test_the_error_stands_where_the_image_is_strange():
    known = torch.zeros(1, *SHAPE, dtype=torch.float64)
    odd = known.clone()
    odd[0, 0, 2, 3] = 1.0
    maps = error_maps(MixtureDenoiser(CHAIN, known), ImageBatch(odd, [0]), LOOK)
    assert torch.equal(maps[0, 0] > 0.5, odd[0, 0] > 0.5)
    assert float(maps.sum()) == pytest.approx(3, rel=1e-6)  # one pixel is wrong by 1 at each of three levels


def test_an_image_does_not_depend_on_its_batch():
    x0 = normal_images(3)
    denoiser = gaussian_denoiser(CHAIN, SHAPE)
    together = error_maps(denoiser, ImageBatch(x0, [5, 0, 9]), LOOK)
    for k, index in enumerate([5, 0, 9]):
        alone = error_maps(denoiser, ImageBatch(x0[k : k + 1], [index]), LOOK)
        assert torch.allclose(together[k], alone[0], rtol=1e-12)


def test_a_reconstruction_of_several_steps_ends_on_the_data():
    """The only image of the data set is where every walk ends; and the number of evaluations is the number of steps."""

    class Counting:
        schedule = CHAIN
        calls = 0

        def __call__(self, x_t, t, **conditions):
            self.calls += 1
            return MixtureDenoiser(CHAIN, image)(x_t, t)

    image = normal_images(1)
    for steps in (1, 4):
        denoiser = Counting()
        rebuilt = reconstruct(denoiser, image + 0.3, torch.randn(image.shape).double(), -1.0, steps)
        assert torch.allclose(rebuilt, image, atol=1e-9)
        assert denoiser.calls == steps


def test_many_steps_walk_the_flow_where_one_jumps_to_the_mean():
    """On a Gaussian the flow's end is x_t scaled by std / its own std; the x0 prediction is shrunk further."""
    x0, level = normal_images(50), -1.0
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    alpha, sigma = CHAIN(CHAIN.inverse_log_snr(torch.tensor(level, dtype=torch.float64)))
    end = (alpha * x0 + sigma * eps) * 0.5 / (alpha**2 * 0.25 + sigma**2).sqrt()
    walked = reconstruct(gaussian_denoiser(CHAIN, SHAPE), x0, eps, level, 100)
    assert torch.allclose(walked, end, atol=0.03)
    assert float(reconstruct(gaussian_denoiser(CHAIN, SHAPE), x0, eps, level).std()) < 0.8 * float(end.std())


def test_scores_are_standard_on_what_is_normal():
    normal = features(error_maps(gaussian_denoiser(CHAIN, SHAPE), ImageBatch(normal_images(100), range(100)), LOOK))
    dice = np.random.default_rng(0)
    normal = replace(normal, bound=dice.normal(3, 2, 100), ode=dice.normal(size=100))
    scores = Standard(normal).scores(normal)
    assert list(scores) == ["bound", "ode", "reconstruction", "structure", "typicality", "ensemble"]
    for name in ("bound", "ode", "reconstruction", "structure"):
        assert scores[name].mean() == pytest.approx(0, abs=1e-9)
        assert scores[name].std() == pytest.approx(1)
    assert (scores["typicality"] ** 2).mean() == pytest.approx(1)
    few = normal.take(np.arange(5))
    assert np.allclose(Standard(normal).scores(few)["structure"], scores["structure"][:5])


def levels_of(fine: np.ndarray, middle: np.ndarray) -> Features:
    return Features(np.column_stack([fine, middle, middle]))


def test_structure_is_what_fine_detail_does_not_explain():
    """Intricate images are hard at every level; strange ones only in the middle. Far away nothing is explained."""
    dice = np.random.default_rng(0)
    intricate = dice.normal(size=500)
    standard = Standard(levels_of(intricate, 0.8 * intricate + 0.1 * dice.normal(size=500)))
    judged = levels_of(np.array([0.0, 2.0, 0.0, -2.0, 50.0]), np.array([0.0, 1.6, 1.0, 0.0, 40.0]))
    scores = standard.scores(judged)
    plain, busy, strange, simple_but_strange, noise = scores["structure"]
    assert abs(plain) < 0.5
    assert abs(busy) < 0.8
    assert strange > 6
    assert simple_but_strange > 6
    assert noise > 100
    ordinary = [0, 2, 3]  # their detail is in the normal range, or just outside
    assert np.allclose(scores["ensemble"][ordinary], scores["structure"][ordinary], atol=1.5)
    assert scores["reconstruction"][1] > scores["reconstruction"][2]  # which is what structure mends


def test_an_image_too_simple_is_strange_though_nothing_of_it_must_be_guessed():
    dice = np.random.default_rng(0)
    detail = dice.normal(size=500)
    standard = Standard(levels_of(detail, detail + 0.1 * dice.normal(size=500)))
    scores = standard.scores(levels_of(np.array([-4.0, 0.0]), np.array([-4.5, 0.0])))
    assert scores["reconstruction"][0] < -3
    assert scores["structure"][0] < 0
    assert scores["typicality"].tolist() == pytest.approx([4, 0], abs=0.3)
    assert standard.scores(levels_of(np.array([-4.0]), np.array([-2.5])))["ensemble"][0] > 4
    assert scores["ensemble"][1] < 1


def test_eps_errors_would_say_nothing_more():
    """The claim of the module's first lines, on one level."""
    x0 = normal_images(40)
    denoiser = gaussian_denoiser(CHAIN, SHAPE)
    t = CHAIN.inverse_log_snr(torch.tensor(-0.5, dtype=torch.float64))
    alpha, sigma = CHAIN(t)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prediction = denoiser(alpha * x0 + sigma * eps, t)
    x0_error = (prediction.x0 - x0).square().flatten(1).mean(1).log()
    eps_error = (prediction.eps - eps).square().flatten(1).mean(1).log()
    assert torch.allclose(eps_error - x0_error, 2 * (alpha / sigma).log().expand(40))


def test_an_exact_reconstruction_has_a_finite_score():
    assert math.isfinite(log_errors(torch.zeros(1, 1, 2, 2))[0, 0])


def test_too_few_normal_images_are_refused():
    with pytest.raises(UndiffuseError, match="at least 8 normal images"):
        Standard(Features(np.zeros((7, 3))))


def test_the_default_look_counts_its_evaluations():
    assert ReconstructionSettings().evaluations == 32
    assert len(FINE) == 1
