"""The ink obeys the equation that stands above it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from undiffuse.errors import UndiffuseError
from undiffuse.visualization.brownian import Water, walk
from undiffuse.visualization.brownian_render import ink_frames

WATERS = [
    Water(particles=20_000, diffusivity=0.5, radius=0.4),
    Water(particles=20_000, diffusivity=1.0, radius=0.6, centre=1.5, theta=1.0, seed=5),
]
TIMES = np.array([0.0, 0.05, 0.3, 1.1, 2.0])


@pytest.mark.parametrize("water", WATERS)
def test_mean_and_variance_are_the_closed_forms_within_statistical_error(water: Water) -> None:
    n = water.particles
    for t, places in zip(TIMES.tolist(), walk(water, TIMES), strict=True):
        variance = water.variance(t)
        for axis, mean in enumerate((water.mean(t), 0.0)):
            assert abs(places[:, axis].mean() - mean) < 4.5 * math.sqrt(variance / n)
            # The variance of a sample variance is at most 2 v^2 / n here: no distribution in play has heavier tails.
            assert abs(places[:, axis].var() - variance) < 4.5 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("water", WATERS)
@pytest.mark.parametrize("t", [0.0, 0.01, 0.3, 2.0])
def test_the_density_has_mass_one_and_the_stated_mean_and_variance(water: Water, t: float) -> None:
    x = np.linspace(-8, 8, 20_001)
    p = water.density(x, t)
    assert np.trapezoid(p, x) == pytest.approx(1, abs=1e-4)
    assert np.trapezoid(p * x, x) == pytest.approx(water.mean(t), abs=1e-4)
    assert np.trapezoid(p * (x - water.mean(t)) ** 2, x) == pytest.approx(water.variance(t), abs=1e-4)


@pytest.mark.parametrize("water", WATERS)
def test_the_histogram_follows_the_density(water: Water) -> None:
    *_, places = walk(water, TIMES)
    edges = np.linspace(-2, 2, 21)
    counts, _ = np.histogram(places[:, 0], edges)
    fine = [np.linspace(a, b, 101) for a, b in pairwise(edges)]
    expected = water.particles * np.array([np.trapezoid(water.density(x, TIMES[-1]), x) for x in fine])
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 20 + 5 * math.sqrt(2 * 20)


def test_the_cloud_of_a_small_drop_becomes_the_heat_kernel() -> None:
    water = Water(radius=1e-3, diffusivity=0.5)
    x = np.linspace(-3, 3, 7)
    assert np.allclose(water.density(x, 1.0), np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), atol=1e-6)


def test_the_restoring_force_keeps_the_variance_at_d_over_theta() -> None:
    water = Water(diffusivity=3.0, theta=2.0)
    assert water.variance(50.0) == pytest.approx(1.5)
    weak = Water(theta=1e-9)
    assert weak.variance(1.0) == pytest.approx(Water().variance(1.0), rel=1e-8)


def test_the_same_seed_moves_the_same_way() -> None:
    first, second, other = (list(walk(Water(particles=10, seed=s), TIMES)) for s in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_frames_show_the_drop_dissolve() -> None:
    frames = list(ink_frames(Water(particles=500), 6))
    assert len(frames) == 6
    middle = [np.asarray(frame.image.convert("L"), dtype=float)[190:210, 230:250].mean() for frame in frames]
    assert middle[0] < middle[-1]  # ink is dark


@pytest.mark.parametrize("wrong", [{"particles": 0}, {"diffusivity": 0.0}, {"radius": -1.0}, {"theta": -0.1}])
def test_water_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UndiffuseError, match="Ink in water needs"):
        Water(**wrong)  # type: ignore[arg-type]
