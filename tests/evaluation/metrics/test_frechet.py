"""The Frechet distance against closed forms, 50 digits of mpmath, scipy and torchmetrics."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.frechet import Gaussian, frechet_distance
from undiffuse.evaluation.metrics.moments import Moments


def normal(n: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def given_moments(mean: Tensor, covariance: Tensor, count: int = 1_000_001) -> Moments:
    return Moments(count, mean, covariance * (count - 1))


def rotation(dimensions: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(dimensions, dimensions, seed))[0]


def exact(x: Tensor, y: Tensor) -> float:
    """From features, in 50 digits: the roots of the eigenvalues of A B^T B A^T, n x n, for centred rows A and B."""
    with mpmath.workdps(50):
        A, B = (mpmath.matrix(z.tolist()) for z in (x, y))
        means = []
        for Z in (A, B):
            means.append([mpmath.fsum(Z[:, j]) / Z.rows for j in range(Z.cols)])
            for i in range(Z.rows):
                for j in range(Z.cols):
                    Z[i, j] = (Z[i, j] - means[-1][j]) / mpmath.sqrt(Z.rows - 1)
        cross = A * B.T
        eigenvalues = mpmath.eigsy(cross * cross.T, eigvals_only=True)
        overlap = mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in eigenvalues)
        traces = mpmath.fsum(value**2 for value in A) + mpmath.fsum(value**2 for value in B)
        return float(mpmath.fsum((a - b) ** 2 for a, b in zip(*means, strict=True)) + traces - 2 * overlap)


def test_it_is_the_closed_form_of_diagonal_gaussians() -> None:
    # Commuting covariances: |m_a - m_b|^2 + sum (s_a - s_b)^2, over five decades of standard deviations.
    s_a, s_b = torch.logspace(0, -5, 30, dtype=torch.float64), torch.logspace(-4, 1, 30, dtype=torch.float64)
    m_a, m_b = normal(2, 30)
    expected = float((m_a - m_b).square().sum() + (s_a - s_b).square().sum())
    distance = frechet_distance(given_moments(m_a, torch.diag(s_a**2)), given_moments(m_b, torch.diag(s_b**2)))
    assert distance == pytest.approx(expected, rel=1e-12)


def test_it_is_the_closed_form_of_full_covariances_that_commute() -> None:
    Q = rotation(20, 1)
    s_a, s_b = normal(2, 20, seed=2).abs() + 0.1
    a = given_moments(torch.zeros(20, dtype=torch.float64), Q @ torch.diag(s_a**2) @ Q.T)
    b = given_moments(torch.ones(20, dtype=torch.float64), Q @ torch.diag(s_b**2) @ Q.T)
    assert frechet_distance(a, b) == pytest.approx(20 + float((s_a - s_b).square().sum()), rel=1e-12)


def test_it_is_the_cost_of_a_linear_optimal_transport() -> None:
    # x -> T x with T symmetric and positive is optimal, so the distance is E |x - T x|^2 = tr (1 - T) C (1 - T), with
    # covariances that do not commute.
    D = 15
    root, half = normal(D, D, seed=3), normal(D, D, seed=4)
    C, T = root @ root.T / D, half @ half.T / D + 0.1 * torch.eye(D, dtype=torch.float64)
    mean = torch.zeros(D, dtype=torch.float64)
    gap = torch.eye(D, dtype=torch.float64) - T
    distance = frechet_distance(given_moments(mean, C), given_moments(mean, T @ C @ T))
    assert distance == pytest.approx(float((gap @ C @ gap).trace()), rel=1e-12)


def test_it_is_the_closed_form_in_two_dimensions() -> None:
    # tr M^{1/2} of a 2 x 2 matrix is sqrt(tr M + 2 sqrt det M).
    C_a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    C_b = torch.tensor([[1.0, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    M = C_a @ C_b
    root = math.sqrt(M.trace() + 2 * math.sqrt(torch.linalg.det(M)))
    mean = torch.zeros(2, dtype=torch.float64)
    expected = float(C_a.trace() + C_b.trace()) - 2 * root
    assert frechet_distance(given_moments(mean, C_a), given_moments(mean, C_b)) == pytest.approx(expected, rel=1e-13)


def test_it_agrees_with_scipy_and_torchmetrics() -> None:
    scales = torch.logspace(0, -2, 40, dtype=torch.float64)
    a, b = Moments.of(normal(400, 40, seed=1) * scales), Moments.of(1.1 * normal(300, 40, seed=2) * scales + 0.1)
    distance = frechet_distance(a, b)
    root = np.trace(scipy.linalg.sqrtm((a.covariance @ b.covariance).numpy())).real
    scipys = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()) - 2 * root
    assert distance == pytest.approx(scipys, rel=1e-10)
    torchmetrics = _compute_fid(a.mean, a.covariance, b.mean, b.covariance)
    assert distance == pytest.approx(float(torchmetrics), rel=1e-10)


@pytest.mark.parametrize(("n", "m", "dimensions"), [(4, 5, 9), (3, 12, 8), (12, 4, 8), (2, 2, 6)])
def test_fewer_images_than_dimensions_are_exact(n: int, m: int, dimensions: int) -> None:
    x, y = normal(n, dimensions, seed=n), 1.3 * normal(m, dimensions, seed=100 + m) + 0.2
    expected = exact(x, y)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-9)
    assert Gaussian.fit(x).distance(Gaussian.fit(y)) == pytest.approx(expected, rel=1e-9)


def test_lines_in_space_overlap_by_the_cosine_between_them() -> None:
    # Rank one in 64 dimensions: tr (C_a C_b)^{1/2} = s_a s_b |u . v|.
    u, v = torch.nn.functional.normalize(normal(2, 64, seed=5), dim=1)
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64) * u  # standard deviation 1
    y = torch.tensor([[-2.0], [0.0], [2.0]], dtype=torch.float64) * v  # 2
    expected = 1 + 4 - 2 * 1 * 2 * abs(float(u @ v))
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-12)


def test_sets_in_spaces_at_right_angles_are_as_far_as_their_variances() -> None:
    x, y = torch.zeros(50, 20, dtype=torch.float64), torch.zeros(50, 20, dtype=torch.float64)
    x[:, :7], y[:, 9:] = normal(50, 7, seed=1), normal(50, 11, seed=2)
    Q = rotation(20, 3)
    a, b = Moments.of(x @ Q), Moments.of(y @ Q)
    expected = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 5, 31, 33, 200])
def test_a_scaled_set_is_as_far_as_its_scale_at_any_rank(n: int) -> None:
    # c x against x: (c - 1)^2 (|mean|^2 + tr C), through every rank up to full.
    x = normal(n, 32, seed=n) * torch.logspace(0, -3, 32, dtype=torch.float64) + 0.5
    a = Moments.of(x)
    expected = 0.01 * float(a.mean.square().sum() + a.covariance.trace())
    assert frechet_distance(a, Moments.of(1.1 * x)) == pytest.approx(expected, rel=1e-9)


def test_features_that_depend_on_others_or_never_change_do_no_harm() -> None:
    x = torch.cat([normal(500, 10, seed=6), torch.zeros(500, 1, dtype=torch.float64)], dim=1)
    y = 1.2 * torch.cat([normal(600, 10, seed=7), torch.zeros(600, 1, dtype=torch.float64)], dim=1)
    expected = frechet_distance(Moments.of(x[:, :10]), Moments.of(y[:, :10]))
    widened = torch.cat([torch.eye(11, dtype=torch.float64), torch.zeros(11, 5, dtype=torch.float64)], dim=1)
    Q = widened @ rotation(16, 8)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(Moments.of(x @ Q), Moments.of(y @ Q)) == pytest.approx(expected, rel=1e-10)


@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 2**32), st.floats(-4, 4))
def test_equal_sets_are_at_distance_zero_and_never_below(n: int, dimensions: int, seed: int, power: float) -> None:
    x = 10**power * (normal(n, dimensions, seed=seed) + 1)
    shuffled = x[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    a, b = Moments.of(x), Moments.of(shuffled)
    scale = float(a.covariance.trace())
    assert 0 <= frechet_distance(a, a) <= 1e-12 * scale
    assert 0 <= frechet_distance(a, b) <= 1e-8 * scale


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**32))
def test_it_is_symmetric_and_feels_no_motion_of_space(n: int, m: int, dimensions: int, seed: int) -> None:
    x, y = normal(n, dimensions, seed=seed), 1.5 * normal(m, dimensions, seed=seed + 1) + 0.3
    distance = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(Moments.of(y), Moments.of(x)) == pytest.approx(distance, rel=1e-9)
    Q = rotation(dimensions, seed + 2)
    moved = frechet_distance(Moments.of(x @ Q + 7), Moments.of(y @ Q + 7))
    assert moved == pytest.approx(distance, rel=1e-6)


def test_images_that_are_all_the_same_are_a_point() -> None:
    x = torch.full((5, 3), 0.1, dtype=torch.float64)
    y = torch.tensor([[0.1, 0.1, 1.1], [0.1, 0.1, 3.1]], dtype=torch.float64)
    assert frechet_distance(Moments.of(x), Moments.of(x)) == pytest.approx(0.0, abs=1e-15)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(4 + 2)


def test_rows_and_their_moments_are_one_gaussian() -> None:
    other = Gaussian.of(Moments.of(normal(100, 12, seed=9)))
    for n in (5, 12, 13, 50):
        x = 2 * normal(n, 12, seed=n)
        fitted, of_moments = Gaussian.fit(x), Gaussian.of(Moments.of(x))
        assert fitted.distance(other) == pytest.approx(of_moments.distance(other), rel=1e-10)
        assert torch.allclose(fitted.root.T @ fitted.root, Moments.of(x).covariance, rtol=0, atol=1e-12)


def test_bad_input_is_refused() -> None:
    a = Moments.of(normal(5, 3))
    with pytest.raises(UndiffuseError, match="3 and 4 dimensions"):
        frechet_distance(a, Moments.of(normal(5, 4)))
    with pytest.raises(UndiffuseError, match="at least 2 images"):
        frechet_distance(a, Moments.of(normal(1, 3)))
    with pytest.raises(UndiffuseError, match="at least 2 images"):
        Gaussian.fit(normal(1, 3))
    with pytest.raises(UndiffuseError, match="1 of 4 rows"):
        Gaussian.fit(torch.tensor([[0.0], [1.0], [2.0], [torch.nan]]))


@pytest.mark.parametrize(
    ("share", "accuracy"), [(1.0, 3e-14), (1e-2, 3e-14), (1e-4, 3e-14), (1e-10, 3e-11), (3e-16, 1e-7)]
)
def test_its_accuracy_is_what_is_said_of_it_down_to_variances_of_one_rounding(share: float, accuracy: float) -> None:
    axes, other = rotation(2, 5), torch.tensor([share, 1.0], dtype=torch.float64)
    for turn in (torch.eye(2, dtype=torch.float64), axes):
        a, b = (given_moments(torch.zeros(2).double(), turn @ v.diag() @ turn.T, 2) for v in (other, other.flip(0)))
        expected = 2 * (1 - math.sqrt(share)) ** 2
        assert abs(frechet_distance(a, b) - expected) <= accuracy * 2 * (1 + share)
