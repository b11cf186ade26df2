"""Pictures out of noise: the walk of a sampler, frame by frame.

On the left of each frame is x_t, on the right what the denoiser thinks the picture is, its x0 at that t: a blurred
mean of all pictures that could have become this x_t, which sharpens as the choice narrows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.denoiser import Denoiser, Prediction
from undiffuse.pictures.forward import Frame, describe, model_grid
from undiffuse.pictures.strip import evenly
from undiffuse.sample import Noise, Sampler, start, trajectory
from undiffuse.schedule import Schedule

GAP = 16


class Watched:
    """A denoiser that remembers what it saw first since it was last asked: the prediction at the step's own t."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.x0: Tensor | None = None

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(
        self, x_t: Float[Tensor, "batch *shape"], t: Float[Tensor, "*batch"], **conditions: Tensor
    ) -> Prediction:
        prediction = self.denoiser(x_t, t, **conditions)
        if self.x0 is None:
            self.x0 = prediction.x0
        return prediction

    def take(self) -> Tensor:
        """The x0 seen since the last call."""
        seen, self.x0 = self.x0, None
        assert seen is not None, "a sampler's step asks its denoiser at least once"
        return seen


@torch.no_grad()
def reverse_frames(
    denoiser: Denoiser,
    sampler: Sampler[Any],
    times: Float[Tensor, "points"],
    info: DataInfo,
    indices: Sequence[int],
    *,
    seed: int = 0,
    shown: int | None = None,
    frames: int = 60,
    device: torch.device | str = "cpu",
    columns: int | None = None,
) -> Iterator[Frame]:
    """Frames of x_t beside the predicted x0, from pure noise to the samples.

    Args:
        denoiser, sampler, times: as for `undiffuse.sample.trajectory`; ``model.walk(settings)`` gives all three.
        info: how values become pictures again.
        indices: which samples of the seed are computed together; the samples of ``Model.sample`` come from blocks of
            ``micro_batch``, so ``range(micro_batch)`` gives those to the last bit.
        seed: of the noise.
        shown: how many of them are drawn; all by default.
        frames: how many moments are drawn, evenly chosen among the steps, the first and the last always.
        device: of the denoiser.
        columns: of each grid.
    """
    noise = Noise(seed, indices, device)
    watched = Watched(denoiser)
    wanted = set(evenly(len(times), frames))
    x = start(denoiser, info.shape, noise)
    for k, x_s in enumerate(trajectory(watched, sampler, times, x, noise)):
        x0 = watched.take()
        if k in wanted:
            yield _frame(float(times[k]), x[:shown], x0[:shown], denoiser.schedule, info, columns)
        x = x_s
    yield _frame(float(times[-1]), x[:shown], x[:shown], denoiser.schedule, info, columns)


def _frame(t: float, x: Tensor, x0: Tensor, schedule: Schedule, info: DataInfo, columns: int | None) -> Frame:
    columns = columns or math.ceil(math.sqrt(len(x)))
    left, right = (model_grid(part.cpu(), info, columns) for part in (x, x0))
    return Frame(t, beside(left, right), describe(t, schedule(torch.tensor(t, dtype=torch.float64))))


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one size and mode, the second to the right of the first."""
    white: Any = "white" if left.mode != "L" else 255
    sheet = Image.new(left.mode, (2 * left.width + GAP, left.height), white)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    return sheet
