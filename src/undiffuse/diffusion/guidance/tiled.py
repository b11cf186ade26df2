"""Pictures larger than those that were learned: overlapping tiles, each denoised as a picture of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times, as_times
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.devices import send

Window = tuple[slice, ...]


@dataclass(frozen=True)
class Tiled:
    """Predictions of overlapping tiles, averaged where they overlap (Bar-Tal et al. 2023, https://arxiv.org/abs/2302.08113).

    x0(x_t) = sum_k w_k x0(x_t in tile k) / sum_k w_k     and eps alike: the tiles agree on one picture at every step

    with weights that fall towards a tile's border, so that no seam shows; MultiDiffusion's are 1. The paper averages
    the samplers' x_s; where these are linear in x0 and eps, as DDIM's and DDPM's, that is the same.

    Args:
        tile: sides of a tile, usually those of the training's pictures; a side that is longer than x's is cut to it.
        overlap: pixels that neighbours share at least, in [0, least side of a tile).
        batch: tiles per evaluation of the network.
        several: a denoiser for a batch that is repeated n times; where ``denoiser`` was told what each sample of the
            one batch is, it fits no other. Without it ``denoiser`` serves batches of any length.
        watched: where a measurement looks, of x's shape or one that broadcasts: a tile that holds nothing of it has no
            gradient, and none is prepared.
        settled: where nobody uses the prediction, likewise: a tile that lies wholly there is not evaluated, and x0 and
            eps are 0.
    """

    denoiser: Denoiser
    tile: tuple[int, ...]
    overlap: int
    batch: int = 16
    several: Callable[[int], Denoiser] | None = None
    watched: Float[Tensor, "..."] | None = None
    settled: Float[Tensor, "..."] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < min(self.tile):
            raise UndiffuseError(
                f"Tiles of {' x '.join(map(str, self.tile))} overlap by 0 to {min(self.tile) - 1} pixels, "
                f"not by {self.overlap}"
            )

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t, tile = as_times(t), _cut(self.tile, x_t.shape[2:])
        windows = list(_windows(x_t.shape[2:], tile, self.overlap))
        if len(windows) == 1:
            return self.denoiser(x_t, t, **conditions)
        weight = send(_weight(tile, self.overlap).to(x_t.dtype), x_t.device)
        total = x_t.new_zeros(x_t.shape[2:])
        sums: list[Tensor] = []
        per_call = max(1, self.batch // len(x_t))
        for graph, group in self._groups(windows, x_t):
            for first in range(0, len(group), per_call):
                some = group[first : first + per_call]
                with torch.set_grad_enabled(graph):
                    tiles = self._tiles(x_t, t, some, conditions)
                for window, parts in zip(some, tiles, strict=True):
                    if not sums:
                        sums = [torch.zeros_like(x_t) for _ in parts]
                    for whole, part in zip(sums, parts, strict=True):
                        whole[_inside(window)] += weight * part
                    total[window] += weight
        total = torch.where(total == 0, 1.0, total)  # where every tile is settled
        return Prediction(*(whole / total for whole in sums))

    def _groups(self, windows: list[Window], x_t: Batch) -> list[tuple[bool, list[Window]]]:
        """The tiles to be evaluated, and whether with a graph for their gradient."""
        graph = torch.is_grad_enabled()
        if self.settled is not None:
            used = self.settled.expand(x_t.shape).lt(0.5).flatten(0, 1).any(0)
            windows = [window for window in windows if used[window].any()] or windows[:1]
        if self.watched is None or not graph:
            return [(graph, windows)]
        seen = self.watched.expand(x_t.shape).gt(0.5).flatten(0, 1).any(0)
        led = [window for window in windows if seen[window].any()] or windows
        return [(True, led), (False, [window for window in windows if window not in led])]

    def _tiles(
        self, x_t: Batch, t: Float[Tensor, "*batch"], windows: Sequence[Window], conditions: dict[str, Tensor]
    ) -> list[list[Tensor]]:
        """x0, eps and, where it was learned, the fraction of the variance, of each window."""
        n = len(windows)
        tiles = torch.cat([x_t[_inside(window)] for window in windows])
        many = {name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in conditions.items()}
        denoiser = self.denoiser if self.several is None or n == 1 else self.several(n)
        found = denoiser(tiles, t.repeat(n) if t.ndim else t, **many)
        values = [v for v in (found.x0, found.eps, found.variance_fraction) if v is not None]
        return [list(parts) for parts in zip(*(value.chunk(n) for value in values), strict=True)]


def count_tiles(sides: Sequence[int], tile: Sequence[int], overlap: int) -> int:
    """The number of tiles of a picture of these sides."""
    return sum(1 for _ in _windows(sides, _cut(tile, sides), overlap))


def _cut(tile: Sequence[int], sides: Sequence[int]) -> list[int]:
    """The sides of a tile that is no larger than the picture."""
    return [min(side, whole) for side, whole in zip(tile, sides, strict=True)]


def _inside(window: Window) -> Window:
    return slice(None), slice(None), *window


def _windows(sides: Sequence[int], tile: Sequence[int], overlap: int) -> Iterator[Window]:
    """Tiles that cover everything, spread evenly, so that each lies wholly inside."""
    starts = []
    for whole, side in zip(sides, tile, strict=True):
        count = 1 + -(-(whole - side) // max(1, side - overlap))
        starts.append([round(k * (whole - side) / max(1, count - 1)) for k in range(count)])
    for corner in product(*starts):
        yield tuple(slice(start, start + side) for start, side in zip(corner, tile, strict=True))


def _weight(tile: Sequence[int], overlap: int) -> Float[Tensor, "*tile"]:
    """1 inside, falling linearly over the overlap to 1 / (overlap + 1) at the border."""
    weight = torch.ones(())
    for side in tile:
        place = torch.arange(side)
        to_border = torch.minimum(place, place.flip(0)) + 1
        weight = weight[..., None] * (to_border / (overlap + 1)).clamp(max=1)
    return weight
