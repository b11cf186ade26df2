"""Runs that are compared: what they are called, what differs between them, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from undiffuse.checkpoints.find import is_model
from undiffuse.config.distillation import student_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten, sections
from undiffuse.config.students import walking_student
from undiffuse.errors import UndiffuseError, counted, quoted
from undiffuse.model import load_model
from undiffuse.model.student_words import in_words
from undiffuse.reports.run_history import Story
from undiffuse.reports.table import Matrix
from undiffuse.training.callbacks.progress_line import duration
from undiffuse.visualization.plot import COLORS

OF_THE_LOSS = ("diffusion", "objective", "distillation")
"""Sections of the settings that decide what a loss is a loss of."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class ComparedFigures:
    """Comparable figures, the paragraph above them, and the sentences that belong below them."""

    title: str
    matrix: Matrix
    text: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineup:
    """Two runs or more, and the names that tell them apart."""

    stories: tuple[Story, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Path | str], device: str = "cpu") -> Lineup:
        """Load the newest whole checkpoint of each run."""
        paths = [Path(run) for run in runs]
        check_runs(paths)
        stories = tuple(Story(path, load_model(path, device=device)) for path in paths)
        for story in stories:
            if story.model.config.conditions.upscale > 1:
                raise UndiffuseError(
                    f"{story.run} is a stage of a cascade, which draws nothing by itself, so there are no samples of "
                    f"it to put side by side: undiffuse report {quoted(story.run)} shows what it does"
                )
        return cls(stories, tell_apart([path.resolve() for path in paths]))

    @cached_property
    def colors(self) -> dict[str, str]:
        """A run's colour, the one that plots give to its curve."""
        return {name: COLORS[k % len(COLORS)] for k, name in enumerate(self.names)}

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """The settings of each run by their flat names; those of students where there is one."""
        flats, homes = [flatten(story.model.trained_config) for story in self.stories], sections(TrainConfig)
        if any(student_of(story.model.config.distillation) for story in self.stories):
            return flats
        return [{name: flat[name] for name in flat if homes[name] != "distillation"} for flat in flats]

    @cached_property
    def differing(self) -> tuple[str, ...]:
        return tuple(
            name for name in self.settings[0] if any(flat[name] != self.settings[0][name] for flat in self.settings)
        )

    @property
    def shared(self) -> dict[str, str]:
        """The settings that are the same in all runs, as they are typed."""
        return {name: typed(value) for name, value in self.settings[0].items() if name not in self.differing}

    def settings_matrix(self) -> Matrix:
        rows = tuple((name, *(typed(flat[name]) for flat in self.settings)) for name in self.differing)
        return Matrix(("setting", *self.names), rows)

    def facts_matrix(self) -> Matrix:
        columns = [facts(story) for story in self.stories]
        if all(column["student"] == "no" for column in columns):
            columns = [{name: column[name] for name in column if name != "student"} for column in columns]
        return Matrix(("", *self.names), tuple((name, *(column[name] for column in columns)) for name in columns[0]))

    def warnings(self) -> list[str]:
        """Sentences about what cannot be compared."""
        found = []
        data = self.by(lambda story: f"{story.model.info.name} ({story.model.info.fingerprint[:8]})")
        if len(data) > 1:
            parts = "; ".join(f"{listed(names)} learned {what}" for what, names in data.items())
            found.append(
                f"These runs learned different data: {parts}. Losses, distances and likelihoods compare "
                "models of the same data only."
            )
        homes = sections(TrainConfig)
        named = ("distillation" if homes[name] == "distillation" else name for name in self.differing)
        objective = [name for name in dict.fromkeys(named) if homes.get(name, name) in OF_THE_LOSS]
        if objective:
            verb = "differs" if len(objective) == 1 else "differ"
            found.append(
                f"Their losses are not of one objective ({listed(objective)} {verb}): "
                "a lower curve does not mean a better model."
            )
        return found

    def by(self, key: Callable[[Story], str]) -> dict[str, list[str]]:
        """Names of the runs that have the same of something."""
        groups = grouped(zip(self.names, self.stories, strict=True), lambda pair: key(pair[1]))
        return {what: [name for name, _ in pairs] for what, pairs in groups.items()}


def check_runs(paths: Sequence[Path]) -> None:
    """Refuse what cannot be compared, before anything is loaded."""
    for path in paths:
        _check_run(path)
    if len(paths) < 2:
        raise UndiffuseError(
            f"A comparison is of two runs or more, and {len(paths)} came: undiffuse compare runs/A runs/B"
        )
    places = [path.resolve() for path in paths]
    for k, place in enumerate(places):
        if place in places[:k]:
            raise UndiffuseError(f"{paths[k]} came twice; a comparison is of different runs")


def _check_run(path: Path) -> None:
    if (path / "checkpoints").is_dir():
        return
    if (path / "manifest.json").exists():
        raise UndiffuseError(f"{path} is a checkpoint; name the run that it belongs to, as runs/NAME")
    alone = "is a model alone" if is_model(path) else "is not there"
    state = "holds no run" if path.is_dir() else alone
    raise UndiffuseError(f"{path} {state}; a comparison takes folders that undiffuse train made, as runs/NAME")


def tell_apart(places: Sequence[Path]) -> tuple[str, ...]:
    """The last parts of the paths, as many as it takes for all to be different: 'demo', or 'monday/demo'."""
    longest = max(len(place.parts) for place in places)
    tails = ([str(Path(*place.parts[-length:])) for place in places] for length in range(1, longest + 1))
    return tuple(next(names for names in tails if len(set(names)) == len(names)))


def grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """The items by their keys, both in the order in which they came."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def leader(entries: Sequence[Item | None], leads: Callable[[Item, Item], bool]) -> int | None:
    """The place of the entry that leads every other, of two or more that are there; or None."""
    there = {k: entry for k, entry in enumerate(entries) if entry is not None}
    ahead = (k for k, one in there.items() if all(leads(one, other) for j, other in there.items() if j != k))
    return next(ahead, None) if len(there) > 1 else None


def column_names(files: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The names of runs; of those that occur twice with the names of their files behind them."""
    runs = [run for run, _ in files]
    return tuple(run if runs.count(run) == 1 else f"{run} ({file})" for run, file in files)


def facts(story: Story) -> dict[str, str]:
    model, state, settings = story.model, story.state, how_drawn(story)
    return {
        "recipe": model.config.recipe,
        "student": in_words(student) if (student := student_of(model.config.distillation)) else "no",
        "data": f"{model.info.name} ({model.info.fingerprint[:8]})",
        "images learned": f"{model.info.count:,}",
        "shape": " x ".join(map(str, model.info.shape)),
        "parameters": story.parameters,
        "predicts": model.config.diffusion.parameterization,
        "steps": story.steps,
        "images seen": f"{state['images']:,}",
        "trained for": duration(state["seconds"]),
        "trained on": str(story.environment.get("device_name", "not known")),
        "last loss": story.last_loss,
        "proxy distance": proxy_in_words(story),
        "weights drawn with": weights_in_words(story),
        "sampler": f"{settings.solver.sampler}, {counted(settings.solver.steps, 'step')}",
    }


def proxy_in_words(story: Story) -> str:
    if not story.proxies:
        return "none"
    last = story.proxies[-1]["proxy"]
    floor = "" if last["floor"] is None else f" (floor {last['floor']:.3g})"
    return f"{last['distance']:.4g}{floor}"


def how_drawn(story: Story) -> SampleConfig:
    """The default sampler, in fewer steps where the chain is shorter; a student's own."""
    if student := walking_student(story.model.config):
        return SampleConfig.of(**student.walk(), guidance=student.guidance_unsaid)
    settings = SampleConfig()
    return settings.changed(steps=min(settings.solver.steps, story.model.config.diffusion.timesteps))


def weights_in_words(story: Story) -> str:
    """'average of rate 0.999', or 'raw weights' where a run keeps no average."""
    weights = story.model.provenance["weights"]
    return "raw weights" if weights == "raw" else f"average of rate {weights}"


def typed(value: Any) -> str:
    """A setting's value as it is typed, with every digit."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def listed(words: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
