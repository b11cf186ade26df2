"""Pictures out of noise: the walk of a sampler, frame by frame.

On the left of each frame is x_t, on the right what the denoiser thinks the picture is, its x0 at that t: a blurred
mean of all pictures that could have become this x_t, which sharpens as the choice narrows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import Noise, Sampler, start, trajectory
from undiffuse.visualization.forward import caption, model_grid
from undiffuse.visualization.frame import Frame
from undiffuse.visualization.strip import flatten

if TYPE_CHECKING:
    from undiffuse.config.sampling import SampleConfig
    from undiffuse.model import Model

GAP = 16


class Watched:
    """A denoiser that remembers what it saw first since it was last asked: the prediction at the step's own t."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.seen: Prediction | None = None

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(
        self, x_t: Float[Tensor, "batch *shape"], t: Float[Tensor, "*batch"], **conditions: Tensor
    ) -> Prediction:
        prediction = self.denoiser(x_t, t, **conditions)
        if self.seen is None:
            self.seen = prediction
        return prediction

    def take(self) -> Prediction:
        """The prediction seen since the last call."""
        seen, self.seen = self.seen, None
        assert seen is not None, "a sampler's step asks its denoiser at least once"
        return seen


@dataclass(frozen=True)
class Moment:
    """A sampler at time t: where it stands, and the x0 and eps that the denoiser sees from there."""

    t: float
    x: Float[Tensor, "batch *shape"]
    x0: Float[Tensor, "batch *shape"]
    eps: Float[Tensor, "batch *shape"] | None = None
    """None at the end, where no denoiser looks."""


@torch.no_grad()
def moments(
    denoiser: Denoiser,
    sampler: Sampler[Any],
    times: Float[Tensor, "points"],
    shape: Sequence[int],
    indices: Sequence[int],
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Moment]:
    """Every time of the walk from pure noise to the samples, on the CPU; at the last, t = 0, x0 is the sample itself.

    Args:
        denoiser, sampler, times: as for `diffusion.trajectory.trajectory`; ``model.walk(settings)`` gives all three.
        shape: of one sample, (channels, *spatial).
        indices: which samples of the seed are computed together; see `moments_of` for those of ``Model.sample``.
        seed: of the noise.
        device: of the denoiser.
    """
    noise = Noise(seed, indices, device)
    watched = Watched(denoiser)
    x = start(denoiser, shape, noise)
    for t, x_s in zip(times.tolist(), trajectory(watched, sampler, times, x, noise), strict=False):
        seen = watched.take()
        yield Moment(t, x.cpu(), seen.x0.cpu(), seen.eps.cpu())
        x = x_s
    yield Moment(float(times[-1]), x.cpu(), x.cpu())


def moments_of(model: Model, settings: SampleConfig, count: int, seed: int = 0) -> Iterator[Moment]:
    """The same of samples 0 .. count - 1 of a model, as ``Model.sample`` draws them: micro-batches in step.

    Args:
        settings: of the sampler.
        count: how many samples; those of the last micro-batch beyond them are left out.
        seed: of the noise.
    """
    settings = model.settle(settings)
    size, walks = settings.slots, list[Iterator[Moment]]()
    for first in range(0, count, size):
        block = range(first, first + size)
        walks.append(moments(*model.walk(settings, block, seed), model.info.shape, block, seed, model.device))
    for parts in zip(*walks, strict=True):
        eps = [part.eps for part in parts if part.eps is not None]
        yield Moment(
            parts[0].t,
            torch.cat([part.x for part in parts])[:count],
            torch.cat([part.x0 for part in parts])[:count],
            torch.cat(eps)[:count] if eps else None,
        )


def reverse_frames(
    walk: Iterable[Moment],
    schedule: Schedule,
    info: DataInfo,
    wanted: Collection[int],
    shown: int | None = None,
    columns: int | None = None,
) -> Iterator[Frame]:
    """Frames of x_t beside the predicted x0.

    Args:
        walk: from `moments`.
        schedule: for the captions.
        info: how values become pictures again.
        wanted: numbers of the moments to be drawn; ``evenly(len(times), 60)``, say.
        shown: how many of the samples are drawn; all by default.
        columns: of each grid.
    """
    for k, moment in enumerate(walk):
        if k in wanted:
            x, x0 = (model_grid(part[:shown], info, columns) for part in (moment.x, moment.x0))
            q_t = schedule(torch.tensor(moment.t, dtype=torch.float64))
            yield Frame(moment.t, beside(x, x0), caption(moment.t, q_t))


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one size and mode, the second to the right of the first, a gap between them."""
    sheet = Image.new("RGB", (2 * left.width + GAP, left.height), "white")
    sheet.paste(flatten(left), (0, 0))
    sheet.paste(flatten(right), (left.width + GAP, 0))
    return sheet
