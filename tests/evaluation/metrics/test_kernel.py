"""The kernel distance against torchmetrics, closed forms and its own promises: unbiased, with an honest error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.kernel import kernel_distance, squared_mmd


def normal(n: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_agrees_with_torchmetrics() -> None:
    x, y = normal(60, 10, seed=1), 1.2 * normal(60, 10, seed=2) + 0.3
    assert squared_mmd(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_it_agrees_with_torchmetrics_end_to_end() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).double() / 255

    x, y = (torch.randint(high, (50, 3, 2, 2), generator=torch.Generator().manual_seed(high)) for high in (200, 256))
    theirs = KernelInceptionDistance(feature=Flat(), subsets=2, subset_size=50)
    theirs.update(x.byte(), real=True)
    theirs.update(y.byte(), real=False)
    mean, _ = theirs.compute()
    assert squared_mmd(x.flatten(1) / 255, y.flatten(1) / 255) == pytest.approx(float(mean), rel=1e-6)


def test_two_pairs_of_numbers_by_hand() -> None:
    # k(a, b) = (a b + 1)^3 in one dimension: x = {0, 1}, y = {1, 2}.
    # k(x0, x1) = 1; k(y0, y1) = 27; cross: 1, 1, 8, 27, mean 9.25.
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert squared_mmd(x, y) == 1 + 27 - 2 * 9.25


def test_it_estimates_the_gaps_between_three_moments_without_bias() -> None:
    # In one dimension the kernel is that of (1, sqrt 3 x, sqrt 3 x^2, x^3), so that MMD^2 = 3 (m1 - m1')^2 +
    # 3 (m2 - m2')^2 + (m3 - m3')^2. N(0, 1) has the moments 0, 1, 0, and N(1/2, 1) has 1/2, 5/4, 13/8.
    expected = 3 * 0.5**2 + 3 * 0.25**2 + 1.625**2
    draws = np.array([squared_mmd(normal(8, 1, seed=2 * i), normal(5, 1, seed=2 * i + 1) + 0.5) for i in range(1500)])
    assert abs(draws.mean() - expected) < 4 * draws.std() / len(draws) ** 0.5


def test_its_expectation_between_equal_distributions_is_zero_at_any_size() -> None:
    for n in (4, 50):
        draws = np.array([squared_mmd(normal(n, 6, seed=2 * i), normal(n, 6, seed=2 * i + 1)) for i in range(300)])
        assert abs(draws.mean()) < 4 * draws.std() / len(draws) ** 0.5
        assert 0.2 < (draws < 0).mean() < 0.8


def test_equal_distributions_are_within_the_error_and_others_are_not() -> None:
    x = normal(600, 8, seed=1)
    same = kernel_distance(x, normal(500, 8, seed=2), subsets=40, subset_size=100)
    other = kernel_distance(x, normal(500, 8, seed=2) + 0.5, subsets=40, subset_size=100)
    assert abs(same.value) < 2 * same.error
    assert other.value > 4 * other.error


def test_many_subsets_average_to_the_estimate_from_whole_sets() -> None:
    x, y = normal(60, 4, seed=1), normal(60, 4, seed=2) + 0.4
    estimate = kernel_distance(x, y, subsets=1500, subset_size=20)
    assert abs(estimate.value - squared_mmd(x, y)) < 4 * estimate.error / 1500**0.5


def test_the_error_of_small_sets_is_how_far_other_sets_stray() -> None:
    # Subsets are halves here, though the default size would take all: the delete-half jackknife.
    values, errors = [], []
    for i in range(40):
        estimate = kernel_distance(normal(80, 3, seed=2 * i), normal(80, 3, seed=2 * i + 1) + 1.0, subsets=40)
        values.append(estimate.value)
        errors.append(estimate.error)
    assert 0.7 < np.mean(errors) / np.std(values) < 1.6


def test_the_seed_decides_the_subsets_and_nothing_else_does() -> None:
    x, y = normal(50, 3, seed=1), normal(40, 3, seed=2)
    torch.manual_seed(1)
    one = kernel_distance(x, y, subsets=5, seed=3)
    torch.manual_seed(2)
    assert kernel_distance(x, y, subsets=5, seed=3) == one
    assert kernel_distance(x, y, subsets=5, seed=4) != one


def test_float32_features_are_computed_in_float64() -> None:
    x, y = (normal(40, 3, seed=i).float() + 50 for i in (1, 2))
    assert kernel_distance(x, y, subsets=5) == kernel_distance(x.double(), y.double(), subsets=5)


def test_bad_input_is_refused() -> None:
    x = normal(10, 3)
    with pytest.raises(UndiffuseError, match="3 and 2 dimensions"):
        kernel_distance(x, normal(10, 2))
    with pytest.raises(UndiffuseError, match="at least 4 images, and there are 3"):
        kernel_distance(x, x[:3])
    with pytest.raises(UndiffuseError, match="at least 2 subsets"):
        kernel_distance(x, x, subsets=1)
    with pytest.raises(UndiffuseError, match="1 of 10 rows"):
        kernel_distance(x, x.index_fill(0, torch.tensor([0]), torch.inf))
