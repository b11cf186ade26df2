"""Pictures dissolving into noise: the forward process, frame by frame.

Every frame is drawn by the closed form x_t = alpha_t x0 + sigma_t eps with *one* eps for all t, so that the noise
fades in instead of flickering. Each frame alone is a fair draw from q(x_t | x0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.gaussian import Marginal, q_sample
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.random_streams import generator
from undiffuse.visualization.frame import Frame
from undiffuse.visualization.grid import default_scale, grid, to_image

LEAST = 224
"""Pixels: width of a grid that stands alone."""


def forward_frames(
    x0: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    info: DataInfo,
    frames: int = 60,
    seed: int = 0,
    columns: int | None = None,
) -> Iterator[Frame]:
    """At least 2 frames at even times from t = 0 (data) to t_max (noise), of one picture or a grid of several.

    Args:
        x0: pictures in model space.
        schedule: the process.
        info: how values become pictures again.
        frames: at least 2.
        seed: of the noise.
        columns: of the grid.
    """
    eps = torch.randn(x0.shape, generator=generator(seed, "forward"))
    for t in torch.linspace(0, schedule.t_max, frames, dtype=torch.float64):
        q_t = schedule(t)
        yield Frame(float(t), model_grid(q_sample(x0, eps, q_t), info, columns), caption(float(t), q_t))


def caption(t: float, q_t: Marginal) -> str:
    """Of a moment: t, alpha-bar = alpha^2, and the signal-to-noise ratio alpha^2 / sigma^2."""
    when = f"{t:.0f}" if t >= 10 or t == int(t) else f"{t:.2f}"
    snr = "infinite" if q_t.sigma == 0 else f"{float(q_t.snr):.2g}"
    return f"t = {when}\nalpha-bar = {float(q_t.alpha) ** 2:.2g}\nSNR = {snr}"


def model_grid(x: Float[Tensor, "batch *shape"], info: DataInfo, columns: int | None = None) -> Image.Image:
    """A grid of pictures out of model space; values outside [-1, 1] are clipped, as a screen does.

    Without ``columns`` it is about square, and few small pictures are enlarged until it is `LEAST` pixels wide.
    """
    images = [to_image(array, info) for array in codec_of(info).decode(x)]
    if columns is not None:
        return grid(images, columns)
    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    return grid(images, columns, scale=max(default_scale(width, height), LEAST // (columns * width)))
