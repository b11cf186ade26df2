"""A distance between two sets of images that needs no other network: the energy distance of their pixels.

    D = 2 E d(X, Y) - E d(X, X') - E d(Y, Y'),   d(x, y) = |x - y| / sqrt(dimensions)

(Szekely & Rizzo 2013, https://doi.org/10.1016/j.jspi.2013.03.018). It is 0 for two samples of one distribution and
positive otherwise. The estimate below is unbiased, so it does not fall with the number of images, and may come out
negative; how far it strays from 0 by chance alone is its floor. Pixels are a poor judge of looks: use it to see
which samplers are off, not which images are beautiful.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.runtime.random_streams import generator

SPLITS = 50


def energy_distance(x: Float[Tensor, "n *shape"], y: Float[Tensor, "m *shape"]) -> float:
    """The unbiased estimate, each mean over pairs of different images; at least two on either side."""
    return _of_distances(distances(torch.cat([x, y])), torch.arange(len(x) + len(y)) < len(x))


def energy_floor(reference: Float[Tensor, "images *shape"], seed: int = 0) -> float:
    """Root mean square of the distance between random halves of one set, twice as large as those that are compared."""
    between, dice = distances(reference), generator(seed, "energy floor")
    half = len(reference) // 2
    found = [
        _of_distances(between, torch.randperm(len(reference), generator=dice).argsort() < half) for _ in range(SPLITS)
    ]
    return float(torch.tensor(found, dtype=torch.float64).square().mean().sqrt())


def distances(x: Float[Tensor, "images *shape"]) -> Float[Tensor, "images images"]:
    """Root mean square difference of every two images."""
    flat = x.flatten(1).double()
    between: Tensor = torch.cdist(flat, flat) / math.sqrt(flat.shape[1])
    return between


def _of_distances(between: Float[Tensor, "images images"], first: Tensor) -> float:
    """The distance of the images where ``first`` holds from the others, given the distances of all."""
    n, m = int(first.sum()), int((~first).sum())
    across = between[first][:, ~first].mean()
    within = [between[side][:, side].sum() / (k * (k - 1)) for side, k in ((first, n), (~first, m))]
    return float(2 * across - within[0] - within[1])
