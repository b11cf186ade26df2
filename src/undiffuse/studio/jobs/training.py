"""Trainings: the ordinary `undiffuse train`, in a process of its own, watched by what it writes.

Nothing is kept in memory: RUNS/.studio/NAME.json says what was started, and the run's folder how far it is. So a run
goes on when the page or the studio is closed, and is found again by the next one; runs that were started elsewhere are
seen too, but are nobody's to stop here.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from undiffuse.checkpoints.run_lock import is_locked
from undiffuse.checkpoints.training_checkpoint import checkpoints
from undiffuse.config.files import override, read_config, to_dict
from undiffuse.config.flags import in_flags
from undiffuse.config.schema import TrainConfig
from undiffuse.data.formats.builtin import BUILTIN, BUILTIN_PREFIX
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.reports.commands import option
from undiffuse.runtime.durable_files import replace_file
from undiffuse.studio.jobs import processes
from undiffuse.studio.jobs.processes import Process
from undiffuse.studio.library.models import ConflictError, UnknownError
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.previews import drift
from undiffuse.training.run.folder import RunFolder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""Of a run that is started here; those that are found may have any."""
LOG_LINES = 50
RECENT = 20
"""Lines of metrics over which the speed is taken."""


@dataclass(frozen=True)
class Started:
    """The note of a run that was started here."""

    words: tuple[str, ...]
    source: str
    data: str
    when: str
    process: Process
    stopping: bool = False

    @classmethod
    def read(cls, path: Path) -> Started | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            process = Process(int(found.pop("pid")), str(found.pop("started")))
            return cls(words=tuple(found.pop("words")), process=process, **found)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, path: Path) -> None:
        plain = {**asdict(self), "pid": self.process.pid, "started": self.process.started}
        del plain["process"]
        replace_file(path, json.dumps(plain))


class Trainings:
    """The runs in a folder."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._notes = runs / ".studio"
        self._lock = threading.Lock()

    # --- starting and stopping ----------------------------------------------------------------------------------------

    def start(
        self, data: str, source: str, recipe: str | None, name: str, given: dict[str, Any], stem: str = "run"
    ) -> str:
        """Start a training and return its id.

        Args:
            data, source: id of the data set, and where it is.
            recipe: its name, by default the one for such data.
            name: of the run; by default ``stem`` with the first number that is free.
            given: settings by flat name.
        """
        given = {name: value for name, value in given.items() if value is not None}
        for key in given:
            if any(key in names for names in FOR_THE_COMMAND_LINE.values()):
                raise UndiffuseError(f"'{key}' is for the command line: undiffuse train --{key.replace('_', '-')}")
        override(TrainConfig(), **given)
        with self._lock:
            name = name or self._free_name(stem)
            if not NAME.fullmatch(name):
                raise UndiffuseError(
                    "A run's name has letters, digits, '.', '_' and '-', and begins with one of the first two"
                )
            before = Started.read(self._note(name))
            if (self.runs / name).exists() or (before is not None and before.process.alive):
                raise ConflictError(f"There is a run '{name}' already; choose another name")
            self._output(name).unlink(missing_ok=True)  # of a run that never began, or was deleted
            place = f"{BUILTIN_PREFIX}{source}" if data in BUILTIN else source
            words = ["train", place, "--name", name, "--runs", str(self.runs)]
            words += ["--recipe", recipe] if recipe else []
            for key, value in given.items():
                words += option(key, tuple(value) if isinstance(value, list) else value)
            self._launch(name, words, source, data)
        return name

    def _free_name(self, stem: str) -> str:
        number = 1
        while (self.runs / (name := f"{stem}-{number}")).exists() or self._note(name).exists():
            number += 1
        return name

    def _note(self, name: str) -> Path:
        return self._notes / f"{name}.json"

    def _output(self, name: str) -> Path:
        return self._notes / f"{name}.log"

    def _launch(self, name: str, words: list[str], source: str, data: str) -> None:
        try:
            self._notes.mkdir(parents=True, exist_ok=True)
            process = processes.start([sys.executable, "-m", "undiffuse", *words], self._output(name), Path.cwd())
            when = datetime.now(UTC).isoformat(timespec="seconds")
            Started(tuple(words), source, data, when, process).write(self._note(name))
        except OSError as error:
            raise UndiffuseError(f"The training cannot be started: {error.strerror or error}") from None

    def stop(self, name: str) -> None:
        """Ask a run to finish its step, save and end."""
        with self._lock:
            self.check(name)
            note = Started.read(self._note(name))
            if note is None:
                raise ConflictError(f"'{name}' was not started here; it is stopped where it was started")
            if not note.process.ask_to_stop():
                raise ConflictError(f"'{name}' does not run at this moment")
            replace(note, stopping=True).write(self._note(name))

    def resume(self, name: str) -> None:
        """Go on with a run from its newest checkpoint."""
        with self._lock:
            state = self.about(name)["state"]
            if state == "done":
                raise ConflictError(
                    f"'{name}' is done; more of it is for the command line: undiffuse train --resume "
                    f"{quoted(self.runs / name)} --minutes 10"
                )
            if state not in ("stopped", "failed"):
                raise ConflictError(f"'{name}' is {state}; only a run that was stopped goes on")
            folder = self.runs / name
            if not checkpoints(folder / "checkpoints"):
                raise ConflictError(f"'{name}' has no checkpoint to go on from; start another run")
            note = Started.read(self._note(name))
            source = note.source if note else read_config(folder / "config.yaml").data.source
            self._launch(name, ["train", "--resume", str(folder)], source, note.data if note else "")

    def uses(self, source: str) -> bool:
        """Whether a run that was started here learns from these data now."""
        notes = (Started.read(path) for path in self._notes.glob("*.json"))
        return any(note is not None and note.source == source and note.process.alive for note in notes)

    # --- looking ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All runs, the newest first."""
        found: dict[str, float] = {}
        for path in self.runs.iterdir() if self.runs.is_dir() else []:
            if not path.name.startswith("."):
                with suppress(OSError):  # there is none, or none any more
                    found[path.name] = (path / "config.yaml").stat().st_mtime
        for path in self._notes.glob("*.json"):
            if NAME.fullmatch(path.stem) and path.stem not in found and self._speaks(path.stem):
                with suppress(OSError):
                    found[path.stem] = path.stat().st_mtime
        return sorted(found, key=lambda name: found[name], reverse=True)

    def _speaks(self, name: str) -> bool:
        """Whether a run without a folder is one: it is about to make it, or failed before; else somebody deleted it."""
        note = Started.read(self._note(name))
        return note is not None and (note.process.alive or bool(complaint(self._tail(name, 20))))

    def check(self, name: str) -> Path:
        """The folder of a run, which may not be there yet."""
        if name not in self.names():  # a name on a list, never a path
            raise UnknownError("There is no such run here")
        return self.runs / name

    def about(self, name: str) -> dict[str, Any]:
        """The state of a run; of one whose files cannot be read, that, and why."""
        self.check(name)
        try:
            return self._about(name)
        except (UndiffuseError, OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, UnknownError) or not (self.runs / name).exists():
                raise UnknownError("There is no such run here (any more)") from None
            nothing = dict.fromkeys(("total", "progress", "eta", "loss", "images_per_second", "drift", "recipe"))
            words = in_flags(str(error)) if isinstance(error, UndiffuseError) else f"its files cannot be read: {error}"
            common = {"id": name, "name": name, "state": "failed", "step": 0, "seconds": 0.0, "samples": []}
            return {**common, **nothing, "error": words, "data": None, "started": None, "mine": False}

    def _about(self, name: str) -> dict[str, Any]:
        folder = self.runs / name
        run, note = RunFolder(folder), Started.read(self._note(name))
        saved, total = progress_of(folder)
        found = read_metrics(run.metrics, bool) if run.metrics.is_file() else []
        lines, plans = [line for line in found if "loss" in line], [line["plan"] for line in found if "plan" in line]
        total = plans[-1]["total"] if plans else total  # of a budget in minutes, which is decided as it goes
        last = lines[-1] if lines else {}
        step = max(saved, int(last.get("step", 0)))
        alive = (note is not None and note.process.alive) or is_locked(folder)
        error = "" if alive else complaint(self._tail(name, 20))
        config = read_config(run.config) if run.config.is_file() else None
        # what was learned but not saved, by a process that was killed, is not there any more
        state = _state(alive, bool(note and note.stopping), saved, total, bool(lines) or step > 0, error)
        times = [line["time"] for line in lines[-RECENT:]]
        rate = [t["images_per_second"] for t in times if t["images_per_second"]]
        return {
            "id": name,
            "name": name,
            "state": state,
            "step": step,
            "total": total,
            "progress": round(step / total, 6) if total else None,
            "seconds": round(sum(line["time"]["seconds"] for line in lines), 1),
            "eta": _eta(lines, step, total) if alive else None,
            "loss": last.get("loss"),
            "images_per_second": sum(rate) / len(rate) if rate else None,
            "drift": self._drift(run, step, total),
            "error": error if state == "failed" else None,
            "recipe": config.recipe if config else None,
            "data": (note.data if note else None) or (config.data.source if config else None),
            "started": note.when if note else None,
            "samples": [int(path.stem.split("-")[1]) for path in sorted((folder / "samples").glob("step-*.png"))],
            "mine": note is not None,
        }

    def in_full(self, name: str) -> dict[str, Any]:
        """The same with settings, command and the end of the log."""
        about, run, note = self.about(name), RunFolder(self.runs / name), Started.read(self._note(name))
        config = None
        with suppress(UndiffuseError, OSError):  # `about` has said it
            config = to_dict(read_config(run.config)) if run.config.is_file() else None
        command = shlex.join(["undiffuse", *note.words]) if note else None
        return {**about, "config": config, "command": command, "log": self._tail(name, LOG_LINES)}

    def metrics(self, name: str, since: int = 0, points: int = 500) -> dict[str, Any]:
        """Lines of the loss after step ``since``, thinned, and all that were written with the others from it on.

        What is measured or drawn after a step is written after the step's own line.
        """
        run = RunFolder(self.check(name))
        try:
            found = read_metrics(run.metrics, lambda line: line["step"] >= since)
        except FileNotFoundError:
            found = []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UndiffuseError(f"The metrics of '{name}' cannot be read: {error}") from None
        validations, samples = ([line for line in found if kind in line] for kind in ("validation", "samples"))
        lines = _thinned([line for line in found if "loss" in line and line["step"] > since], points)
        last = found[-1]["step"] if found else since
        return {"lines": lines, "validations": _thinned(validations, points), "samples": samples, "last": last}

    def sample(self, name: str, step: int) -> Path:
        path = RunFolder(self.check(name)).sample(step)
        if not path.is_file():
            raise UnknownError("There are no samples of this step")
        return path

    def _tail(self, name: str, count: int) -> list[str]:
        """The last lines of what the process said; of a run that was started elsewhere, of its log."""
        for path in (self._output(name), RunFolder(self.runs / name).log):
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - (1 << 16)))
                    text = in_flags(file.read().decode(errors="replace"))
                return [line for line in text.replace("\r", "\n").splitlines() if line.strip()][-count:]
        return []

    def _drift(self, run: RunFolder, step: int, total: int | None) -> str | None:
        if not run.metrics.is_file() or not run.data.is_file() or not total or 2 * step < total:
            return None
        lines = read_metrics(run.metrics, lambda line: "samples" in line)
        if not lines:
            return None
        info = DataInfo.from_json(json.loads(run.data.read_text(encoding="utf-8")))
        return in_flags(drift(lines[-1]["samples"]["mean"], info)) or None


def _thinned(lines: list[Any], points: int) -> list[Any]:
    """Some of the lines, evenly, the last one among them."""
    every = max(1, -(-len(lines) // max(points, 1)))
    return lines[::-1][::every][::-1]


def _state(alive: bool, stopping: bool, step: int, total: int | None, begun: bool, error: str) -> str:
    if alive:
        return "stopping" if stopping else "running" if begun else "starting"
    if total and step >= total:
        return "done"
    return "failed" if error or not (begun or stopping) else "stopped"


def _eta(lines: list[dict[str, Any]], step: int, total: int | None) -> float | None:
    """Seconds left on steps, at the speed of the last lines."""
    some = lines[-RECENT - 1 :]
    if not total or len(some) < 2:
        return None
    taken = sum(line["time"]["seconds"] for line in some[1:])
    seconds: float = round((total - step) * taken / (some[-1]["step"] - some[0]["step"]), 1)
    return seconds


def progress_of(folder: Path) -> tuple[int, int | None]:
    """Step and total of a run's newest checkpoint."""
    for path in reversed(checkpoints(folder / "checkpoints")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            return int(state["step"]), int(state["total"])
    return 0, None


def complaint(lines: list[str]) -> str:
    """Why a training ended, where it says so: its last sentence, or the last line of a traceback."""
    for line in reversed(lines):
        if line.startswith("undiffuse: "):
            sentence = line.removeprefix("undiffuse: ")
            return "" if sentence.startswith(("stopped", "warning")) else sentence
        if re.match(r"\w+(\.\w+)*(Error|Exception|Interrupt)\b", line):
            return line
    return ""
