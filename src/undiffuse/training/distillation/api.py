"""`distill`: the one function behind ``undiffuse.distill(...)`` and ``undiffuse distill``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.conditioning.request import CLASS
from undiffuse.config.data import DataConfig
from undiffuse.config.distillation import MethodName, StudentConfig, ThresholdName, student_of
from undiffuse.config.fields import fields_of
from undiffuse.config.files import BUDGETS, read_config
from undiffuse.config.keywords import DistillationSettings
from undiffuse.config.kinds import kind_of
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import change, flatten, show
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.in_memory import is_given, keep_given
from undiffuse.data.preparation.named import typed_source
from undiffuse.data.preparation.open_source import NoSourceError
from undiffuse.errors import UndiffuseError, counted, in_one_sentence, quoted
from undiffuse.factories.network import outline
from undiffuse.model import Model, load_model
from undiffuse.runtime.process_group import joined
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.api import prepare_together, resume_run, start_run
from undiffuse.training.callbacks.console import Console
from undiffuse.training.distillation.remarks import remarks, unheeded
from undiffuse.training.distillation.request import DistillationRequest, make_stages
from undiffuse.training.distillation.stages import Stage, origin_of
from undiffuse.training.run.folder import RunFolder, check_free
from undiffuse.training.run.names import checked_name, named_after
from undiffuse.training.run.objects import with_data_named, with_texts
from undiffuse.training.run.resume import FREE
from undiffuse.training.run.signals import StoppedError
from undiffuse.training.run.validate import check

PLACES = ("source", "teacher", "teacher_weights", "origin")
"""Settings of where something is; a stage that goes on finds it where it is now."""
MINUTES = 5.0
"""Of the shortest stage, where nobody gives a budget."""


@in_one_sentence
@own_modes()
def distill(
    teacher: str | Path,
    data: Any = None,
    *,
    method: MethodName = "distribution",
    steps: int | Sequence[int] = (),
    guidance: float | Sequence[float] = (),
    teacher_steps: int = DistillationRequest.teacher_steps,
    threshold: ThresholdName | None = None,
    minutes: float | None = None,
    updates: int | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    weights: str = "ema",
    resume: bool = False,
    quiet: bool = False,
    **settings: Unpack[DistillationSettings],
) -> Model:
    """Train a student that draws in a few evaluations what a trained model draws in many, and return it.

        fast = undiffuse.distill("runs/photos")
        fast.sample(16)                                     # in 4 evaluations: it knows how

    Each stage is a run of its own in ``runs``, resumable as any other.

    Args:
        teacher: a run, a checkpoint, a model's file, the name of one that comes with the package, or somebody else's.
        data: what the teacher learned from; by default as its settings say.
        method: 'distribution' matches samples, 'progressive' halves the steps stage by stage, 'guidance' brings
            guidance into one evaluation; for 'consistency', 'jump' and 'regression' see docs/use/distillation.md.
        steps: in how many steps the student is to draw; the first is its default.
        guidance: the teacher's: one scale, which the student has inside, or two, between which it stays a choice.
        teacher_steps: steps of the teacher's walk, a power of two times those of the student; 0 for the method's own.
        threshold: what happens to a predicted x0 outside [-1, 1]; by default 'clip', by halving and jumps
            without guidance 'none', and of a student its own.
        minutes: in all; by default 5 for each unit of the stages, of which the last halvings take two, others one.
        updates: optimiser steps of the shortest stage, in place of minutes.
        name: of the student's run; by default the teacher's with the method or the steps: photos-distribution.
        runs: folder of runs.
        weights: of the teacher.
        resume: go on with the stages that the same call began.
        quiet: print nothing.
        settings: of the data's preparation, the training and the method by flat names, such as ``lr=1e-4``;
            ``optimizer`` may be a function of the parameters, as of `undiffuse.train`.

    Raises:
        UndiffuseError: anything that the user can mend, in one sentence, before any training.
    """
    runs, name = Path(runs), None if name is None else checked_name(name)
    given = with_data_named(with_texts(settings), quiet)
    request = DistillationRequest(
        _fitting("method", method, str),
        _several(_fitting("steps", steps, int | tuple[int, ...])),
        _several(_fitting("guidance", guidance, float | tuple[float, ...])),
        _fitting("teacher_steps", teacher_steps, int),
        _fitting("threshold", threshold, ThresholdName | None),
        given,
    )
    budget = _Budget(_fitting("minutes", minutes, float | None), _fitting("updates", updates, int | None))
    if is_given(data):
        data = keep_given(data)
    elif data is not None:
        data = typed_source(str(data), quiet)
    with joined() as group:
        console = Console(quiet or not group.is_main)
        model = load_model(teacher, weights)
        stages = make_stages(model, str(teacher), request)
        folders = _folders(stages, str(teacher), runs, name)
        begun = _begun(folders, resume)
        wanted = replace(model.config.data, source=str(data)) if data is not None else model.config.data
        if isinstance(wanted.validation, str):  # a share that the teacher did not learn is not learned by students
            wanted = replace(wanted, validation=0.0)
        of_data = {key: value for key, value in given.items() if key in fields_of(DataConfig)}
        wanted = change(wanted, of_data, "the settings")
        parts = sum(stage.part for stage in stages)
        stages = [budget.given_to(replace(stage, config=replace(stage.config, data=wanted)), parts) for stage in stages]
        for stage, folder in zip(stages, folders, strict=True):
            check(stage.config)
            outline(stage.config, model.info)  # a network that a program gave may not take what this stage tells it
            if folder in begun:
                _check_begun(folder, stage.config, {*given, *budget.typed})
        try:
            dataset = prepare_together(wanted, console, group)
        except NoSourceError as error:
            if wanted.pairs and "pairs" not in given and f"'{wanted.pairs}'" in str(error):
                raise UndiffuseError(f"{error}; {teacher} names it as its `pairs`, so say where they are") from None
            if data is not None:
                raise
            here = f"`undiffuse distill {quoted(str(teacher))} DATA`"
            raise UndiffuseError(f"{error}; {teacher} names it as its data, so say where they are: {here}") from None
        _check_classes(model, dataset.info, str(teacher))
        for sentence in remarks(model, str(teacher), stages):
            console.say(sentence)
        for sentence in unheeded(given, stages[-1].config):
            console.say(f"warning: {sentence}")
        console.say(f"distilling in {counted(len(folders), 'stage')}, {budget.in_words(parts)}: {_listed(folders)}")
        taught_by = started_from = str(teacher), model
        origin = origin_of(str(teacher), model)
        for stage, folder in zip(stages, folders, strict=True):
            config = stage.with_teacher(*taught_by, *started_from, origin)
            try:
                if folder in begun:
                    _check_teacher(folder, config)
                    asked = {key: flatten(config)[key] for key in {*PLACES, *given} if key in FREE}
                    model = resume_run(folder, dataset=dataset, console=console, group=group, **asked)
                else:
                    model = start_run(config, dataset, folder, console=console, group=group)
            except StoppedError as error:
                if stage is not stages[-1]:
                    error.args = (f"{error}, or with this stage and the later ones: the same command and `resume`",)
                raise
            started_from = str(folder), model
            taught_by = started_from if stage.teaches else taught_by
        return model


@dataclass(frozen=True)
class _Budget:
    """How long the stages take, in minutes of all or in updates of the shortest."""

    minutes: float | None
    updates: int | None

    def __post_init__(self) -> None:
        if self.minutes is not None and self.updates is not None:
            raise UndiffuseError("Give one budget: `minutes` in all, or `updates` of each stage")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UndiffuseError(f"`minutes` must be a finite number above 0, got {self.minutes:g}")
        if self.updates is not None and self.updates < 1:
            raise UndiffuseError(f"`updates` must be a whole number from 1 on, got {self.updates}")

    @property
    def typed(self) -> tuple[str, ...]:
        """The settings of a training that somebody chose with it."""
        return () if self.minutes is None and self.updates is None else ("steps", "minutes")

    def given_to(self, stage: Stage, parts: int) -> Stage:
        unit = MINUTES if self.minutes is None else self.minutes / parts
        own = {"steps": self.updates * stage.part} if self.updates else {"minutes": unit * stage.part}
        return replace(stage, config=replace(stage.config, loop=replace(stage.config.loop, **own)))

    def in_words(self, parts: int) -> str:
        if self.updates:
            return f"{counted(self.updates, 'update')} for the shortest"
        minutes = MINUTES * parts if self.minutes is None else self.minutes
        return f"about {counted(float(f'{minutes:.2g}') if minutes < 1 else round(minutes, 1), 'minute')}"


def _fitting(name: str, value: Any, hint: Any) -> Any:
    """An argument's value of an annotation's kind."""
    kind = kind_of(hint)
    try:
        return kind.fit(value)
    except TypeError:
        raise UndiffuseError(f"`{name}` must be {kind.stored}, got {show(value)}") from None


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _listed(folders: list[Path]) -> str:
    return ", ".join(map(str, folders))


def _folders(stages: list[Stage], teacher: str, runs: Path, name: str | None) -> list[Path]:
    stem = named_after(name or teacher)
    folders = [runs / f"{stem}-{stage.called}" for stage in stages]
    return [*folders[:-1], runs / name] if name else folders


def _begun(folders: list[Path], resume: bool) -> list[Path]:
    """The folders with runs to go on with; the others are free.

    Raises:
        UndiffuseError: one is taken.
    """
    begun = [folder for folder in folders if checkpoints(RunFolder(folder).checkpoints)]
    if begun and not resume:
        raise UndiffuseError(f"{begun[0]} is there already: go on with it by `resume`, or choose another `name`")
    for folder in folders:
        if folder not in begun:
            check_free(folder)
    return begun


def _check_classes(teacher: Model, info: DataInfo, name: str) -> None:
    """Check that the classes of the data are the teacher's: a student would be told one and taught another."""
    known, given = teacher.info.classes, info.classes
    numbered = known == tuple(map(str, range(len(given))))  # of a model that says nothing of their names
    if CLASS in [condition.name for condition in teacher.conditions] and given and given != known and not numbered:
        raise UndiffuseError(
            f"{name} knows {len(known)} classes, {_few(known)}, and '{info.name}' has {len(given)}, {_few(given)}: "
            "give data with all of them, of the same names"
        )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _check_begun(folder: Path, config: TrainConfig, typed: set[str]) -> None:
    """Check that a stage was begun as it is asked for now."""
    has = read_config(RunFolder(folder).config)
    flat, wanted = flatten(has), flatten(config)
    other = [name for name in sorted(typed) if name not in FREE and flat[name] != wanted[name]]
    if _of_request(has) == _of_request(config) and not other:
        return
    what = f"`{other[0]}={flat[other[0]]}`" if other else "other settings"
    if {*other} & {*BUDGETS}:
        raise UndiffuseError(f"{folder} was begun with another budget: leave it out, or choose another `name`")
    raise UndiffuseError(f"{folder} was begun with {what}: repeat the command, or choose another `name`")


def _check_teacher(folder: Path, config: TrainConfig) -> None:
    """Check that a stage was begun with the teacher that it has now."""
    before, now = (student_of(each.distillation) for each in (read_config(RunFolder(folder).config), config))
    assert before is not None
    assert now is not None
    if before.teacher_sha256 != now.teacher_sha256:
        raise UndiffuseError(
            f"{folder} was begun with a teacher of other weights, {before.teacher} (sha256 "
            f"{before.teacher_sha256[:12]}...): bring those back, or choose another `name`"
        )


def _of_request(config: TrainConfig) -> StudentConfig | None:
    """A student's settings without what the teacher filled in."""
    student = student_of(config.distillation)
    return student and replace(student, teacher="", teacher_weights="", teacher_sha256="", origin="", origin_sha256="")
