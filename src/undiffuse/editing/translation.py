"""From one class to another: noise that a picture comes from under its own class, and what it becomes under the other.

    latent   DDIM's inversion, the network told the class that the picture is of
    result   DDIM home from there, told the class that is wanted, with guidance or without

What the latent holds beside the class (slant, width, place) stays, as far as the model tells it from the class: two
walks of the probability-flow ODE under two conditions (Su et al. 2023, "Dual diffusion implicit bridges",
https://arxiv.org/abs/2203.08382, with one network in place of two). Guidance belongs to the way home alone; an
inversion under guidance is another picture's (Mokady et al. 2023, https://arxiv.org/abs/2211.09794).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from undiffuse.conditioning.class_names import class_number
from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import Guide, Solver
from undiffuse.config.students import walking_student
from undiffuse.editing.editor import Editor, Pictures, edit_plan
from undiffuse.editing.inversion import Inversion, Inverter, from_noise, invert
from undiffuse.editing.options import TranslateOptions
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model import AnyModel


@dataclass(frozen=True)
class Translation:
    """Pictures of the class that was wanted, and their inversion under the class that they were of.

    Of a `strength` below 1 its latents are x_t, not x_T.
    """

    pictures: Pictures
    inversion: Inversion


@in_one_sentence
def translate(
    editor: Editor,
    x0: Pictures,
    to: str,
    source: str = TranslateOptions.source,
    *,
    strength: float = TranslateOptions.strength,
    inverter: Inverter | None = None,
) -> Translation:
    """Pictures as pictures of another class.

    Args:
        editor: of a model of classes; its guidance leads to ``to``, its grid is that of both walks.
        x0: in model space.
        to: name of the class that is wanted.
        source: of the class that they are of; ':none' (or 'none', where no class is called so) tells the
            inversion no class.
        strength: how far into noise, in (0, 1]: 0.6 walks to 0.6 t_max alone, and keeps more of the picture.

    Raises:
        UndiffuseError: the model knows no classes or not these, or a strength outside (0, 1].
    """
    check_classes(editor.model, to, source)
    times = editor.times_from(strength)
    if len(times) == 1:
        raise UndiffuseError("At strength 0 a picture stays what it is; a translation needs one above 0, up to 1")
    there, back = _ways(editor, source, to, times)
    inversion = invert(there, x0, inverter)
    return Translation(from_noise(back, inversion.latents), inversion)


def _ways(editor: Editor, source: str, to: str, times: Float[Tensor, "points"]) -> tuple[Editor, Editor]:
    """The editors of both walks over these times, each told its class."""
    if walking_student(editor.model.config):
        plans = (edit_plan(editor.model, editor.plan.settings.changed(classes=(name,))) for name in (source, to))
        there, back = (replace(editor, plan=replace(plan, times=times)) for plan in plans)
        return there, back
    # What these walks do not heed is taken off them, for it was not asked of them: times have no spacing, and the way
    # there has no guidance.
    steps = tuple(times[:-1].tolist())
    walked = editor.plan.settings.changed(times=steps, steps=len(steps), spacing=Solver.spacing)
    guide = walked.guide
    unguided = replace(walked, guide=Guide(augmentation=guide.augmentation, threshold=guide.threshold))
    there = replace(editor, plan=edit_plan(editor.model, unguided.changed(classes=(source,))))
    return there, replace(editor, plan=edit_plan(editor.model, walked.changed(classes=(to,))))


def check_classes(model: AnyModel, *names: str) -> None:
    """Check that a model knows classes, and these."""
    if not any(condition.name == CLASS for condition in model.conditions):
        raise UndiffuseError(
            "This model was trained without classes, so there is none to translate to; train one with `condition=class`"
        )
    for name in names:
        class_number(name, model.info.classes)
