"""Profiles have the widths they are called by, overlap as their integrals do, and combine to what is asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undiffuse.errors import UndiffuseError
from undiffuse.training.optim.power_ema import WIDEST, Profile, combine, exponent, overlap

widths = st.floats(0.005, WIDEST)


def relative_width(gamma):
    """The standard deviation of i / t under the profile of this exponent."""
    return ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5


@given(widths)
def test_the_exponent_of_a_width_has_that_width(std):
    assert relative_width(exponent(std)) == pytest.approx(std, rel=1e-9)


def test_known_exponents():
    # By hand: gamma = 0 is a uniform law, std sqrt(1/12); gamma = 1 a triangle, std sqrt(1/18).
    assert exponent(1 / 18**0.5) == pytest.approx(1)
    assert relative_width(0) == pytest.approx(1 / 12**0.5)
    # Karras et al. 2024 give 6.94 and 16.97 for 0.10 and 0.05.
    assert exponent(0.10) == pytest.approx(6.94, abs=5e-3)
    assert exponent(0.05) == pytest.approx(16.97, abs=5e-3)


def density(profile, times):
    gamma = exponent(profile.std)
    inside = (gamma + 1) * (times / profile.step) ** gamma / profile.step
    return np.where(times <= profile.step, inside, 0)


@pytest.mark.parametrize(
    ("a", "b"), [(Profile(70, 0.1), Profile(100, 0.05)), (Profile(90, 0.28), Profile(30, 0.02)), (Profile(9, 0.2),) * 2]
)
def test_the_overlap_is_the_integral_of_the_product(a, b):
    edges = np.linspace(0, 100, 1_000_001)
    middle = (edges[1:] + edges[:-1]) / 2
    assert overlap(a, b) == pytest.approx((density(a, middle) * density(b, middle)).sum() * 1e-4, rel=1e-4)


COPIES = [Profile(step, std) for step in range(100, 3300, 100) for std in (0.05, 0.1)]


def test_a_copy_is_made_of_itself():
    weights, mismatch = combine(COPIES, COPIES[40])
    assert weights[40] == pytest.approx(1, abs=1e-3)
    assert np.abs(np.delete(weights, 40)).max() < 1e-3
    assert mismatch < 1e-5


@pytest.mark.parametrize("std", [0.03, 0.07, 0.12, 0.2])
def test_other_widths_are_near_and_their_weights_add_up_to_one(std):
    wanted = Profile(3200, std)
    weights, mismatch = combine(COPIES, wanted)
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    edges = np.linspace(0, 3200, 64_001)
    middle = (edges[1:] + edges[:-1]) / 2
    made = sum(weight * density(copy, middle) for weight, copy in zip(weights, COPIES, strict=True))
    exact = density(wanted, middle)
    assert mismatch == pytest.approx(np.linalg.norm(made - exact) / np.linalg.norm(exact), rel=0.05, abs=1e-4)
    assert mismatch < 0.03


def test_a_narrower_average_than_copies_are_apart_is_said_to_be_poor():
    assert combine(COPIES[:4], Profile(200, 0.01))[1] > 0.3


@pytest.mark.parametrize("std", [0, -0.1, 0.3, float("nan")])
def test_widths_that_there_cannot_be_are_a_sentence(std):
    with pytest.raises(UndiffuseError, match=r"more than 0 and at most 0\.28"):
        exponent(std)


def test_nothing_is_made_of_no_copies():
    with pytest.raises(UndiffuseError, match="got none"):
        combine([], Profile(10, 0.1))
