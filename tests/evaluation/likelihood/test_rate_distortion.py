from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.likelihood.bound import bound_of
from undiffuse.evaluation.likelihood.rate_distortion import rate_distortion
from undiffuse.evaluation.likelihood.units import Units

CHAIN = schedules.cosine(100)
UNITS = Units(256, 127.5)


def pixels() -> torch.Tensor:
    x0 = 0.25 * torch.randn(40, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x0 * 127.5 + 127.5).round() / 127.5 - 1


def curve_of(count: int | None):
    x0 = pixels()
    terms = bound_of(
        gaussian_denoiser(CHAIN, (200,), std=0.25), ImageBatch(x0, range(40)), variance="large", count=count
    )
    return rate_distortion(terms, UNITS), terms


def test_it_runs_from_noise_to_the_whole_bound():
    curve, terms = curve_of(None)
    assert len(curve.t) == 101
    assert float(curve.t[0]) == 100
    assert float(curve.rate[0]) == pytest.approx(float(terms.prior.mean()) / math.log(2))
    assert float(curve.rate[-1]) == pytest.approx(float(terms.total.mean()) / math.log(2))
    assert float(curve.distortion[-1]) == 0
    assert bool((curve.rate.diff() >= 0).all())


def test_distortion_is_what_the_exact_denoiser_cannot_know():
    """RMSE at t: 127.5 sqrt(sigma^2 v / (alpha^2 v + sigma^2)) for data of variance v = 1/16."""
    curve, _ = curve_of(None)
    alpha, sigma = CHAIN(curve.t[:-1])
    exact = 127.5 * (sigma**2 / 16 / (alpha**2 / 16 + sigma**2)).sqrt()
    assert torch.allclose(curve.distortion[:-1], exact, rtol=0.05)


def test_rate_lies_above_shannons_and_near_it():
    """Half a log of (variance / distortion^2) is what any code needs at least, and Gaussian steps nearly reach it."""
    curve, _ = curve_of(None)
    middle = (curve.distortion > 3) & (curve.distortion < 30)
    needed = torch.log2(127.5 * pixels().std() / curve.distortion[middle])
    assert bool((curve.rate[middle] > needed - 0.04).all())
    assert bool((curve.rate[middle] < needed + 0.3).all())


def test_a_sample_of_the_timesteps_lies_on_the_curve():
    whole, _ = curve_of(None)
    some, _ = curve_of(25)
    there = np.interp(some.rate, whole.rate, whole.distortion)
    assert np.allclose(there, some.distortion, rtol=0.1, atol=0.3)


def test_table_and_plot():
    curve, _ = curve_of(10)
    lines = curve.csv().splitlines()
    assert lines[0] == "t,rate (bits/dim),distortion (RMSE)"
    assert len(lines) == 12
    assert lines[-1].startswith("0,")
    assert lines[-1].endswith(",0")
    root = ElementTree.fromstring(curve.svg())
    assert root.tag.endswith("svg")
    assert "rate, bits/dim" in "".join(root.itertext())
