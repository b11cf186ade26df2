"""The folder of a cascade: a file for each model (`model_file`), and ``cascade.json`` with their order and sha256.

runs/NAME/cascade.json           {"format": 1, "models": [{"file": ..., "sha256": ..., "from": ...}, ...]}
runs/NAME/0-base.safetensors     draws small images
runs/NAME/1-up.safetensors       enlarges them; and so on
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undiffuse.checkpoints.model_file import SUFFIX, to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import replace_bytes
from undiffuse.runtime.installing import check_format
from undiffuse.runtime.safe_tensors import unique_names

NAME = "cascade.json"
FORMAT = 1
MAX_BYTES = 1 << 16
MAX_MODELS = 16


@dataclass(frozen=True)
class CascadeFolder:
    """The files of a cascade.

    Args:
        files: of the models, the one of small images first; their contents are those that were written.
        sha256: of ``cascade.json``, and so of everything.
    """

    path: Path
    files: tuple[Path, ...]
    sha256: str


def write(folder: Path, models: Sequence[tuple[str, SavedModel]]) -> None:
    """Write a cascade's files into a folder, ``cascade.json`` last.

    Args:
        models: the name and the contents of each, the one of small images first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (name, model) in enumerate(models):
        data = to_bytes(model)
        file = f"{number}-{name}{SUFFIX}"
        replace_bytes(folder / file, data)
        listed.append({"file": file, "sha256": hashlib.sha256(data).hexdigest(), "from": name})
    replace_bytes(folder / NAME, (json.dumps({"format": FORMAT, "models": listed}, indent=1) + "\n").encode())


def read(folder: Path) -> CascadeFolder | None:
    """The cascade in a folder; None where the folder is none."""
    where = folder / NAME
    if not where.is_file():
        return None
    with where.open("rb") as file:
        data = file.read(MAX_BYTES)
    listed = _listed(data, where)
    files = tuple(folder / _name(entry, where) for entry in listed)
    for path, entry in zip(files, listed, strict=True):
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UndiffuseError(f"the cascade {folder} is torn: cannot read {path.name} ({error.strerror})") from None
        if found != entry.get("sha256"):
            raise UndiffuseError(f"the cascade {folder} is torn: {path.name} does not hold what was saved")
    return CascadeFolder(folder, files, hashlib.sha256(data).hexdigest())


def _listed(data: bytes, where: Path) -> list[dict[str, Any]]:
    try:
        tree = json.loads(data, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise UndiffuseError(f"{where} is torn: it is not valid JSON ({error})") from None
    check_format(tree.get("format") if isinstance(tree, dict) else None, FORMAT, where)
    listed = tree.get("models")
    whole = isinstance(listed, list) and 2 <= len(listed) <= MAX_MODELS
    if not whole or not all(isinstance(entry, dict) for entry in listed):
        raise UndiffuseError(f"{where} is not valid: a cascade lists from 2 to {MAX_MODELS} models")
    return list(listed)


def _name(entry: dict[str, Any], where: Path) -> str:
    name = entry.get("file")
    if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(SUFFIX):
        raise UndiffuseError(f"{where} is not valid: it names the file {name!r:.60}")
    return name
