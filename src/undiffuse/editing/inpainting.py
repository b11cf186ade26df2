"""Holes and borders of pictures filled: inpainting, and outpainting, which is that of a larger canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.guidance import LinearMeasurement, ReplacementInpainting, Tiled
from undiffuse.diffusion.linear_operators import Mask
from undiffuse.editing.defaults import FillMethod, Method, check_result, quarter
from undiffuse.editing.editor import Editor, MicroBatch, Pictures
from undiffuse.editing.inverse_problems import guided_walk
from undiffuse.editing.options import InpaintOptions, unheeded
from undiffuse.editing.repaint import resampled, with_returns
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.sample_request import warn
from undiffuse.model.student_request import check_denoises

Known = Float[Tensor, "#count #channels *spatial"]
"""1 where a value is known, 0 where it is to be made; broadcasts against pictures."""


@in_one_sentence
def inpaint(
    editor: Editor,
    x0: Pictures,
    known: Known,
    *,
    method: FillMethod = InpaintOptions.method,
    scale: float = InpaintOptions.scale,
    jump: int = InpaintOptions.jump,
    repeats: int = InpaintOptions.repeats,
) -> Pictures:
    """New values where ``known`` is 0; the others exactly as they are.

    Args:
        x0: in model space; what it holds where nothing is known does not matter.
        known: of zeros and ones; see `Known`.
        method: see the head of `inverse_problems`.
        scale: for pigdm and dps.
        jump, repeats: for repaint, see `with_returns`.

    Raises:
        UndiffuseError: an unknown method, or a mask that fits the pictures in no way or has other values.
    """
    warn(unheeded(InpaintOptions(method=method, scale=scale, jump=jump, repeats=repeats)))
    if known.ndim != x0.ndim or any(m not in (1, side) for m, side in zip(known.shape, x0.shape, strict=True)):
        raise UndiffuseError(
            f"The mask should have the pictures' shape {tuple(x0.shape)}, or 1 where it is the same for all; "
            f"it has {tuple(known.shape)}"
        )
    known = known.to(x0)
    if not ((known == 0) | (known == 1)).all():
        raise UndiffuseError("The mask should be 1 where the pictures are known and 0 elsewhere; it has other values")

    def given(batch: MicroBatch) -> tuple[Tensor, Tensor]:
        mask = batch.of(known)
        return batch.of(x0) * mask, mask

    if method in get_args(Method):

        def observe(batch: MicroBatch) -> LinearMeasurement:
            values, mask = given(batch)
            return LinearMeasurement(Mask(mask), values)

        filled = guided_walk(editor, len(x0), x0.shape[1:], observe, method, scale)
    else:
        if method == "repaint":
            check_denoises(editor.model.config, "`method=repaint`")
        filled = _replaced(editor, len(x0), given, (jump, repeats) if method == "repaint" else (1, 1))
    return torch.where(known.bool(), x0.cpu(), filled)


@in_one_sentence
def outpaint(
    editor: Editor,
    x0: Pictures,
    margins: Sequence[tuple[int, int]] | None = None,
    *,
    method: FillMethod = InpaintOptions.method,
    scale: float = InpaintOptions.scale,
    jump: int = InpaintOptions.jump,
    repeats: int = InpaintOptions.repeats,
) -> Pictures:
    """Pictures with more around them: `inpaint` of a larger canvas. Give the editor an overlap for tiles.

    Args:
        margins: new values before and after each spatial axis: ((top, bottom), (left, right)) for pictures; by default
            a quarter of the shortest axis, everywhere.
        editor, x0, method, scale, jump, repeats: as for `inpaint`.
    """
    sides = x0.shape[2:]
    margins = margins or [(quarter(sides), quarter(sides))] * len(sides)
    canvas, known = extended(x0, margins)
    return inpaint(editor, canvas, known, method=method, scale=scale, jump=jump, repeats=repeats)


def extended(x0: Pictures, margins: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Pictures on a larger canvas of zeros, and where they are known."""
    if min(min(pair) for pair in margins) < 0:
        raise UndiffuseError(f"Margins are whole numbers from 0 on; got {margins}")
    check_result([side + sum(pair) for side, pair in zip(x0.shape[2:], margins, strict=True)])
    amounts = [n for pair in reversed(margins) for n in pair]  # F.pad wants the last axis first
    return F.pad(x0, amounts), F.pad(torch.ones_like(x0[:1]), amounts)


def _replaced(
    editor: Editor, count: int, given: Callable[[MicroBatch], tuple[Tensor, Tensor]], returns: tuple[int, int]
) -> Pictures:
    path = with_returns(editor.plan.times, *returns)

    def work(batch: MicroBatch) -> Tensor:
        values, mask = given(batch)
        eps = batch.noise.like(values)
        denoiser = editor.denoiser(batch.indices)
        if isinstance(denoiser, Tiled):
            denoiser = replace(denoiser, settled=mask)
        around = ReplacementInpainting(denoiser, values, mask, eps)
        schedule = around.schedule
        x = mask * q_sample(values, eps, schedule(path[0])) + (1 - mask) * schedule.prior_std * eps
        return batch.last(resampled(around, editor.plan.sampler, path, x, batch.noise))

    return editor.run(count, len(path) - 1, work)
