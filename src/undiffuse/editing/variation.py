"""Variations of a picture: into noise for a part of the way, and home again."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.editing.editor import Editor, MicroBatch, Pictures
from undiffuse.editing.options import VaryOptions
from undiffuse.errors import in_one_sentence


@in_one_sentence
def vary(editor: Editor, x0: Pictures, strength: float = VaryOptions.strength) -> Pictures:
    """SDEdit (Meng et al. 2022, algorithm 1, https://arxiv.org/abs/2108.01073).

    x_t = alpha_t x0 + sigma_t eps,   t = strength t_max,    then from t to 0 by the sampler

    Args:
        editor: the grid is that of its settings, cut at t: a strength of 0.3 takes about 0.3 of its steps.
        x0: in model space: pictures, or strokes that should become one.
        strength: 0 gives x0 back and 1 a new sample; 0.3 keeps what the picture shows, 0.7 its large shapes.
    """
    times = editor.times_from(strength)
    return x0.clone() if len(times) == 1 else noised_and_back(editor, x0, times)


def noised_and_back(editor: Editor, x0: Pictures, times: Float[Tensor, "points"]) -> Pictures:
    """Pictures noised to the first of some times, and walked down them."""

    def noised(batch: MicroBatch) -> tuple[Denoiser, Tensor]:
        denoiser, picture = editor.denoiser(batch.indices), batch.of(x0)
        return denoiser, q_sample(picture, batch.noise.like(picture), denoiser.schedule(times[0]))

    return editor.walk(len(x0), times, noised)
