"""Names and places of runs: a new one's, and that of the one to go on with."""

from __future__ import annotations

import os
import re
from pathlib import Path

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import NAME_BYTES, shortened


def new_folder(runs: Path, source: str | Path, name: str | None) -> Path:
    """The place of a new run: ``runs/name``, or the source's name with the first number that is free."""
    if name is not None:
        return runs / checked_name(name)
    stem, number = named_after(source), 1
    while (folder := runs / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def run_to_resume(runs: Path, source: str | Path | None, name: str | None) -> Path:
    """The folder of the run that is meant."""
    if name is not None:
        folder = runs / checked_name(name)
        if not folder.is_dir():
            raise UndiffuseError(f"there is no run {folder} to resume; start it without `resume`")
        return folder
    pattern = re.compile(rf"{re.escape(named_after(source))}(-\d+)?" if source is not None else ".*")
    found = sorted(path for path in runs.glob("*") if pattern.fullmatch(path.name) and (path / "config.yaml").is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise UndiffuseError(f"there is no run in {runs} to resume; start one without `resume`")
    raise UndiffuseError(f"several runs could be resumed ({', '.join(p.name for p in found)}); name one by `name`")


def named_after(source: str | Path) -> str:
    name = Path(source).resolve().name.split(".")[0]
    return shortened(re.sub(r"[^\w-]+", "-", name).strip("-")) or "run"


def checked_name(name: str) -> str:
    name = str(name)
    if name in ("", ".", "..") or Path(name).name != name or any(ord(sign) < 32 for sign in name):
        raise UndiffuseError(
            f"{name!r} cannot be the name of a run: it must be the name of a folder in `runs`, without line breaks"
        )
    if (length := len(os.fsencode(name))) > NAME_BYTES:  # before the stages of a distillation that come first
        raise UndiffuseError(
            f"`name` is the name of a folder, which has at most {NAME_BYTES} bytes, and {name[:8]}... has {length}: "
            "choose a shorter `name`"
        )
    return name
