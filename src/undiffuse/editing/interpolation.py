"""From one picture to another, through pictures."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.trajectory import slerp
from undiffuse.editing.defaults import Way
from undiffuse.editing.editor import Editor, Pictures
from undiffuse.editing.inversion import Inverter, from_noise, to_noise
from undiffuse.editing.options import InterpolateOptions, unheeded
from undiffuse.editing.variation import noised_and_back
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.sample_request import warn


@in_one_sentence
def interpolate(
    editor: Editor,
    first: Float[Tensor, "channels *spatial"],
    second: Float[Tensor, "channels *spatial"],
    frames: int = InterpolateOptions.frames,
    *,
    way: Way = InterpolateOptions.way,
    strength: float = InterpolateOptions.strength,
    inverter: Inverter | None = None,
) -> Pictures:
    """``frames`` pictures from the first to the second, both ends among them.

    slerp    latents of both by DDIM's inversion, the arc between them, and DDIM home (Song et al. 2021, section 5.3,
             https://arxiv.org/abs/2010.02502). The ends are the reconstructions of the pictures.
    shared   both noised to t = strength t_max by one and the same noise, the straight line between, and home by the
             sampler with one and the same noise (Ho et al. 2020, section 4.3). Noise that is shared keeps its variance
             on a straight line. Small t stays near both pictures, large t forgets them.

    Raises:
        UndiffuseError: pictures of two shapes, fewer than 2 wanted, a strength outside 0..1, another way.
    """
    inverter = inverter or Inverter()
    warn(unheeded(InterpolateOptions(way=way, frames=frames, strength=strength, exact=inverter.exact)))
    if first.shape != second.shape:
        shapes = [" x ".join(map(str, picture.shape)) for picture in (first, second)]
        raise UndiffuseError(
            f"Only pictures of one shape can be joined; the first has {shapes[0]} values (channels x height x width) "
            f"and the second {shapes[1]}"
        )
    parts = torch.linspace(0, 1, frames).reshape(-1, *[1] * first.ndim)
    if way == "slerp":
        ends = replace(editor, indices=editor.indices[:1] * 2)  # DDIM draws no noise; a class is told by the number
        a, b = to_noise(ends, torch.stack([first, second]), inverter)
        return from_noise(replace(editor, indices=editor.indices[:1] * frames), slerp(a[None], b[None], parts))
    times = editor.times_from(strength)
    line = torch.lerp(first[None], second[None], parts)
    if len(times) == 1:
        return line
    stream = editor.indices[0] if editor.indices else 0
    return noised_and_back(replace(editor, indices=(stream,) * frames), line, times)
