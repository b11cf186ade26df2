"""The kernel distance, KID: a squared maximum mean discrepancy that is unbiased at any number of samples.

Where a Frechet distance compares means and covariances, this compares all moments up to the third, and its expectation
does not depend on how many samples it saw (Binkowski et al. 2018, https://arxiv.org/abs/1801.01401, section 4).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.validation import as_float64, same_space
from undiffuse.runtime.random_streams import generator


def polynomial_kernel(x: Float[Tensor, "n dimensions"], y: Float[Tensor, "m dimensions"]) -> Float[Tensor, "n m"]:
    """k(x, y) = (x . y / D + 1)^3 (Binkowski et al. 2018, section 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Float[Tensor, "n dimensions"], y: Float[Tensor, "m dimensions"]) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under `polynomial_kernel`.

    MMD^2 = 1/(n(n-1)) sum_{i != j} k(x_i, x_j) + 1/(m(m-1)) sum_{i != j} k(y_i, y_j) - 2/(nm) sum_{i, j} k(x_i, y_j)

    (Gretton et al. 2012, eq. 3, https://jmlr.org/papers/v13/gretton12a.html). Being unbiased, it falls below 0 as often
    as not where x and y have one distribution.

    Args:
        x, y: features, two rows or more each.

    Raises:
        UndiffuseError: too few rows, NaN or infinite values, or the numbers of dimensions differ.
    """
    x, y = as_float64(x, least=2), as_float64(y, least=2)
    same_space(x, y)
    return float(_within(x) + _within(y) - 2 * polynomial_kernel(x, y).mean())


def _within(x: Float[Tensor, "n dimensions"]) -> Float[Tensor, ""]:
    """Mean of k(x_i, x_j) over pairs i != j."""
    kernel = polynomial_kernel(x, x)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def kernel_distance(
    x: Float[Tensor, "n dimensions"],
    y: Float[Tensor, "m dimensions"],
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> Estimate:
    """KID: mean and standard deviation of `squared_mmd` over random subsets of both sets.

    The error is what the literature reports beside KID: the standard deviation over subsets, which is how far the KID
    of ``subset_size`` images would stray. The mean over many subsets of large sets strays less, but not as little as
    that by ``sqrt(subsets)``, because subsets share images. A subset holds at most half of a set: were it all of it,
    the subsets would be equal, and their spread of 0 a lie. Subsets of just half of a set spread as the estimate from
    the whole set does over other sets (the delete-half jackknife), or more.

    Args:
        x, y: features of the two sets, four rows or more each.
        subsets: number of those that are drawn, without replacement within each.
        subset_size: images in each; half of the smaller set where that is less.

    Raises:
        UndiffuseError: too few rows, NaN or infinite values, or the numbers of dimensions differ.
    """
    if subsets < 2 or subset_size < 2:
        raise UndiffuseError(
            f"KID takes at least 2 subsets of 2 images or more, and {subsets} of {subset_size} were asked for"
        )
    x, y = as_float64(x, least=4), as_float64(y, least=4)
    same_space(x, y)
    size = min(subset_size, len(x) // 2, len(y) // 2)
    stream = generator(seed, "kernel-distance")
    values = []
    for _ in range(subsets):
        of_x, of_y = (torch.randperm(len(a), generator=stream)[:size].to(a.device) for a in (x, y))
        values.append(squared_mmd(x[of_x], y[of_y]))
    distances = torch.tensor(values, dtype=torch.float64)
    return Estimate(float(distances.mean()), float(distances.std(correction=0)))
