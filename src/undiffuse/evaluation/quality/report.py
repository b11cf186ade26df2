"""Figures for people and for other programs: a table of 100 columns, a JSON file, and the files read back."""

from __future__ import annotations

import json
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from undiffuse.errors import counted
from undiffuse.evaluation.quality.evaluate import FORMAT, Quality
from undiffuse.evaluation.quality.image_source import ImageSource, ModelSamples
from undiffuse.evaluation.quality.measurement import Measurement
from undiffuse.provenance.adapter_names import short_name
from undiffuse.runtime.durable_files import shortened
from undiffuse.version import __version__

WIDTH = 100
FOLDER = "evaluation"
"""Of a run's folder."""


def table(quality: Quality) -> str:
    """All that the figures depend on, a line for every figure, and below them the warnings."""
    lines = [line for name, words in _header(quality) for line in _wrapped(f"{name:<11}", words)]
    lines += ["", *_rows(quality), "", "↓ lower is better, ↑ higher is better"]
    lines += [line for mark, words in _footnotes(quality.figures) for line in _wrapped(f"[{mark}] ", words)]
    lines += [line for note in quality.notes for line in _wrapped("", note)]
    return "\n".join(lines)


def _wrapped(head: str, words: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)


def _header(quality: Quality) -> Iterator[tuple[str, str]]:
    """Everything that the figures depend on, by name."""
    reference, subject = quality.reference, quality.subject
    yield "samples", _samples(quality)
    if subject["kind"] == "run":
        yield "model", _model(subject)
        yield "sampler", _sampler(subject)
    shape = " x ".join(map(str, reference["shape"]))
    yield (
        "reference",
        f"{reference['name']}: {counted(reference['count'], 'image')} of {shape}, {reference['dtype']}, "
        f"fingerprint {reference['fingerprint'][:12]}, {reference['given']}",
    )
    for one in quality.extractors:
        yield "extractor", f"{one.name}, sha256 {one.sha256[:12]}; {one.resize}"
    yield from _floor(quality)
    if quality.likelihood is not None:
        facts = quality.likelihood
        steps = counted(facts["timesteps"], "timestep")
        trained = "which the model was trained on" if facts["trained_on"] else "which the model was not trained on"
        yield "likelihood", f"{counted(facts['count'], 'image')} of {facts['name']}, {trained}; {steps}"
    yield "version", f"undiffuse {__version__}, on {subject['device']}"


def _samples(quality: Quality) -> str:
    subject = quality.subject
    if subject["kind"] == "run":
        return f"N = {counted(quality.n, 'image')} drawn by {subject['name']}, {_seeds(quality)}"
    chosen = "all of them" if subject["there"] == quality.n else f"of {subject['there']:,}, drawn by {_seeds(quality)}"
    return (
        f"N = {counted(quality.n, 'image')} of {subject['name']}, {chosen}; fingerprint {subject['fingerprint'][:12]}"
    )


def _seeds(quality: Quality) -> str:
    first, count = quality.settings.seed, quality.settings.repeat
    return f"seed {first}" if count == 1 else f"seeds {first} to {first + count - 1}"


def _model(subject: dict[str, Any]) -> str:
    weights = "raw weights" if subject["weights"] == "raw" else f"EMA weights of rate {subject['weights']}"
    return f"{subject['checkpoint']}, step {subject['step']:,}, {weights}, sha256 {subject['sha256'][:12]}"


def _sampler(subject: dict[str, Any]) -> str:
    eta = "" if subject["eta"] is None else f", eta {subject['eta']:g}"
    settings = subject["settings"]
    return (
        f"{subject['sampler']}, {counted(subject['steps'], 'step')} ({settings['spacing']}), "
        f"{counted(subject['evaluations'], 'evaluation')} an image{eta}, x0 threshold: {settings['threshold']}"
    )


def _floor(quality: Quality) -> Iterator[tuple[str, str]]:
    floors = [figure.floor for figure in quality.figures if figure.floor is not None]
    if floors:
        n, m = floors[0].n, floors[0].m
        yield "floor", f"the same metric between {n:,} real images and {m:,} other real images of the reference"


def _rows(quality: Quality) -> Iterator[str]:
    several = quality.settings.repeat > 1
    head = ["figure", "value", "+-", "floor", "+-", *(["mean", "std of seeds"] if several else []), ""]
    marks = {words: str(mark) for mark, words in _footnotes(quality.figures)}
    body = []
    for figure in quality.figures:
        found = ",".join(marks[words] for words in figure.warning.split("; ") if words)
        body.append([*_numbers(figure, several), f"[{found}]" if found else ""])
    widths = [max(len(row[k]) for row in [head, *body]) for k in range(len(head))]
    for name, *cells, mark in [head, *body]:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *aligned, mark]).rstrip()


ARROWS = {"lower": "↓", "higher": "↑"}


def _numbers(figure: Measurement, several: bool) -> list[str]:
    floor = figure.floor
    name = f"{figure.name} ({figure.extractor})" if figure.extractor else figure.name
    cells = [f"{name} {ARROWS[figure.better]}", number(figure.value), error(figure.error)]
    cells += [number(floor.value), error(floor.error)] if floor else ["-", ""]
    if several:
        cells += [number(figure.seeds.mean), error(figure.seeds.std)] if figure.seeds else ["-", ""]
    return cells


def number(value: float) -> str:
    """Four digits, or one behind the point: 13,598.1, 800.0, 0.01234, 1.234e-05."""
    return f"{value:,.1f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def error(value: float | None) -> str:
    """Two digits of an error bar, or all before the point; empty where there is none."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def _footnotes(figures: tuple[Measurement, ...]) -> list[tuple[int, str]]:
    """Every different sentence once, numbered."""
    sentences = dict.fromkeys(words for figure in figures for words in figure.warning.split("; ") if words)
    return list(enumerate(sentences, start=1))


def to_text(quality: Quality) -> str:
    return json.dumps(quality.to_json(), indent=1, allow_nan=False) + "\n"


def default_file(subject: ImageSource, reference: str, extractors: Sequence[str]) -> Path:
    """The place of the JSON file, made of what tells evaluations apart; the plot stands beside it.

    Returns:
        ``RUN/evaluation/step-1000-digits-5000-ddim-50-seed-0-classifier.json`` for images that a run's model draws,
        ``evaluation-NAME-step-....json`` in the working directory for one in a file, ``evaluation-NAME.json`` there
        for given images.
    """
    if isinstance(subject, ModelSamples):
        settings = subject.settings
        weights = "" if settings.compute.weights == "ema" else f"-{settings.compute.weights}"
        words = [
            f"step-{subject.model.provenance['step']}{weights}",
            Path(reference).stem,
            str(subject.count),
            settings.solver.sampler,
            str(settings.solver.steps),
            f"seed-{subject.seed}",
            *extractors,
        ]
        home = subject.model.home
        if home == Path():  # the working directory, where the name alone tells models apart
            words = [FOLDER, short_name(subject.model.provenance["checkpoint"]).replace(".safetensors", ""), *words]
        return (home if home == Path() else home / FOLDER) / f"{_file_word('-'.join(words))}.json"
    return Path(f"evaluation-{_file_word(Path(subject.info.name).stem)}.json")


def _file_word(words: str) -> str:
    """Without what a file's name must not hold, and no longer than it may be."""
    return shortened(re.sub(r"[^\w.+-]+", "-", words).strip("-."))


def read_evaluations(run: Path) -> list[dict[str, Any]]:
    """The files of `undiffuse evaluate` in a run's folder, oldest first.

    Files that hold something else are passed over; one that should be an evaluation and cannot be read is named in a
    warning.
    """
    found = []
    for path in sorted((run / FOLDER).glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as reason:
            warnings.warn(f"{path} cannot be read and is left out: {reason}", stacklevel=2)
            continue
        if isinstance(tree, dict) and tree.get("kind") == "quality" and tree.get("format") == FORMAT:
            found.append({"file": path.stem, **tree})
    return found
