"""Which models there are, by id; and those that are loaded, each with its evaluator.

An id is a name on a list that was made by looking, never a path: whatever a request says, nothing else is opened.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from undiffuse.checkpoints.pretrained import PREFIX, names
from undiffuse.checkpoints.training_checkpoint import checkpoints, step_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.model import AnyModel, load
from undiffuse.model.cascade import stages_of
from undiffuse.provenance.edit_record import Edited
from undiffuse.provenance.pinned_path import path_of
from undiffuse.provenance.png import Origin
from undiffuse.runtime.threads import in_threads
from undiffuse.studio.jobs.batched_network import EvaluationCounter, Evaluator, RequestHandle, sizes_alike
from undiffuse.studio.limits import FOR_THE_COMMAND_LINE

LOADED = 4
"""Models in memory, beside those at work."""
_CHECKPOINT = re.compile(r"step-\d{8,}")
Key = tuple[str, str, str, float]
"""Id, checkpoint, weights, and when they were written: another run of the same name is another model."""


class UnknownError(UndiffuseError):
    """There is nothing of this id."""


class ConflictError(UndiffuseError):
    """A request that does not fit the state of its object."""


@dataclass(frozen=True)
class LibraryEntry:
    """A model that may be asked for."""

    id: str
    kind: Literal["given", "run", "shipped"]
    path: Path

    @property
    def newest(self) -> Path | None:
        """The folder of its newest checkpoint by name; None for a model that has no folder of them."""
        found = checkpoints(self.path / "checkpoints")
        return found[-1] if found else None

    @property
    def changed(self) -> float:
        """The time at which its newest checkpoint, or its file, was written; 0 where there is none."""
        with suppress(OSError):
            return (self.newest or self.path).stat().st_mtime
        return 0.0  # a name without a file, or one that was taken away at this moment

    @property
    def step(self) -> int | None:
        return step_of(self.newest) if self.newest else None


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    entry: LibraryEntry
    model: AnyModel
    evaluator: Evaluator

    @contextmanager
    def session(self, handle: RequestHandle) -> Iterator[nn.Module]:
        """The network for one request, shared with all others; a cascade's is that of its last stage."""
        with self.evaluator.active():
            yield self.evaluator.network_for(handle)


class ModelLibrary:
    """The models of a studio.

    Args:
        given: runs, checkpoints or model files that were named on the command line.
        runs: the folder of runs; looked into again at each question.
        device: where networks go.
    """

    def __init__(self, given: Sequence[Path], runs: Path, device: torch.device | str = "cpu") -> None:
        # what they are called is settled once: it stays when a file vanishes
        self._given = [(path, _called(path)) for path in given]
        self._runs, self._device = runs, str(device)
        self._loaded: OrderedDict[Key, Loaded] = OrderedDict()
        self.counter = EvaluationCounter()
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}

    def entries(self) -> dict[str, LibraryEntry]:
        """All models at this moment: those given, the runs with a checkpoint, those that ship."""
        found: dict[str, LibraryEntry] = {}
        places: set[Path] = set()

        def add(kind: Literal["given", "run", "shipped"], path: Path, called: str) -> None:
            place = path.resolve()
            if place in places:
                return
            places.add(place)
            name = re.sub(r"[^A-Za-z0-9._-]", "_", called)[:90] or "model"
            name, number = name.lstrip(".") or "model", 1
            while (unique := name if number == 1 else f"{name}-{number}") in found:
                number += 1
            found[unique] = LibraryEntry(unique, kind, path)

        for path, called in self._given:
            add("given", path, called)
        for path in sorted(self._runs.iterdir()) if self._runs.is_dir() else []:
            if not path.name.startswith(".") and checkpoints(path / "checkpoints"):
                add("run", path, path.resolve().name)
        for name in names():
            add("shipped", Path(f"{PREFIX}{name}"), name)
        return found

    def entry(self, identity: str) -> LibraryEntry:
        known = self.entries()
        if identity not in known:
            raise UnknownError(f"There is no model '{identity[:100]}'{perhaps(identity[:100], known)}")
        return known[identity]

    def load(self, identity: str, weights: str = "ema", checkpoint: str = "") -> Loaded:
        """A model at one of its checkpoints, the newest by default; from memory where nothing newer is on the disk."""
        while True:
            entry = self.entry(identity)
            newest = entry.newest
            try:
                return self._load(entry, newest, weights, checkpoint)
            except (UndiffuseError, OSError):
                now = self.entry(identity).newest
                if checkpoint or now is None or now == newest:
                    raise  # it was not a training that put a newer checkpoint in the place of this one

    def _load(self, entry: LibraryEntry, newest: Path | None, weights: str, checkpoint: str) -> Loaded:
        place = entry.path
        if checkpoint and newest is not None and checkpoint != newest.name:
            place = entry.path / "checkpoints" / checkpoint
        key = (entry.id, checkpoint or (newest.name if newest else ""), weights, entry.changed)
        with self._lock:
            mine = self._loading.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._loaded:
                    self._loaded.move_to_end(key)
                    return self._loaded[key]
            model = load(place, weights, self._device)
            top = stages_of(model)[-1]
            network = in_threads(top.network)  # as the command line evaluates it
            sizes = sizes_alike(network, top.shape, top.conditions, top.device, model.micro_batch)
            loaded = Loaded(entry, model, Evaluator(network, sizes, self.counter.count))
            with self._lock:
                self._loaded[key] = loaded
                self._tidy()
        return loaded

    def _tidy(self) -> None:
        for key in list(self._loaded)[:-LOADED]:
            if not self._loaded[key].evaluator.busy:
                self._loaded.pop(key).evaluator.close()
                self._loading.pop(key, None)

    def maker(self, made_by: Origin | Edited) -> Loaded:
        for entry in self.entries().values():
            name, checkpoint = _place(made_by)
            if name not in (entry.path.resolve().name, entry.path.name, entry.path.stem, entry.id):
                continue
            kept = {path.name for path in checkpoints(entry.path / "checkpoints")}
            wanted = [checkpoint] if checkpoint in kept else [] if checkpoint else [""]
            step = f"step-{made_by.step:08d}"
            wanted = wanted or ([step] if step in kept else [""])
            try:
                loaded = self.load(entry.id, made_by.sample.compute.weights, wanted[0])
            except UndiffuseError:
                continue
            if loaded.model.provenance["sha256"] == made_by.weights_sha256:
                return loaded
        raise UndiffuseError(
            f"The weights that made this picture (step {made_by.step}, sha256 {made_by.weights_sha256[:10]}...) "
            "are not here: start the studio with their run, as undiffuse studio RUN"
        )

    def settled(self, settings: SampleConfig) -> SampleConfig:
        """The settings with ids in place of paths looked up: other networks, too, come from the list alone."""
        flat = settings.flat()
        for name in FOR_THE_COMMAND_LINE["sample"]:
            if flat[name]:
                raise UndiffuseError(f"'{name}' is for the command line: undiffuse sample --{name}")
        if not settings.guide.weak:
            return settings
        known = self.entries()
        name = str(path_of(settings.guide.weak))
        entry = known.get(name) or next((e for e in known.values() if str(e.path) == name), None)
        if entry is None:
            raise UndiffuseError(f"There is no model '{name[:100]}' for 'weak'{perhaps(name[:100], known)}")
        return settings.changed(weak=settings.guide.weak.replace(name, str(entry.path), 1))

    def close(self) -> None:
        with self._lock:
            for loaded in self._loaded.values():
                loaded.evaluator.close()
            self._loaded.clear()


def _called(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name.removeprefix(PREFIX)


def _place(made_by: Origin | Edited) -> tuple[str, str]:
    """Name of the run and of the checkpoint that a picture speaks of."""
    if isinstance(made_by, Edited):
        return made_by.model, ""
    place = Path(made_by.checkpoint)
    if _CHECKPOINT.fullmatch(place.name):
        return place.parent.parent.name if place.parent.name == "checkpoints" else place.name, place.name
    return place.stem if place.suffix == ".safetensors" else place.name, ""


def curves(schedule: Any, points: int = 101) -> dict[str, list[float]]:
    """alpha, sigma and log-SNR of a schedule at even times from data to noise."""
    t = torch.linspace(0, schedule.t_max, points, dtype=torch.float64)
    q_t = schedule(t)
    return {
        "t": t.tolist(),
        "alpha": q_t.alpha.tolist(),
        "sigma": q_t.sigma.tolist(),
        "log_snr": q_t.log_snr.tolist(),
    }
