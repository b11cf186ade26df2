"""Many trainings of settings that vary, several at a time where cores allow, and a page that sets them side by side.

    undiffuse.sweep("photos/", {"lr": [1e-4, 3e-4], "base": [32, 64]}, name="widths", minutes=10, size=32)

Every combination is an ordinary run, ``runs/widths/lr-0.0001-base-32`` and so on, which can be resumed, drawn from and
measured as any other. A sweep that is called again goes on with the runs that are not finished.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Unpack

from undiffuse.config.fields import check_registered
from undiffuse.config.files import override
from undiffuse.config.keywords import TrainSettings
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flat_fields
from undiffuse.errors import UndiffuseError, counted, in_one_sentence, perhaps
from undiffuse.provenance.png import write_text
from undiffuse.reports.commands import option
from undiffuse.reports.compare import SAMPLES, SEED, compare
from undiffuse.runtime.cores import THREADS, allowance
from undiffuse.runtime.durable_files import shortened
from undiffuse.training.api import train
from undiffuse.training.callbacks.console import Console
from undiffuse.training.run.names import checked_name
from undiffuse.training.run.objects import with_texts
from undiffuse.training.run.signals import StoppedError

MOST = 1000
"""Runs of a sweep."""
PAGE = "compare.html"
"""The comparison, in the folder of the runs."""
PATIENCE = 60.0
"""Seconds that a training gets to save, after the sweep was stopped."""


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, in the order of the combinations.

    Args:
        runs: folders of the finished ones, with what varies in each.
        failed: the others by the name of the folder, with a sentence each.
        page: the comparison; None where fewer than two runs are finished.
    """

    runs: Mapping[Path, Mapping[str, Any]]
    failed: Mapping[str, str]
    page: Path | None = field(default=None)


@in_one_sentence
def sweep(
    source: Any,
    vary: Mapping[str, Sequence[Any]],
    name: str,
    runs: str | Path = "runs",
    recipe: str | None = None,
    jobs: int | None = None,
    quiet: bool = False,
    **settings: Unpack[TrainSettings],
) -> Sweep:
    """Train every combination of some settings, and compare them.

    Args:
        source, recipe, settings: as `undiffuse.train` takes them.
        vary: by the name of a setting the values that it takes.
        name: of the folder of the runs, in ``runs``.
        jobs: trainings at a time, each a process with its part of the cores; by default one for two cores. Settings
            that are objects need ``jobs=1``, by which the trainings run one after another in this process.
        quiet: print nothing.

    Raises:
        UndiffuseError: settings that cannot be, or no training that ends well; what fails of some is in `Sweep.failed`.
    """
    shared, folder = with_texts(settings), Path(runs) / checked_name(name)
    combinations = checked_combinations(vary, shared)
    at_once = max(1, allowance().threads // 2) if jobs is None else jobs
    if at_once < 1:
        raise UndiffuseError(f"A sweep has one training at a time or more; jobs is {at_once}")
    console = Console(quiet)
    console.say(f"{counted(len(combinations), 'run')} in {folder}, {at_once} at a time")
    if at_once == 1 or len(combinations) == 1:
        failed = dict(_one_by_one(source, combinations, folder, {"recipe": recipe, **shared}, console))
    else:
        failed = _side_by_side(source, combinations, folder, {"recipe": recipe, **shared}, at_once, console)
    done = {folder / each: varied for each, varied in combinations.items() if each not in failed}
    for each, why in failed.items():
        console.say(f"{each} failed: {why}")
    if not done:
        raise UndiffuseError(f"No run of the sweep ended well; the first one says: {next(iter(failed.values()))}")
    if len(done) == 1:
        return Sweep(done, failed)
    found = compare(list(done), SAMPLES, SEED)
    page = folder / PAGE
    write_text(page, found.html(page), overwrite=True)
    console.say(f"{found.text()}\n{page}: open it in a browser")
    return Sweep(done, failed, page)


def checked_combinations(vary: Mapping[str, Sequence[Any]], shared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What varies in each run, by the run's name.

    Raises:
        UndiffuseError: there is no such setting or value, or there are no runs, or too many.
    """
    known = flat_fields(TrainConfig)
    varied: dict[str, list[Any]] = {}
    for setting, values in vary.items():
        own = {"network": "architecture", "objective": "loss"}.get(setting, setting)
        if own not in known or own == "source":
            raise UndiffuseError(f"There is no setting '{setting}' to vary{perhaps(setting, known)}")
        if setting in shared or own in shared:
            raise UndiffuseError(f"`{setting}` varies and is given beside: leave one of them out")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UndiffuseError(f"`{setting}` varies over a list of values, such as [1e-4, 3e-4]; got {values!r:.60}")
        varied[own] = [with_texts({own: value})[own] for value in values]
        for value in varied[own]:
            check_registered(known[own], value)
            override(TrainConfig(), **({own: value} if own != "architecture" else {}))
    combinations = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    if not varied or len(combinations) > MOST:
        raise UndiffuseError(f"A sweep has 1 to {MOST:,} runs, and these are {len(combinations) if varied else 0:,}")
    named = {_named(varied): varied for varied in combinations}
    if len(named) < len(combinations):
        raise UndiffuseError("Two runs of the sweep would be called alike: a value is given twice")
    return named


def _named(varied: Mapping[str, Any]) -> str:
    words = "-".join(f"{name}-{_word(value)}" for name, value in varied.items())
    return shortened("".join(sign if sign.isalnum() or sign in "-_.+" else "_" for sign in words).strip("_."))


def _word(value: Any) -> str:
    return ",".join(map(_word, value)) or "none" if isinstance(value, (list, tuple)) else f"{value}"


def _has_begun(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir()


def _one_by_one(
    source: Any, combinations: Mapping[str, Mapping[str, Any]], folder: Path, shared: dict[str, Any], console: Console
) -> Iterator[tuple[str, str]]:
    """Names and sentences of the runs that fail."""
    for number, (name, varied) in enumerate(combinations.items(), start=1):
        console.say(f"{number} of {len(combinations)}: {name}")
        how = {**shared, **varied, "name": name, "runs": folder, "quiet": console.quiet}
        try:
            train(source, resume=_has_begun(folder / name), **how)
        except StoppedError:
            raise
        except UndiffuseError as error:
            yield name, str(error)


def _side_by_side(
    source: Any,
    combinations: Mapping[str, Mapping[str, Any]],
    folder: Path,
    shared: dict[str, Any],
    jobs: int,
    console: Console,
) -> dict[str, str]:
    """Names and sentences of the runs that fail, each in a process of its own."""
    if not isinstance(source, (str, Path)):
        from undiffuse.data.preparation.in_memory import keep_given

        source = keep_given(source)
    waiting, running, failed = dict(combinations), dict[str, subprocess.Popen[bytes]](), dict[str, str]()
    said = {name: TemporaryFile() for name in combinations}  # noqa: SIM115 - a pipe that is full stops who writes
    environment = {**os.environ, THREADS: str(max(1, allowance().threads // jobs))}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = next(iter(waiting))
                words = _words(source, folder, name, {**shared, **waiting.pop(name)})
                console.say(f"{len(combinations) - len(waiting)} of {len(combinations)}: {name}")
                running[name] = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=said[name])
            name, process = _next_done(running)
            if process.returncode:
                said[name].seek(0)
                lines = said[name].read().decode(errors="replace").strip().splitlines()
                failed[name] = lines[-1].removeprefix("undiffuse: ") if lines else f"exit status {process.returncode}"
            del running[name]
    finally:
        for process in running.values():  # they save, and go on when the sweep is called again
            process.terminate()
        for process in running.values():
            process.wait(PATIENCE)
        for file in said.values():
            file.close()
    return failed


def _next_done(running: Mapping[str, subprocess.Popen[bytes]]) -> tuple[str, subprocess.Popen[bytes]]:
    while True:
        for name, process in running.items():
            if process.poll() is not None:
                return name, process
        time.sleep(0.2)


def _words(source: str | Path, folder: Path, name: str, settings: Mapping[str, Any]) -> list[str]:
    """The command of one run."""
    command = [sys.executable, "-m", "undiffuse", "train"]
    if _has_begun(folder / name):
        return [*command, "--resume", str(folder / name), "--quiet"]
    words = [*command, str(source), "--runs", str(folder), "--name", name, "--quiet"]
    recipe = settings.get("recipe")
    words += ["--recipe", recipe] if recipe else []
    for setting, value in settings.items():
        if setting != "recipe":
            words += option(setting, tuple(value) if isinstance(value, list) else value)
    return words
