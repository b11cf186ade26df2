from __future__ import annotations

import math

import pytest
import torch

from undiffuse.diffusion.linear_operators import Blur, Downsample, Gray, Mask
from undiffuse.errors import UndiffuseError

SHAPE = (3, 8, 12)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


KNOWN = (draw(8, 12, seed=7) > 0).double()
OPERATORS = {
    "mask": Mask(KNOWN),
    "downsample": Downsample(4),
    "grey": Gray(),
    "mean of channels": Gray((1 / 3,) * 3),
    "blur": Blur.gaussian(0.7),
    "wide blur": Blur.gaussian(3.0),
    "sharpen": Blur((1.5, -0.25)),
}


def matrix(operator, shape=SHAPE):
    """A as a matrix, one column an element of x."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return operator.A(units).flatten(1).T


@pytest.mark.parametrize("name", OPERATORS)
def test_the_adjoint_is_the_adjoint(name):
    operator = OPERATORS[name]
    x = draw(2, *SHAPE)
    y = draw(*operator.A(x).shape, seed=1)
    torch.testing.assert_close((operator.A(x) * y).sum(), (x * operator.At(y)).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_pseudo_inverse_is_that_of_the_matrix(name):
    operator = OPERATORS[name]
    x = draw(2, *SHAPE)
    y = operator.A(x)
    cutoff = operator.cutoff if isinstance(operator, Blur) else 1e-9
    exact = torch.linalg.pinv(matrix(operator), atol=cutoff, rtol=0) @ y.flatten(1).T
    torch.testing.assert_close(operator.pinv(y).flatten(1).T, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "wide blur"])
def test_a_pinv_a_is_a(name):
    operator = OPERATORS[name]
    y = operator.A(draw(2, *SHAPE))
    torch.testing.assert_close(operator.A(operator.pinv(y)), y, rtol=1e-11, atol=1e-11)


def test_what_a_wide_blur_destroys_is_missing_from_a_pinv_a_and_no_more():
    operator = OPERATORS["wide blur"]
    x = draw(2, *SHAPE)
    lost = operator.A(operator.pinv(operator.A(x))) - operator.A(x)
    assert 0 < lost.norm() < operator.cutoff * x.norm()


@pytest.mark.parametrize("name", OPERATORS)
def test_singular_values_are_those_of_the_matrix(name):
    operator = OPERATORS[name]
    exact = torch.linalg.svdvals(matrix(operator))
    found = operator.singular_values(SHAPE).double().sort(descending=True).values
    torch.testing.assert_close(found, exact[: len(found)], rtol=1e-6, atol=1e-7)
    assert exact[len(found) :].abs().max() < 1e-9 if len(found) < len(exact) else True


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("damping", [0.3, [0.3, 2.0]])
def test_the_resolvent_solves_the_damped_equation(name, damping):
    operator = OPERATORS[name]
    y = operator.A(draw(2, *SHAPE))
    damping = torch.tensor(damping, dtype=torch.float64)
    z = operator.resolvent(y, damping)
    back = operator.A(operator.At(z)) + damping.reshape(-1, 1, 1, 1) * z
    torch.testing.assert_close(back, y, rtol=1e-10, atol=1e-10)


def test_without_damping_the_resolvent_gives_the_pseudo_inverse():
    for operator in OPERATORS.values():
        y = operator.A(draw(2, *SHAPE))
        torch.testing.assert_close(
            operator.At(operator.resolvent(y, torch.tensor(0.0))), operator.pinv(y), rtol=1e-9, atol=1e-9
        )


def test_downsampling_is_average_pooling_in_any_dimension():
    x = draw(2, 3, 8, 12)
    torch.testing.assert_close(Downsample(4).A(x), torch.nn.functional.avg_pool2d(x, 4), rtol=1e-14, atol=1e-14)
    signal = draw(2, 1, 12)
    torch.testing.assert_close(Downsample(3).A(signal), torch.nn.functional.avg_pool1d(signal, 3))


def test_a_blur_is_a_convolution_of_the_mirrored_picture():
    blur, x = Blur.gaussian(1.2), draw(1, 1, 9, 11)
    reach = len(blur.kernel) - 1
    kernel = torch.tensor([*blur.kernel[:0:-1], *blur.kernel], dtype=torch.float64)
    mirrored = torch.cat([x.flip(2), x, x.flip(2)], 2)[:, :, 9 - reach : 18 + reach]
    mirrored = torch.cat([mirrored.flip(3), mirrored, mirrored.flip(3)], 3)[..., 11 - reach : 22 + reach]
    exact = torch.nn.functional.conv2d(mirrored, (kernel[:, None] * kernel)[None, None])
    torch.testing.assert_close(blur.A(x), exact, rtol=1e-12, atol=1e-12)


def test_brightness_is_kept_by_grey_downsampling_and_blur():
    flat = torch.full((1, *SHAPE), 0.3, dtype=torch.float64)
    for operator in (Gray(), Downsample(4), Blur.gaussian(1.5)):
        y = operator.A(flat)
        torch.testing.assert_close(y, torch.full_like(y, 0.3))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Downsample(0), "at least 1"),
        (lambda: Downsample(5).A(draw(1, *SHAPE)), "multiples of the factor 5"),
        (lambda: Gray().A(draw(1, 1, 8, 8)), "have 1"),
        (lambda: Blur.gaussian(0.0), "above 0"),
        (lambda: Blur.gaussian(1e30), "up to 1000 pixels; it is 1e.30"),
        (lambda: Mask(torch.full((8, 12), 0.5)), "zeros and ones"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(make, said):
    with pytest.raises(UndiffuseError, match=said):
        make()
