"""Pictures enlarged by a model that learned to: a stage of a cascade, upon pictures of the user."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from undiffuse.conditioning.low_resolution import BatchImages
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.trajectory import start
from undiffuse.editing.editor import Editor, MicroBatch, Pictures
from undiffuse.errors import UndiffuseError, in_one_sentence


@in_one_sentence
def enlarge(editor: Editor, small: Pictures) -> Pictures:
    """Pictures as many times as large as the stage learned; see `undiffuse.conditioning.low_resolution`.

    The network sees the whole picture at once, whatever its size: it is told everywhere what is there. The small
    picture is given the augmentation of the editor's settings, 0 for a picture that is to be believed.
    """
    model, factor = editor.model, editor.model.config.conditions.upscale
    if factor == 1:
        raise UndiffuseError("This model never learned to enlarge; edit.upscale does so with any model")
    if editor.overlap is not None:
        raise UndiffuseError("A stage sees the whole picture at once: leave out `overlap`")
    shape = (model.info.channels, *(side * factor for side in small.shape[2:]))

    def upon(batch: MicroBatch) -> tuple[Denoiser, Tensor]:
        plan = replace(editor.plan, low_res=BatchImages(batch.of(small)))
        denoiser = plan.denoiser(batch.indices, editor.seed)
        return denoiser, start(denoiser, shape, batch.noise)

    return editor.walk(len(small), editor.plan.times, upon)
