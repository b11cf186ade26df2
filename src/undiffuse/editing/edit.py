"""A row of the table of edits: what goes in and what comes out, and how what was said becomes options and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from undiffuse.config.distillation import StudentConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import from_plain
from undiffuse.config.students import walking_student
from undiffuse.editing import options as o
from undiffuse.editing.defaults import Quick, check_strength, nearest_strength, own_strength
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    from torch import Tensor

    from undiffuse.editing.editor import Editor
    from undiffuse.model import AnyModel

Said = Mapping[str, Any]
"""Options that were said, by name."""
OF_SAMPLES = ("morph_to", "morph")
"""Settings of sampling that are for no edit: they say of which noise a sample is made, and an edit begins with a
picture."""


@dataclass(frozen=True)
class EditInput:
    """The input of an edit, in model space.

    Args:
        editor: of the result's size; call it with (height, width).
        x0: (rows, channels, height, width).
        mask: (#rows, 1, height, width), 1 where a picture is known; of an edit that takes one.
        second: (channels, height, width), where an interpolation goes to.
    """

    editor: Callable[[int, int], Editor]
    x0: Tensor
    mask: Tensor | None = None
    second: Tensor | None = None

    @property
    def here(self) -> Editor:
        return self.editor(*self.x0.shape[2:])


@dataclass(frozen=True)
class EditResult:
    """The results of an edit, in model space.

    Args:
        pictures: (rows * results, channels, height, width), those of a row together.
        before, after: what stands on a row's strip at either side of its results: (rows, channels, height, width), by
            caption.
        files: values to be kept beside the results, one of `before`'s in full, by its caption.
        notes: what is found out about a row's picture, after its name or 'the picture'.
        warning: what is to be minded.
    """

    pictures: Tensor
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor] = field(default_factory=dict)
    files: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warning: str | None = None


@dataclass(frozen=True)
class Edit:
    """One edit.

    Args:
        summary: what it is for.
        options: a class of options.
        work: does it.
        advised: the sampler's settings where none are said.
        stage: those for a model that enlarges what it is given; None where it cannot do the edit.
        quick: what is taken instead where somebody waits, by method.
        filled: the options, with what was left open and depends on the model and the picture's (height, width).
        inputs: the pictures that it takes.
        files: what it keeps beside the results; see `EditResult`.
        one: why a picture has one result alone; empty where several may be asked for.
        results: how many pictures come of one.
        channels: that pictures must have; by default the model's.
        omit: settings of sampling that are not for it, beside `OF_SAMPLES`.
        inverts: the sentence for another sampler than DDIM without noise; '' where any will do.
        check: refuses a model that cannot do it, and options that were said and that this model cannot take.
    """

    summary: str
    options: type[o.EditOptions]
    work: Callable[[EditInput, Any], EditResult]
    advised: Callable[[Any], SampleConfig]
    stage: SampleConfig | None = None
    quick: Mapping[str, Quick] = field(default_factory=dict)
    filled: Callable[[Any, AnyModel, tuple[int, int]], Any] = lambda how, model, sides: how
    inputs: tuple[str, ...] = ("image",)
    files: tuple[str, ...] = ()
    one: str = ""
    results: Callable[[Any], int] = lambda how: 1
    channels: int | None = None
    omit: tuple[str, ...] = ()
    inverts: Callable[[Any], str] = lambda how: ""
    check: Callable[[AnyModel, Said], None] = lambda model, said: None

    def resolve(
        self, model: AnyModel, said: Said, settings: Said, quick: bool = False
    ) -> tuple[o.EditOptions, SampleConfig]:
        """The options and the sampler's settings, from what was said of both; an option of None was not said."""
        said = {name: value for name, value in said.items() if value is not None}
        how = from_plain(self.options, said, "the options")
        self.check(model, said)
        if student := walking_student(model.config):
            return self._by_student(model, student, said, settings)
        preset = self.quick.get(getattr(how, "method", "")) if quick else None
        usual = preset.settings if preset else self.usual(how, model)
        walked = usual.changed(**settings)
        if preset and walked.solver.steps < preset.below:
            how = from_plain(self.options, {**preset.options, **said}, "the options")
        if (sentence := self.inverts(how)) and (walked.solver.sampler != "ddim" or walked.solver.eta != 0):
            raise UndiffuseError(sentence)
        return how, walked

    def _by_student(
        self, model: AnyModel, student: StudentConfig, said: Said, settings: Said
    ) -> tuple[o.EditOptions, SampleConfig]:
        """The same for a student: its walk is its own, and a strength that nobody said is one of its times."""
        from undiffuse.model.student_request import check_typed

        walked = (self.stage if self.stage and is_stage(model) else SampleConfig()).changed(**settings)
        check_typed(settings, model.config)
        own: dict[str, Any] = {} if is_stage(model) else {"method": "replace"}
        known = o.options_of(self.options)
        if "strength" in known:
            steps = settings.get("steps") or len(settings.get("times", ())) or student.student_steps[0]
            times = student.times_of(steps)
            own["strength"] = nearest_strength(times, model.schedule.t_max, known["strength"].default)
            if strength := said.get("strength"):
                check_strength(strength)
                own_strength(times, model.schedule.t_max, strength)
        own = {name: value for name, value in own.items() if name in known}
        how = from_plain(self.options, {**own, **said}, "the options")
        return how, walked

    def usual(self, how: o.EditOptions, model: AnyModel) -> SampleConfig:
        if student := walking_student(model.config):
            own = self.stage if self.stage and is_stage(model) else SampleConfig()
            return own.changed(**student.walk(), guidance=student.guidance_unsaid)
        return self.stage if self.stage and is_stage(model) else self.advised(how)

    def check_count(self, n: int) -> None:
        if n > 1 and self.one:
            raise UndiffuseError(f"{self.one}: leave out `n`")


def is_stage(model: AnyModel) -> bool:
    return model.config.conditions.upscale > 1
