"""`distill`: the one function behind ``undiffuse.distill(...)`` and ``undiffuse distill``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from undiffuse.config.distillation import MethodName, ThresholdName, student_of
from undiffuse.config.files import read_config
from undiffuse.data.preparation.in_memory import is_given, keep_given
from undiffuse.data.preparation.named import typed_source
from undiffuse.data.preparation.open_source import NoSourceError
from undiffuse.errors import UndiffuseError, counted, quoted
from undiffuse.model import Model, load_model
from undiffuse.runtime.process_group import joined
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.api import named_after, prepare_together, resume_run, start_run
from undiffuse.training.callbacks.console import Console
from undiffuse.training.distillation.request import DistillationRequest, make_stages
from undiffuse.training.distillation.stages import Stage
from undiffuse.training.run.folder import RunFolder

MINUTES = 5.0
"""Of the shortest stage, where nobody gives a budget."""


@own_modes()
def distill(
    teacher: str | Path,
    data: Any = None,
    *,
    method: MethodName = "progressive",
    steps: int | tuple[int, ...] = (),
    guidance: float | tuple[float, ...] = (),
    teacher_steps: int = DistillationRequest.teacher_steps,
    threshold: ThresholdName = "clip",
    minutes: float | None = None,
    updates: int | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    weights: str = "ema",
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Model:
    """Train a student that draws in a few evaluations what a trained model draws in many, and return it.

        fast = undiffuse.distill("runs/photos", steps=4)
        fast.sample(16)                                     # in 4 evaluations: it knows how

    Each stage is a run of its own in ``runs``, resumable as any other.

    Args:
        teacher: a run, a checkpoint, a model's file, the name of one that comes with the package, or somebody else's.
        data: what the teacher learned from; by default as its settings say.
        method: 'progressive' halves the steps stage by stage; 'guidance' brings guidance into one evaluation;
            'consistency', 'jump', 'regression' and 'distribution' train one student, see docs/use/distillation.md.
        steps: in how many steps the student is to draw; the first is its default.
        guidance: the teacher's: one scale, which the student has inside, or two, between which it stays a choice.
        teacher_steps: steps of the teacher's walk, a power of two times those of the student; 0 for the method's own.
        threshold: what happens to a predicted x0 outside [-1, 1].
        minutes: in all; by default 5 for each unit of the stages, of which the last halvings take two, others one.
        updates: optimiser steps of the shortest stage, in place of minutes.
        name: of the student's run; by default that of the teacher with the steps: photos-4-steps.
        runs: folder of runs.
        weights: of the teacher.
        resume: go on with the stages that the same call began.
        quiet: print nothing.
        settings: of the training and of the method by flat names, such as ``lr=1e-4``.

    Raises:
        UndiffuseError: anything that the user can mend, in one sentence, before any training.
    """
    runs = Path(runs)
    request = DistillationRequest(method, _several(steps), _several(guidance), teacher_steps, threshold, {**settings})
    if minutes is not None and updates is not None:
        raise UndiffuseError("Give one budget: `minutes` in all, or `updates` of each stage")
    if is_given(data):
        data = keep_given(data)
    elif data is not None:
        data = typed_source(str(data), quiet)
    with joined() as group:
        console = Console(quiet or not group.is_main)
        model = load_model(teacher, weights)
        stages = make_stages(model, str(teacher), request)
        folders = _folders(stages, str(teacher), runs, name)
        if not resume and (there := [folder for folder in folders if folder.exists()]):
            raise UndiffuseError(f"{there[0]} is there already: go on with it by `resume`, or choose another `name`")
        parts = sum(stage.part for stage in stages)
        unit = MINUTES if minutes is None else minutes / parts
        wanted = replace(model.config.data, source=str(data)) if data is not None else model.config.data
        try:
            dataset = prepare_together(wanted, console, group)
        except NoSourceError as error:
            if data is not None:
                raise
            here = f"`undiffuse distill {quoted(str(teacher))} DATA`"
            raise UndiffuseError(f"{error}; {teacher} names it as its data, so say where they are: {here}") from None
        console.say(_plan_in_words(folders, unit * parts, updates))
        taught_by = started_from = str(teacher), model
        for stage, folder in zip(stages, folders, strict=True):
            if RunFolder(folder).config.is_file() and resume:
                model = _resumed(stage, folder, console=console, group=group)
            else:
                config = stage.with_teacher(*taught_by, *started_from)
                budget = {"steps": updates * stage.part} if updates else {"minutes": unit * stage.part}
                config = replace(config, data=wanted, loop=replace(config.loop, **budget))
                model = start_run(config, dataset, folder, console=console, group=group)
            started_from = str(folder), model
            taught_by = started_from if stage.teaches else taught_by
        return model


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _folders(stages: list[Stage], teacher: str, runs: Path, name: str | None) -> list[Path]:
    stem = named_after(name or teacher)
    folders = [runs / f"{stem}-{stage.called}" for stage in stages]
    return [*folders[:-1], runs / name] if name else folders


def _plan_in_words(folders: list[Path], minutes: float, updates: int | None) -> str:
    made, length = ", ".join(map(str, folders)), f"about {counted(round(minutes, 1), 'minute')}"
    if updates:
        length = f"{counted(updates, 'update')} for the shortest"
    return f"distilling in {counted(len(folders), 'stage')}, {length}: {made}"


def _resumed(stage: Stage, folder: Path, **around: Any) -> Model:
    """The model of a stage that was begun, its training finished."""
    before = student_of(read_config(RunFolder(folder).config).distillation)
    asked = student_of(stage.config.distillation)
    assert asked is not None
    if before is None or _of_request(before) != _of_request(asked):
        raise UndiffuseError(f"{folder} was begun with other settings: repeat them, or choose another `name`")
    return resume_run(folder, **around)


def _of_request(student: Any) -> Any:
    """A student's settings without what the teacher filled in."""
    blank = dict.fromkeys(("teacher", "teacher_weights", "teacher_sha256", "origin", "origin_sha256"), "")
    return replace(student, **blank)
