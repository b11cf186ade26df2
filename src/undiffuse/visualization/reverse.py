"""Pictures out of noise: the walk of a sampler, frame by frame.

On the left of each frame is x_t, on the right what the denoiser thinks the picture is, its x0 at that t: a blurred
mean of all pictures that could have become this x_t, which sharpens as the choice narrows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import torch
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.trajectory import SamplingStep
from undiffuse.visualization.forward import caption, model_grid
from undiffuse.visualization.frame import Frame
from undiffuse.visualization.strip import flatten

GAP = 16


def reverse_frames(
    walk: Iterable[SamplingStep],
    schedule: Schedule,
    info: DataInfo,
    wanted: Collection[int],
    shown: int | None = None,
    columns: int | None = None,
) -> Iterator[Frame]:
    """Frames of x_t beside the predicted x0.

    Args:
        walk: every step, as of `SamplePlan.iterate`.
        schedule: for the captions.
        info: how values become pictures again.
        wanted: numbers of the steps to be drawn; ``evenly(len(times), 60)``, say.
        shown: samples that are drawn; all by default.
        columns: of each grid.
    """
    for k, step in enumerate(walk):
        if k in wanted:
            x, x0 = (model_grid(part[:shown], info, columns) for part in (step.x, step.x0))
            q_t = schedule(torch.tensor(step.t, dtype=torch.float64))
            yield Frame(step.t, beside(x, x0), caption(step.t, q_t))


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one size and mode, the second to the right of the first, a gap between them."""
    sheet = Image.new("RGB", (2 * left.width + GAP, left.height), "white")
    sheet.paste(flatten(left), (0, 0))
    sheet.paste(flatten(right), (left.width + GAP, 0))
    return sheet
