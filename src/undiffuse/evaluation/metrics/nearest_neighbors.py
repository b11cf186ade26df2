"""Nearest neighbours and balls around points, by brute force: exact, in float64 and in bounded memory.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y costs one matrix product, and loses what matters most: of two equal rows it leaves
some 1e-16 |x|^2, hence a distance of 1e-8 |x| where there is none. So the product only proposes. What is near is
measured again by differences, and duplicates are at distance 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.validation import as_float64, same_space

BUDGET = 2**22
"""Numbers in the largest temporary array: 32 MiB of float64, of which a handful are alive at a time."""
SPARE = 8
"""Candidates beyond k: rows that rounding of the product may have ranked wrongly."""


def nearest(
    x: Float[Tensor, "n dimensions"], y: Float[Tensor, "m dimensions"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """For each row of x its k nearest rows of y: Euclidean distances in float64, ascending, and their indices.

    Distances have full relative precision, and are exactly 0 for equal rows. The choice is exact up to rows whose
    distances agree to about 1e-8 of the features' spread; of equal distances the lower index comes first, among
    the k + 8 candidates. A row of x that is also in y is its own neighbour: take k + 1 to look at others.

    Args:
        x, y: features; any float dtype. Memory: both in float64, and some 150 MiB.
        k: neighbours, 1 to m.

    Raises:
        UndiffuseError: k out of range, no rows, NaN or infinite values, or the numbers of dimensions differ.
    """
    x, y = as_float64(x), as_float64(y)
    same_space(x, y)
    if not 1 <= k <= len(y):
        raise UndiffuseError(f"{k} nearest neighbours were asked for, of {len(y)} images; ask for 1 to {len(y)}")
    candidates = min(k + SPARE, len(y))
    distances, indices = [], []
    for rows, squares, _ in _squared_distances(x, y, numbers_per_row=candidates * x.shape[1]):
        proposed = squares.topk(candidates, largest=False).indices.sort().values
        measured = (x[rows, None] - y[proposed]).square().sum(dim=2).sqrt()
        chosen = measured.sort(stable=True)
        distances.append(chosen.values[:, :k])
        indices.append(proposed.gather(1, chosen.indices[:, :k]))
    return torch.cat(distances), torch.cat(indices)


def neighbor_radius(x: Float[Tensor, "n dimensions"], k: int) -> Float[Tensor, "n"]:
    """Distance of each row to its k-th nearest other row: 0 where it has k duplicates.

    Args:
        x: features, more than k rows.
        k: 1 or more.
    """
    if not 1 <= k < len(x):
        raise UndiffuseError(
            f"The {k}-th nearest other image is asked for, of {len(x)} images; k goes from 1 to their number less 1"
        )
    # Each row is its own neighbour at distance 0, whichever of its duplicates is listed first.
    return nearest(x, x, k + 1)[0][:, -1]


def balls_around(
    points: Float[Tensor, "n dimensions"], centers: Float[Tensor, "m dimensions"], radii: Float[Tensor, "m"]
) -> Int[Tensor, "n"]:
    """The number of balls |point - centre| <= radius that each point lies in; the border belongs to them, exactly."""
    points, centers = as_float64(points), as_float64(centers)
    same_space(points, centers)
    counts = []
    for rows, squares, doubt in _squared_distances(points, centers):
        inside = squares <= radii.square()
        _decide(inside, (squares - radii.square()).abs() <= doubt, points[rows], centers, radii)
        counts.append(inside.sum(dim=1))
    return torch.cat(counts)


def _decide(
    inside: Bool[Tensor, "n m"],
    doubtful: Bool[Tensor, "n m"],
    points: Float[Tensor, "n dimensions"],
    centers: Float[Tensor, "m dimensions"],
    radii: Float[Tensor, "m"],
) -> None:
    """Measure the doubtful pairs by differences, as `nearest` measures radii, and write them into ``inside``."""
    for pairs in doubtful.nonzero().split(max(1, BUDGET // points.shape[1])):
        i, j = pairs.unbind(dim=1)
        inside[i, j] = (points[i] - centers[j]).square().sum(dim=1).sqrt() <= radii[j]


def _squared_distances(
    x: Float[Tensor, "n dimensions"], y: Float[Tensor, "m dimensions"], numbers_per_row: int = 1
) -> Iterator[tuple[slice, Float[Tensor, "rows m"], Float[Tensor, "rows m"]]]:
    """Blocks of rows of x: their place, |x - y|^2 by the product, and a bound on the rounding of these.

    Args:
        numbers_per_row: that the caller will compute for each row of a block, if more than m.
    """
    # Distances do not feel a shift, and rounding does: the origin moves into the midst of y.
    origin = y.mean(dim=0)
    y = y - origin
    y_square = y.square().sum(dim=1)
    # The bound on a dot product's rounding, D epsilon |x| |y|, with room for the shift and the squares.
    rounding = 2 * (x.shape[1] + 4) * torch.finfo(x.dtype).eps
    step = max(1, BUDGET // max(len(y), numbers_per_row))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        block = x[rows] - origin
        sizes = block.square().sum(dim=1, keepdim=True) + y_square
        yield rows, sizes - 2 * block @ y.T, rounding * sizes
