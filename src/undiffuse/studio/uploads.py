"""Data sets that came by upload, each in a folder of its own: FOLDER/uploads/ID/{about.json, data/...}.

What is in them is checked as all training data are (`undiffuse.data`): by content, within limits, without pickles.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from undiffuse.config import DataConfig
from undiffuse.config_file import from_plain
from undiffuse.data.builtin import BUILTIN
from undiffuse.data.dataset import Dataset
from undiffuse.data.prepare import prepare
from undiffuse.data.report import describe
from undiffuse.errors import UndiffuseError
from undiffuse.studio.limits import Limits, TooLargeError
from undiffuse.studio.shelf import ConflictError, UnknownError

ID = re.compile(r"[0-9a-f]{16}")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".npz", ".npy", ".gz")
"""Kinds of files that may be a data set by themselves; what they are is found out from their contents."""
REFUSALS = 100
CHUNK = 1 << 20


@dataclass(frozen=True)
class Uploads:
    """The data sets of a studio."""

    folder: Path
    limits: Limits

    def ids(self) -> list[str]:
        """All there are, the built-in one first, then the newest."""
        found = [path for path in self.folder.glob("*") if ID.fullmatch(path.name) and (path / "about.json").is_file()]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return [*BUILTIN, *(path.name for path in found)]

    def source(self, identity: str) -> str:
        """What `undiffuse train` is told.

        Raises:
            UnknownError: there is none of this id.
        """
        if identity in BUILTIN:
            return identity
        about = self._about(identity)
        return (
            str(self.folder / identity / "data" / about["file"])
            if about["file"]
            else str(self.folder / identity / "data")
        )

    def _about(self, identity: str) -> dict[str, Any]:
        path = self.folder / identity / "about.json"
        if not ID.fullmatch(identity) or not path.is_file():
            raise UnknownError("There is no such data set here")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def about(self, identity: str) -> dict[str, Any]:
        """Name and size."""
        if identity in BUILTIN:
            return {"id": identity, "name": identity, "kind": "builtin", "bytes": 0, "files": 0}
        about = self._about(identity)
        return {
            "id": identity,
            "name": about["name"],
            "kind": "upload",
            "bytes": about["bytes"],
            "files": about["files"],
        }

    def add(self, name: str, files: Iterable[tuple[str, BinaryIO]], archive: bool) -> str:
        """Keep files as a data set and return its id.

        Args:
            name: what the user calls it.
            files: (path, contents); of a path, the name of the last folder becomes a class.
            archive: the one file is the data set.

        Raises:
            TooLargeError: more bytes than are taken.
            UndiffuseError: no files, a kind that is not taken, or no room.
        """
        identity = secrets.token_hex(8)
        place = self.folder / identity
        try:
            (place / "data").mkdir(parents=True)
            count = size = 0
            only = ""
            for path, content in files:
                target = place / "data" / (_archive_name(path) if archive else _image_name(path, count))
                target.parent.mkdir(exist_ok=True)
                size += self._write(target, content, size)
                count += 1
                only = target.name if archive else ""
            if not count:
                raise UndiffuseError("No files came: send images as 'files', or an archive as 'archive'")
            about = {"name": name[:100] or "data", "file": only, "bytes": size, "files": count}
            (place / "about.json").write_text(json.dumps(about), encoding="utf-8")
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise UndiffuseError(f"The data cannot be kept in {self.folder}: {error.strerror or error}") from None
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return identity

    def _write(self, target: Path, content: BinaryIO, before: int) -> int:
        size = 0
        with target.open("xb") as file:
            while chunk := content.read(CHUNK):
                size += len(chunk)
                if before + size > self.limits.data_bytes:
                    raise TooLargeError(f"A data set has at most {self.limits.data_bytes >> 20:,} MiB here")
                file.write(chunk)
        return size

    def prepared(self, identity: str, how: dict[str, Any]) -> Dataset:
        """The data as a training would see them.

        Args:
            how: size, crop and channels, where they are wanted.

        Raises:
            UndiffuseError: they cannot be prepared so.
        """
        config = from_plain(DataConfig, {"source": self.source(identity), **how}, "the settings")
        try:
            return prepare(config, progress=False)
        except UndiffuseError as error:
            raise UndiffuseError(self._spoken(identity, str(error))) from None

    def checked(self, identity: str, how: dict[str, Any]) -> dict[str, Any]:
        """What is in a data set: counts, shape, classes, what was refused and why; or why it cannot be used so."""
        about = {**self.about(identity), "info": None, "report": [], "refusals": [], "error": None}
        try:
            dataset = self.prepared(identity, how)
        except UnknownError:
            raise
        except UndiffuseError as error:
            return {**about, "error": str(error)}
        called = dataset.info.name if identity in BUILTIN else self._about(identity)["name"]
        info = dataset.info.to_json()
        info |= {"name": called, "refused": len(dataset.refused), "ignored": len(dataset.ignored)}
        hidden = ("prepared", "            all of them:")
        lines = [line for line in describe(dataset).splitlines() if not line.startswith(hidden)]
        lines[0] = lines[0].replace(dataset.info.name, called, 1)
        report = [self._spoken(identity, line) for line in lines]
        return {**about, "info": info, "report": report, "refusals": [list(row) for row in dataset.refused[:REFUSALS]]}

    def _spoken(self, identity: str, sentence: str) -> str:
        """A sentence with the data's name in place of the folder that they are kept in."""
        if identity in BUILTIN:
            return sentence
        source, name = self.source(identity), self._about(identity)["name"]
        return sentence.replace(source, name).replace(str(self.folder / identity / "data"), name)

    def delete(self, identity: str, used: Callable[[str], bool]) -> None:
        """Forget an upload.

        Raises:
            UnknownError: there is none.
            ConflictError: it comes with the package, or a run learns from it at this moment.
        """
        source = self.source(identity)
        if identity in BUILTIN:
            raise ConflictError(f"'{identity}' comes with the package and stays")
        if used(source):
            raise ConflictError("A run learns from these data at this moment; stop it first")
        shutil.rmtree(self.folder / identity)


def _image_name(path: str, number: int) -> str:
    """CLASS/NAME out of the path that a browser sent; nothing of it can lead anywhere."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    if not parts:
        raise UndiffuseError("A file came without a name")
    *folders, name = parts
    stem, dot, suffix = name.rpartition(".")
    if name.lower() in ("metadata.csv", "metadata.jsonl"):
        return "/".join([*map(_plain, folders[-1:]), name.lower()])
    # Numbered, so that equal names of different folders both stay.
    return "/".join(
        [*map(_plain, folders[-1:]), f"{_plain(stem or name)}-{number}{dot}{_plain(suffix)}" if stem else _plain(name)]
    )


def _archive_name(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).name.lower()
    suffix = next((suffix for suffix in ARCHIVES if name.endswith(suffix)), None)
    if suffix is None:
        raise UndiffuseError(f"An archive is one of {', '.join(ARCHIVES)}; this is '{path[-60:]}'")
    return f"data{suffix}"


def _plain(part: str) -> str:
    """Letters, digits and a few signs of a name; never hidden, never empty."""
    return re.sub(r"[^\w .()+-]", "_", part)[:80].strip(". ") or "_"
