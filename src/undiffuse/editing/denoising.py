"""Noisy photographs: how noisy, which t that is, and home from there."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.editing.editor import Editor, MicroBatch, Pictures, times_from
from undiffuse.editing.options import DenoiseOptions
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.student_request import check_denoises

MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of |z| for a standard normal z."""


@in_one_sentence
def estimate_noise(x: Pictures) -> Float[Tensor, "count"]:
    """Standard deviation of white noise in each picture, from its finest diagonal detail.

    std = median |d| / 0.6745,   d = (x_ij - x_i(j+1) - x_(i+1)j + x_(i+1)(j+1)) / 2

    Donoho & Johnstone 1994, section 4.2 (there with smoother wavelets, https://doi.org/10.1093/biomet/81.3.425): edges
    are few, so the median does not see them, and noise has as much there as everywhere.

    Values at either end of the range were clipped and carry less noise than they got. Details that touch one are left
    out where enough others are left, a tenth of all. What is black (or white) in truth tells more than all detail: see
    `_from_an_end`.

    Args:
        x: in model space, any number of spatial axes from 1 on; differences are taken along the last two of more
            than one pixel.

    Raises:
        UndiffuseError: pictures of one pixel.
    """
    axes = [axis for axis in range(2, x.ndim) if x.shape[axis] > 1][-2:]
    if not axes:
        raise UndiffuseError("The noise of a picture of one pixel cannot be estimated; say it with `noise`")
    ends = x.abs() >= 1
    detail, touched = x, ends
    for axis in axes:
        before, after = (slice(None, -1), slice(1, None))
        index = [slice(None)] * x.ndim
        first, second = list(index), list(index)
        first[axis], second[axis] = before, after
        detail = (detail[tuple(first)] - detail[tuple(second)]) / math.sqrt(2)
        touched = touched[tuple(first)] | touched[tuple(second)]
    found = []
    for picture, values, bad in zip(x, detail.abs().flatten(1), touched.flatten(1), strict=True):
        free = values[~bad]
        by_detail = (free if len(free) >= 0.1 * len(values) else values).median() / MEDIAN_OF_NORMAL
        by_ends = [std for end in (-1, 1) if (std := _from_an_end(picture, end)) is not None]
        found.append(by_ends[0] if by_ends else by_detail)
    return torch.stack(found)


def _from_an_end(x: Float[Tensor, "channels *spatial"], end: int) -> Float[Tensor, ""] | None:
    """Standard deviation of the noise by what lies at an end of the range; None where that tells nothing.

    Of m pixels that are at the end in truth, half are clipped and the others std |z| away from it. So where n are
    clipped, the m/4 = n/2 nearest of the others lie within the median of |z|:  std = d_(n/2) / 0.6745.

    That is meant where at least 3 in 10 pixels are clipped, and one by one: beside a clipped pixel another is clipped
    half of the time. A saturated sky or a black margin without noise is clipped as a whole, and says nothing.
    """
    away = (x - end).abs()
    clipped = away == 0
    free, count = away[~clipped].sort().values, int(clipped.sum())
    beside = (clipped[..., 1:] & clipped[..., :-1]).sum() / clipped[..., :-1].sum().clamp(min=1)
    if count < 0.3 * x.numel() or beside > 0.7 or len(free) <= count // 2:
        return None
    return free[count // 2] / MEDIAN_OF_NORMAL


@in_one_sentence
def denoise(
    editor: Editor, y: Pictures, noise: float | None = DenoiseOptions.noise
) -> tuple[Pictures, Float[Tensor, "count"]]:
    """Pictures without their noise, and the noise that was found.

    y = x0 + std z  is  x_t / alpha_t  of the model's own process at the t where sigma_t / alpha_t = std, so

    x_t = alpha_t y,   then from t to 0 by the sampler.

    One step (a grid of one time below it) gives the mean of all pictures that y may be, the least square error; a
    stochastic sampler of many steps gives one of them, with detail.

    Args:
        editor: its grid is cut at t; ddim keeps the mean more closely than stochastic samplers.
        y: in model space.
        noise: standard deviation in model space, where it is known; else `estimate_noise` of each picture.

    Raises:
        UndiffuseError: more noise than the process has, or a noise that is none.
    """
    if noise is not None and not noise > 0:
        raise UndiffuseError(f"The standard deviation of noise lies above 0; it is {noise:g}")
    check_denoises(editor.model.config, "taking noise off from any time")
    stds = estimate_noise(y) if noise is None else torch.full((len(y),), float(noise))
    schedule = editor.model.schedule
    most = float((schedule(torch.tensor(schedule.t_max, dtype=torch.float64)).log_snr / -2).exp())
    if float(stds.max()) > most:
        raise UndiffuseError(f"The model's process ends at noise of {most:g} times the data; this is {stds.max():g}")
    times = schedule.inverse_log_snr(-2 * stds.double().clamp(min=1e-12).log())
    clean = [_home(editor, k, y[k : k + 1], t) for k, t in enumerate(times)]
    return torch.cat(clean), stds


def _home(editor: Editor, row: int, y: Pictures, t: Float[Tensor, ""]) -> Pictures:
    """One picture from its own t: others have other times, and walk other grids."""
    if float(t) < editor.model.schedule.t_min:
        return y.cpu()  # less noise than the model ever saw
    times = times_from(editor.plan.times, t)

    def noisy(batch: MicroBatch) -> tuple[Denoiser, Tensor]:
        denoiser, x = editor.denoiser(batch.indices), batch.of(y)
        return denoiser, expand(denoiser.schedule(times[0]).alpha, x) * x

    return editor.alone(row).walk(1, times, noisy)
