"""Checkpoints: folders of safetensors and JSON that are either whole or known to be torn.

``step-00001000/`` holds

    model.safetensors          the weights
    ema-0.9999.safetensors     the averaged weights, one file a rate
    power-0.05.safetensors     averages from which others are made, if `ema_std` asks for them
    optimizer.safetensors      Adam's running means
    config.json                every setting and what is known of the data: sampling needs no flags
    state.json                 step, images, seconds, ...
    manifest.json              size and sha256 of the others

It is written to a temporary folder beside its final place, every file and folder is fsync'd, and one rename makes
it appear; so a process killed at any moment leaves the earlier checkpoints whole, and at worst a temporary folder,
which the next start removes. The manifest shows what the disk or a copy has damaged. Nothing is pickled, and nothing
read is trusted: contents are hashed, and the tensors' names, shapes and types checked, before they are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from undiffuse.config.files import from_dict, to_dict
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import from_plain
from undiffuse.data.info import DataInfo, StoredInfo
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import sync, write_durably
from undiffuse.runtime.installing import check_format
from undiffuse.runtime.safe_tensors import from_bytes, to_bytes, unique_names

FORMAT = 1
"""Version of the checkpoint's layout."""

_NAME = re.compile(r"step-(\d{8,})")
_PARTIAL, _OLD = ".partial-", ".old-"


@dataclass(frozen=True)
class State:
    """The progress of a training. Random streams have no place here: they are functions of (seed, step)."""

    step: int
    """Optimiser steps done, the skipped ones included."""
    total: int
    """Steps that the training will have in all, as far as it is decided."""
    images: int
    """Images seen."""
    seconds: float
    """Time spent on steps."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """How many of them were the last ones."""
    window: tuple[float, ...] = ()
    """Sums since the last line of metrics.jsonl (`metrics.Window`): the next line is then the uninterrupted run's."""
    spent: float = 0.0
    """Seconds of the present budget, with all that happened between steps."""
    decisions: tuple[tuple[int, float, int, int, float], ...] = ()
    """How many steps was decided when, for a budget in minutes and a run that went on (`training.step_plan`)."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training is at one step."""

    config: TrainConfig
    info: DataInfo
    state: State
    weights: dict[str, Tensor]
    averages: dict[float, dict[str, Tensor]]
    optimizer: dict[str, Tensor]
    powers: dict[float, dict[str, Tensor]] = field(default_factory=dict)


# --- writing ----------------------------------------------------------------------------------------------------------


def place_of(state: State, parent: Path) -> Path:
    """The folder that `save` writes."""
    return parent / f"step-{state.step:08d}"


def save(checkpoint: Checkpoint, parent: Path, keep: int = 0, advice: str = "then go on with `resume`") -> Path:
    """Write ``parent/step-XXXXXXXX``, then delete all but the newest ``keep`` checkpoints (0 keeps all).

    Args:
        advice: what else there is to do where it cannot be written; a run that has never begun does not go on.
    """
    target = place_of(checkpoint.state, parent)
    partial = parent / f"{_PARTIAL}{target.name}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write(checkpoint, partial)
        os.rename(partial, target)
        sync(parent)
        _rotate(parent, keep)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UndiffuseError(
            f"could not write the checkpoint {target}: {error.strerror or error}; "
            f"make room or mend the folder's permissions, {advice}"
        ) from error
    return target


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    header = {"format": FORMAT, "config": to_dict(checkpoint.config), "data": checkpoint.info.to_json()}
    manifest = {}

    def write(name: str, data: bytes) -> None:
        write_durably(folder / name, data)
        manifest[name] = _fingerprint(data)

    write("model.safetensors", to_bytes(checkpoint.weights))
    for rate, tensors in checkpoint.averages.items():
        write(ema_file(rate), to_bytes(tensors))
    for std, tensors in checkpoint.powers.items():
        write(power_file(std), to_bytes(tensors))
    write("optimizer.safetensors", to_bytes(checkpoint.optimizer))
    write("config.json", json.dumps(header, indent=1).encode())
    write("state.json", json.dumps(asdict(checkpoint.state), indent=1).encode())
    write_durably(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    sync(folder)


def ema_file(rate: float) -> str:
    """Name of the file with the average of this rate."""
    return f"ema-{rate}.safetensors"


def power_file(std: float) -> str:
    """Name of the file with the power function's average of this relative width."""
    return f"power-{std}.safetensors"


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _rotate(parent: Path, keep: int) -> None:
    """Delete the oldest. Renamed first: a half-deleted folder must not carry a checkpoint's name."""
    for path in checkpoints(parent)[:-keep] if keep else []:
        old = parent / f"{_OLD}{path.name}"
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)


def clean_up(parent: Path) -> None:
    """Remove what killed saves and rotations left. Call it only while no other process can write here."""
    for path in [*parent.glob(f"{_PARTIAL}*"), *parent.glob(f"{_OLD}*")]:
        shutil.rmtree(path, ignore_errors=True)


def set_aside(parent: Path, step: int) -> None:
    """Rename the (torn) checkpoints after ``step`` to ``torn-step-...``: their names will be wanted again."""
    for path in checkpoints(parent):
        if step_of(path) > step:
            aside = parent / f"torn-{path.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)


# --- reading ----------------------------------------------------------------------------------------------------------


def checkpoints(parent: Path) -> list[Path]:
    """The checkpoints in a folder by name, oldest first, whole or not."""
    return sorted((path for path in parent.glob("step-*") if _NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step-"))


def latest(parent: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and one sentence for each newer one that is torn, to be shown to the user."""
    torn = []
    for path in reversed(checkpoints(parent)):
        try:
            verify(path)
        except UndiffuseError as error:
            torn.append(str(error))
        else:
            return path, torn
    return None, torn


def verify(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest."""
    manifest = _manifest(path)
    for name in manifest:
        _contents(path, name, manifest)


def read_settings(path: Path) -> TrainConfig | None:
    """The settings of a checkpoint's training, which only `load` compares with their hash; None where it is none."""
    where = path / "config.json"
    if not (path / "manifest.json").is_file() or not where.is_file():
        return None
    return from_dict(_json(where.read_bytes(), where).get("config"), str(where))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, verifying every file."""
    manifest = _manifest(path)

    def tree(name: str) -> dict[str, Any]:
        return _json(_contents(path, name, manifest), path / name)

    def tensors(name: str) -> dict[str, Tensor]:
        return from_bytes(_contents(path, name, manifest), path / name)

    header, where = tree("config.json"), path / "config.json"
    check_format(header.get("format"), FORMAT, where, "checkpoint format")
    config = from_dict(header.get("config"), str(where))
    return Checkpoint(
        config=config,
        info=from_plain(StoredInfo, header.get("data"), str(where)).info(),
        state=from_plain(State, tree("state.json"), str(path / "state.json")),
        weights=tensors("model.safetensors"),
        averages={rate: tensors(ema_file(rate)) for rate in config.ema.ema},
        optimizer=tensors("optimizer.safetensors"),
        powers={std: tensors(power_file(std)) for std in config.ema.ema_std},
    )


def _manifest(path: Path) -> dict[str, Any]:
    where = path / "manifest.json"
    manifest = _json(_read(path, "manifest.json"), where)
    if not {"model.safetensors", "config.json", "state.json"} <= manifest.keys():
        raise UndiffuseError(f"the checkpoint {path} is torn: its manifest.json does not list a checkpoint's files")
    for name, entry in manifest.items():
        if "/" in name or "\\" in name or name.startswith("."):
            raise UndiffuseError(f"{where} is not valid: it names the file '{name}'")
        if not isinstance(entry, dict):
            raise UndiffuseError(f"{where} is not valid: it has no size and sha256 for '{name}'")
    return manifest


def _contents(path: Path, name: str, manifest: dict[str, Any]) -> bytes:
    if name not in manifest:
        raise UndiffuseError(f"the checkpoint {path} is incomplete: its manifest.json does not list {name}")
    data = _read(path, name)
    if _fingerprint(data) != manifest[name]:
        raise UndiffuseError(f"the checkpoint {path} is torn: {name} does not have the contents that were saved")
    return data


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise UndiffuseError(f"the checkpoint {folder} is torn: cannot read {name} ({error.strerror})") from None


def _json(data: bytes, where: Path) -> dict[str, Any]:
    try:
        tree = json.loads(data, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise UndiffuseError(f"{where} is torn: it is not valid JSON ({error})") from None
    if not isinstance(tree, dict):
        raise UndiffuseError(f"{where} is torn: it must hold a JSON object")
    return tree
