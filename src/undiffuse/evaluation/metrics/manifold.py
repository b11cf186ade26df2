"""Fidelity apart from variety: balls around each image stand for the manifold of a set.

A Frechet distance cannot tell a model that makes a few perfect images from one that makes all kinds of poor ones.
Here each set is covered with balls that reach to the k-th nearest image of the same set, and it is counted which images
of the other set lie in them.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from undiffuse.evaluation.metrics.nearest_neighbors import balls_around, nearest, neighbor_radius


def precision_recall(
    real: Float[Tensor, "n dimensions"], fake: Float[Tensor, "m dimensions"], k: int = 3
) -> tuple[float, float]:
    """Shares of fake images within the real manifold, and of real images within the fake one; each in [0, 1].

    precision = 1/m sum_j 1[fake_j in some B(real_i, r_k(real_i))]
    recall    = 1/n sum_i 1[real_i in some B(fake_j, r_k(fake_j))]

    with r_k the distance to the k-th nearest other image of the same set (Kynkäänniemi et al. 2019, eq. 1-2,
    https://arxiv.org/abs/1904.06991). Both grow with k and fall with the dimension; an outlier among the real images
    has a huge ball that flatters the precision. Use equally many real and fake images.

    Args:
        real, fake: features, more than k rows each.
        k: neighbours, 1 or more; 3 in the paper.

    Raises:
        UndiffuseError: too few rows for k, NaN or infinite values, or the numbers of dimensions differ.
    """
    precision = _share(balls_around(fake, real, neighbor_radius(real, k)) > 0)
    recall = _share(balls_around(real, fake, neighbor_radius(fake, k)) > 0)
    return precision, recall


def density_coverage(
    real: Float[Tensor, "n dimensions"], fake: Float[Tensor, "m dimensions"], k: int = 5
) -> tuple[float, float]:
    """Density, how crowded the real balls are with fake images, and coverage, the share of them that holds any.

    density  = 1/(k m) sum_j sum_i 1[fake_j in B(real_i, r_k(real_i))]      in [0, n/k]
    coverage = 1/n sum_i 1[some fake_j in B(real_i, r_k(real_i))]           in [0, 1]

    (Naeem et al. 2020, section 3, https://arxiv.org/abs/2002.09797). Only the real manifold is used, so outliers among
    the fake ones do no harm, and density counts balls, so that those among the real ones do little. Between two sets
    of one distribution their expectations are known and do not depend on it: 1, and
    1 - prod_{j=1..k} (n - j) / (n + m - j).

    Args:
        real, fake: features, more than k real rows and one fake row or more.
        k: neighbours, 1 or more; 5 in the paper.

    Raises:
        UndiffuseError: too few rows for k, NaN or infinite values, or the numbers of dimensions differ.
    """
    radii = neighbor_radius(real, k)
    density = balls_around(fake, real, radii).sum().item() / (k * len(fake))
    coverage = _share(nearest(real, fake, 1)[0][:, 0] <= radii)
    return density, coverage


def _share(true: Tensor) -> float:
    return true.double().mean().item()
