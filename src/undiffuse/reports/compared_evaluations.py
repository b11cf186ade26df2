"""Figures of quality of the runs of a comparison, as ``undiffuse evaluate`` left them in `RUN/evaluation/`.

Two figures are comparable where their N, their reference's fingerprint and their extractor are equal; bits/dim have
their images and timesteps in the place of an extractor. Everything else that an evaluation depends on (step, weights,
sampler, seed) is what is compared, so it stands in rows above the figures.

The best of a row leads every other by more than chance: by more than twice the root of the summed squares of the two
errors, or, where a distance has no error of its own, by more than its floor, which is as far as real images are from
real images. Other figures without errors have no best; ``undiffuse evaluate --repeat`` gives them errors.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError, counted
from undiffuse.evaluation.quality.report import read_evaluations
from undiffuse.reports.commands import option
from undiffuse.reports.run_comparison import ComparedFigures, Lineup, column_names, grouped, leader, listed
from undiffuse.reports.run_history import Story
from undiffuse.reports.table import Matrix

SURE = 2.0
"""Errors by which the best must lead."""
MARKED = (
    "↓: less is better; ↑: more is better. The floor is the same metric between real images and other real images. The "
    f"best is marked where it leads every other by more than {SURE:g} times their joint error (±), or, if a distance "
    "has no error, by more than the floor; figures without either have no best, and --repeat gives them errors."
)
"""What stands above the tables."""


@dataclass(frozen=True)
class Score:
    """One metric of one evaluation: the mean over seeds where there were several."""

    name: str
    value: float
    error: float | None
    better: str
    floor: float | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, figure: dict[str, Any]) -> Score:
        seeds, floor = figure["seeds"], figure["floor"]
        value, error = (seeds["mean"], seeds["std"]) if seeds else (figure["value"], figure["error"])
        warnings = tuple(sentence for sentence in str(figure["warning"]).split("; ") if sentence)
        return cls(
            str(figure["name"]),
            math.nan if value is None else float(value),
            None if error is None else float(error),
            str(figure["better"]),
            None if floor is None or floor["value"] is None else float(floor["value"]),
            warnings,
        )

    def words(self) -> str:
        if not math.isfinite(self.value):
            return "not finite"
        return f"{self.value:.4g}" if self.error is None else f"{self.value:.4g} ± {self.error:.2g}"

    def leads(self, other: Score) -> bool:
        """True where this is better by more than chance."""
        gap = other.value - self.value if self.better == "lower" else self.value - other.value
        if self.error is not None and other.error is not None:
            return gap > SURE * math.hypot(self.error, other.error)
        if self.better == "lower" and self.floor is not None and other.floor is not None:
            return gap > max(self.floor, other.floor)
        return False


@dataclass(frozen=True)
class Basis:
    """All that must be equal for figures to be compared."""

    n: int
    reference: str = field(compare=False)
    """Its name."""
    fingerprint: str
    """That of the reference."""
    extractor: tuple[str, str, str]
    """Name, sha256 and resize rule; for bits/dim no name, and how many timesteps of the bound were evaluated."""


@dataclass(frozen=True)
class EvaluationEntry:
    """The figures of one evaluation on one basis.

    Args:
        file: its name without the ending.
        subject: facts of the model and its sampling that are compared.
        scores: by metric.
    """

    run: str
    file: str
    basis: Basis
    subject: dict[str, str]
    scores: dict[str, Score]


def quality_tables(lineup: Lineup) -> tuple[str, list[ComparedFigures]]:
    """A table for each basis; and, where there are several, why their figures cannot be compared with each other."""
    groups = grouped(_entries(lineup), lambda entry: entry.basis)
    return _why_apart(list(groups)), [_table(group) for group in groups.values()]


def evaluate_commands(story: Story) -> list[str]:
    """The commands that evaluated the run, as far as the files say."""
    return [_command(story, one) for one in read_evaluations(story.run) if one["subject"]["kind"] == "run"]


def _command(story: Story, evaluation: dict[str, Any]) -> str:
    subject, settings, reference = evaluation["subject"], evaluation["settings"], evaluation["reference"]
    words = ["undiffuse", "evaluate", str(story.run), "-n", str(evaluation["n"]), "--seed", str(settings["seed"])]
    if reference["fingerprint"] not in (story.model.info.fingerprint, story.model.info.new):
        words += ["--reference", str(reference["name"])]
    words += ["--extractor", ",".join(one["name"] for one in evaluation["extractors"])]
    words += ["--repeat", str(settings["repeat"])] if settings["repeat"] > 1 else []
    standard = SampleConfig().flat()
    for name, value in subject["settings"].items():
        chosen = tuple(value) if isinstance(value, list) else value
        counted_by_times = name == "steps" and subject["settings"].get("times")
        words += option(name, chosen) if chosen != standard.get(name) and not counted_by_times else []
    return shlex.join(words)


def _entries(lineup: Lineup) -> list[EvaluationEntry]:
    """The entries of the runs' models: an evaluation of given images that lies there is of no run."""
    found = []
    for name, story in zip(lineup.names, lineup.stories, strict=True):
        for evaluation in read_evaluations(story.run):
            try:
                if evaluation["subject"]["kind"] == "run":
                    found += _read(name, evaluation)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise UndiffuseError(
                    f"{story.run}/evaluation/{evaluation['file']}.json is not as undiffuse evaluate writes it; "
                    "measure again, or move it away"
                ) from None
    return found


def _read(run: str, evaluation: dict[str, Any]) -> list[EvaluationEntry]:
    """One entry an extractor, and one for bits/dim."""
    identities = {one["name"]: (one["name"], one["sha256"], one["resize"]) for one in evaluation["extractors"]}
    entries: dict[Basis, EvaluationEntry] = {}
    for figure in evaluation["figures"]:
        extractor = identities.get(figure["extractor"])
        images = evaluation["reference"] if extractor else evaluation["likelihood"]
        how = extractor or ("", "", counted(images["timesteps"], "timestep"))
        basis = Basis(int(figure["n"]), str(images["name"]), str(images["fingerprint"]), how)
        subject = _subject(evaluation["subject"], sampled=extractor is not None)
        entry = entries.setdefault(basis, EvaluationEntry(run, evaluation["file"], basis, subject, {}))
        entry.scores[str(figure["metric"])] = Score.of(figure)
    return list(entries.values())


def _subject(facts: dict[str, Any], sampled: bool) -> dict[str, str]:
    """The other facts that the figures depend on; no sampler where nothing was sampled."""
    found = {"step": f"{facts['step']:,}", "weights": str(facts["weights"])}
    if sampled:
        found["sampler"] = f"{facts['sampler']}, {counted(facts['evaluations'], 'evaluation')}"
        found["seed"] = str(facts["seed"])
    return found


def _table(group: Sequence[EvaluationEntry]) -> ComparedFigures:
    basis, names = group[0].basis, column_names([(entry.run, entry.file) for entry in group])
    rows = [(fact, *(entry.subject[fact] for entry in group), "") for fact in group[0].subject]
    best: set[tuple[int, int]] = set()
    warned: dict[tuple[str, str], list[str]] = {}
    for metric in dict.fromkeys(metric for entry in group for metric in entry.scores):
        scores = [entry.scores.get(metric) for entry in group]
        if (winner := leader(scores, Score.leads)) is not None:
            best.add((len(rows), winner + 1))
        first = next(score for score in scores if score is not None)
        arrow = "↓" if first.better == "lower" else "↑"
        rows.append((f"{first.name} {arrow}", *(score.words() if score else "-" for score in scores), _floor(scores)))
        for warning in _warnings(names, scores):
            warned.setdefault(warning, []).append(first.name)
    title = f"N = {basis.n:,}, against {basis.reference} ({basis.fingerprint[:8]}), by {_called(basis)}"
    notes = tuple(f"{listed(metrics)}{whose}: {sentence}." for (sentence, whose), metrics in warned.items())
    return ComparedFigures(title, Matrix(("", *names, "floor"), tuple(rows), frozenset(best)), notes=notes)


def _floor(scores: Sequence[Score | None]) -> str:
    """The floor, or from where to where it is: its halves depend on the evaluation's seed."""
    floors = sorted(score.floor for score in scores if score and score.floor is not None)
    words = list(dict.fromkeys(f"{floor:.4g}" for floor in floors))
    return " to ".join(words if len(words) < 2 else (words[0], words[-1])) or "-"


def _warnings(names: Sequence[str], scores: Sequence[Score | None]) -> list[tuple[str, str]]:
    """(warning, ' of A'), the second empty where it is for all."""
    whom: dict[str, list[str]] = {}
    for name, score in zip(names, scores, strict=True):
        for sentence in score.warnings if score else ():
            whom.setdefault(sentence, []).append(name)
    there = sum(score is not None for score in scores)
    return [(sentence, "" if len(who) == there else f" of {listed(who)}") for sentence, who in whom.items()]


def _called(basis: Basis) -> str:
    name, sha256, how = basis.extractor
    return f"{name} ({sha256[:8]})" if name else f"the variational bound at {how}"


def _why_apart(bases: Sequence[Basis]) -> str:
    """The differences of tables of distances, in words; '' for a single one."""
    bases = [basis for basis in bases if basis.extractor[0]]
    differing = {
        "the number of images": [f"{basis.n:,}" for basis in bases],
        "the reference": [f"{basis.reference} {basis.fingerprint[:8]}" for basis in bases],
        "the extractor": [_called(basis) for basis in bases],
        "how it resizes": [basis.extractor[2] for basis in bases if basis.extractor[0] == bases[0].extractor[0]],
    }
    parts = [f"{what} ({listed(dict.fromkeys(values))})" for what, values in differing.items() if len(set(values)) > 1]
    if not parts:
        return ""
    return (
        f"Figures of different tables cannot be compared, since they differ in {listed(parts)}: a distance of one set "
        "of images, in one network's features, at one N, says nothing of another."
    )
