"""The variational bound of images under a model: all terms, or a stratified sample of them.

    -log p(x0) <= L_T + sum_{t = 1..T} L_{t-1}             (Ho et al. 2020, eq. 5)

`diffusion.losses.variational_bound` has one term at one t; here they are added up. All T of them cost T evaluations of
the network an image. For large models a few t an image give the same mean: t = 1, whose decoder is the largest term,
always, and one t from each of n - 1 strata of {2..T}, its term counted once for every t of its stratum,

    L_T + L_0 + sum_k size_k L_{t_k - 1},   t_k uniform in stratum k,

which is unbiased for every image. Strata are narrow at small t, where terms are large and steep.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.losses.variational_bound import bound_values, chain_of, prior_term
from undiffuse.diffusion.masking import kept, mean_over
from undiffuse.diffusion.reverse_step import Variance
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import ImageBatch


@dataclass(frozen=True)
class Terms:
    """The bound of each image in parts, float64 on the CPU, nats per dimension in model space.

    Args:
        prior: L_T.
        t: the times that were evaluated, rising.
        size: number of t that each of them stands for, alike for all images; 1 everywhere for the full bound.
        term: L_{t-1}.
        x0_error: mean square of the x0 prediction's error at t.
        eps_error: mean square of the eps prediction's error at t.
    """

    prior: Float[Tensor, "images"]
    t: Float[Tensor, "images times"]
    size: Float[Tensor, "images times"]
    term: Float[Tensor, "images times"]
    x0_error: Float[Tensor, "images times"]
    eps_error: Float[Tensor, "images times"]

    @property
    def total(self) -> Float[Tensor, "images"]:
        """The bound, or its unbiased estimate, of each image."""
        return self.prior + (self.size * self.term).sum(1)

    @property
    def error(self) -> Float[Tensor, "images"]:
        """Standard error of each image's `total` from its noise and times, the decoder's noise left out.

        With one draw a stratum, half the squared differences of neighbours stand for the variances. They hold the
        slope from stratum to stratum, too, so this is rather too large than too small.
        """
        part = (self.size * self.term)[:, 1:]
        count = part.shape[1]
        if count < 2:
            return torch.full_like(self.prior, math.nan)
        return (0.5 * part.diff(dim=1).square().sum(1) * count / (count - 1)).sqrt()


def strata(T: int, count: int | None = None) -> Int[Tensor, "edges"]:
    """Edges of the strata of {1..T}: stratum k holds edges[k], ..., edges[k + 1] - 1. The first is {1}.

    Args:
        count: number of strata, 2..T; all T single times by default.
    """
    count = T if count is None else count
    if not 2 <= count <= T:
        raise UndiffuseError(f"The bound needs between 2 and {T} timesteps an image, all of this chain; not {count}")
    inner = count - 1
    k = torch.arange(count, dtype=torch.float64)
    quadratic = ((T - 1) * (k / inner) ** 2).round()
    return torch.cat([torch.ones(1), 2 + torch.maximum(quadratic, k)]).long()


def draw_times(edges: Int[Tensor, "edges"], stream: torch.Generator) -> Float[Tensor, "times"]:
    u = torch.rand(len(edges) - 1, generator=stream, dtype=torch.float64)
    return edges[:-1] + (u * edges.diff()).floor()


@torch.no_grad()
def bound_of(
    denoiser: Denoiser,
    images: ImageBatch,
    *,
    variance: Variance = "small",
    levels: int | None = 256,
    count: int | None = None,
    seed: int = 0,
    on_step: Callable[[], object] = lambda: None,
) -> Terms:
    """The bound's terms of a batch of images.

    Args:
        denoiser: on a discrete chain.
        images: on the grid of ``levels`` values, if there is one.
        variance: of the model's step.
        levels: 2^bits of integer data; None for floats, whose decoder is a density.
        count: timesteps an image; all by default.
        seed: of the noise and the times.

    Raises:
        UndiffuseError: a continuous process, a bad count, or a variance that was not learned.
    """
    chain, mask = chain_of(denoiser.schedule), images.mask
    x0, streams = kept(images.x0, mask), images.streams(seed, "bound")
    edges = strata(chain.T, count)
    times = torch.stack([draw_times(edges, stream) for stream in streams])
    rows: dict[str, list[Tensor]] = {"term": [], "x0_error": [], "eps_error": []}
    for t in times.T:
        eps = images.noise(streams)
        x_t = q_sample(x0, eps, chain(t))
        prediction = denoiser(x_t, t)
        rows["term"].append(mean_over(bound_values(prediction, chain, x0, x_t, t, variance, levels), mask))
        rows["x0_error"].append(mean_over((prediction.x0 - x0).square(), mask))
        rows["eps_error"].append(mean_over((prediction.eps - eps).square(), mask))
        on_step()
    stacked = {name: torch.stack(row, dim=1).cpu().double() for name, row in rows.items()}
    return Terms(prior_term(chain, x0, mask).cpu().double(), times, edges.diff().double().expand_as(times), **stacked)
