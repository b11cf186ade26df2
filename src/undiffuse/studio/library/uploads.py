"""Data sets that came by upload, each in a folder of its own: FOLDER/uploads/ID/{about.json, data/NAME...}.

NAME is what a person called it, a folder of what was sent as it was sent, or the one file: a training sees what it
would see of the original, and run, model card and tables speak of it by its name. What is in them is checked as all
training data are (`undiffuse.data`): by content, within limits, without pickles.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from undiffuse.config.data import DataConfig
from undiffuse.config.flags import in_flags
from undiffuse.config.sections import from_plain
from undiffuse.data.dataset import Dataset
from undiffuse.data.formats.builtin import BUILTIN
from undiffuse.data.formats.video import FORMATS as VIDEOS
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.studio.library.models import ConflictError, UnknownError
from undiffuse.studio.limits import Limits, TooLargeError
from undiffuse.visualization.data_summary import describe

ID = re.compile(r"[0-9a-f]{16}")
ARCHIVES = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz", ".tbz2", ".gz"),
    *(".npz", ".npy", ".idx", "-ubyte", ".parquet", ".pq", ".mdb", ".tif", ".tiff"),
    *VIDEOS,
)
"""Kinds of files that may be a data set by themselves; what they are is found out from their contents."""
LONGEST = 100
"""Letters of a data set's name."""
PART = 200
"""Bytes of a file's or folder's name that are kept; file systems take 255."""
DEEPEST = 32
"""Folders inside each other that are kept."""
REFUSALS = 100
COMMAND = re.compile(r"(?:; all at once)?: undiffuse data .*$")
"""What a sentence says is to be typed, which has no place on a page."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class Uploads:
    folder: Path
    limits: Limits

    def ids(self) -> list[str]:
        """All there are, the built-in one first, then the newest."""
        found = [path for path in self.folder.glob("*") if ID.fullmatch(path.name) and (path / "about.json").is_file()]
        found.sort(key=_age, reverse=True)
        return [*BUILTIN, *(path.name for path in found)]

    def all(self) -> list[dict[str, Any]]:
        found = []
        for identity in self.ids():
            with suppress(UnknownError):  # deleted at this moment
                found.append(self.about(identity))
        return found

    def source(self, identity: str) -> str:
        if identity in BUILTIN:
            return identity
        about = self._about(identity)
        return str(self.folder / identity / "data" / (about["file"] or ""))

    def _about(self, identity: str) -> dict[str, Any]:
        path = self.folder / identity / "about.json"
        if not ID.fullmatch(identity) or not path.is_file():
            raise UnknownError("There is no such data set here")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UnknownError("There is no such data set here (any more)") from None
        return found

    def about(self, identity: str) -> dict[str, Any]:
        """Name, size and when it came."""
        if identity in BUILTIN:
            return {"id": identity, "name": identity, "kind": "builtin", "bytes": 0, "files": 0, "created": None}
        about = self._about(identity)
        return {
            "id": identity,
            "name": about["name"],
            "kind": "upload",
            "bytes": about["bytes"],
            "files": about["files"],
            "created": datetime.fromtimestamp(_age(self.folder / identity), UTC).isoformat(timespec="seconds"),
        }

    def add(self, name: str, files: Iterable[tuple[str, BinaryIO]], archive: bool) -> str:
        """Keep files as a data set and return its id.

        Args:
            name: what the user calls it; by default the name of the folder or of the file that came.
            files: (path, contents), the path as a browser or a program sent it.
            archive: the one file is the data set.
        """
        identity = secrets.token_hex(8)
        place = self.folder / identity
        try:
            (place / "data").mkdir(parents=True)
            sent: list[str] = []
            times: Counter[str] = Counter()
            size, root, kept = 0, place / "data" / "sent", ""
            for path, content in files:
                kept = f"data{_archive_suffix(path)}" if archive else _relative(path)
                times[kept] += 1
                size += self._write(root / kept, times[kept], content, size)
                sent.append(path)
            if not sent:
                raise UndiffuseError("No files came: send images as 'files', or an archive as 'archive'")
            called = _cleaned(name, LONGEST) or name_of(sent, archive)
            final = _part(called).lstrip(".") or "data"
            if archive:
                final += _archive_suffix(sent[0])
            os.rename(root / kept if archive else root, place / "data" / final)
            if archive:
                root.rmdir()
            about = {"name": called, "file": final, "bytes": size, "files": len(sent)}
            (place / "about.json").write_text(json.dumps(about), encoding="utf-8")
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise UndiffuseError(f"The data cannot be kept in {self.folder}: {error.strerror or error}") from None
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return identity

    def _write(self, target: Path, number: int, content: BinaryIO, before: int) -> int:
        """Write the file of a name that comes for the ``number``-th time: two of one name both stay."""
        size, free = 0, target
        target.parent.mkdir(parents=True, exist_ok=True)
        number = max(number, 2 if target.exists() else 1)
        while number > 1 and (free := target.with_name(f"{target.stem}-{number}{target.suffix}")).exists():
            number += 1
        with free.open("xb") as file:
            while chunk := content.read(CHUNK):
                size += len(chunk)
                if before + size > self.limits.data_bytes:
                    raise TooLargeError(f"A data set has at most {self.limits.data_bytes >> 20:,} MiB here")
                file.write(chunk)
        return size

    def prepared(self, identity: str, how: dict[str, Any]) -> Dataset:
        """The data as a training with these settings of preparation would see them."""
        config = from_plain(DataConfig, {"source": self.source(identity), **how}, "the settings")
        try:
            return prepare(config, progress=False)
        except UndiffuseError as error:
            raise UndiffuseError(self._spoken(identity, str(error))) from None

    def checked(self, identity: str, how: dict[str, Any]) -> dict[str, Any]:
        """The contents of a data set: counts, shape, classes, what was refused and why; or why it cannot be used so."""
        about = {**self.about(identity), "info": None, "report": [], "refusals": [], "error": None}
        try:
            dataset = self.prepared(identity, how)
        except UnknownError:
            raise
        except UndiffuseError as error:
            return {**about, "error": in_flags(str(error))}
        called = dataset.info.name if identity in BUILTIN else self._about(identity)["name"]
        info = dataset.info.to_json()
        info |= {"name": called, "refused": len(dataset.refused), "ignored": len(dataset.ignored)}
        hidden = ("prepared", "            all of them:")
        lines = [line for line in describe(dataset).splitlines() if not line.startswith(hidden)]
        lines[0] = lines[0].replace(dataset.info.name, called, 1)
        report = [in_flags(self._spoken(identity, line)) for line in lines]
        refusals = [[name, in_flags(why)] for name, why in dataset.refused[:REFUSALS]]
        return {**about, "info": info, "report": report, "refusals": refusals}

    def _spoken(self, identity: str, sentence: str) -> str:
        """A sentence with the data's name in place of the folder that they are kept in."""
        sentence = COMMAND.sub("", sentence)
        if identity in BUILTIN:
            return sentence
        source, name = self.source(identity), self._about(identity)["name"]
        return sentence.replace(source, name).replace(str(self.folder / identity / "data"), name)

    def delete(self, identity: str, used: Callable[[str], bool]) -> None:
        source = self.source(identity)
        if identity in BUILTIN:
            raise ConflictError(f"'{identity}' comes with the package and stays")
        if used(source):
            raise ConflictError("A run learns from these data at this moment; stop it first")
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder / identity)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# --- names ------------------------------------------------------------------------------------------------------------


def name_of(paths: Sequence[str], archive: bool) -> str:
    """The name of files that were sent: of the folder that holds them all, or of the one or the first of them."""
    parts = [_parts(path) for path in paths]
    heads = {part[0] for part in parts}
    if len(heads) == 1 and all(len(part) > 1 for part in parts):
        return _cleaned(heads.pop(), LONGEST) or "data"
    first = parts[0][-1]
    suffix = _archive_suffix(first) if archive else PurePosixPath(first).suffix
    stem = first[: -len(suffix)] if suffix else first
    if len(parts) == 1:
        return _cleaned(stem, LONGEST) or "data"
    return f"{_cleaned(stem, LONGEST - 20) or 'data'} and {len(parts) - 1} more"


def run_name_of(called: str) -> str:
    """A data set's name as the beginning of a run's: letters and digits that any shell and file system knows."""
    plain = unicodedata.normalize("NFKD", called).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:60].rstrip("-._") or "run"


def _parts(path: str) -> list[str]:
    """The names in a path that a browser sent; nothing of it can lead anywhere.

    Browsers quote three signs in the names of a form's files.
    """
    for quoted, sign in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        path = path.replace(quoted, sign)
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        raise UndiffuseError("A file came without a name")
    if len(parts) > DEEPEST:
        raise UndiffuseError(f"Folders lie at most {DEEPEST - 1} deep here; one file lies in {len(parts) - 1}")
    return parts


def _relative(path: str) -> str:
    return "/".join(map(_part, _parts(path)))


def _part(name: str) -> str:
    """A file's or folder's name as it can be kept: the end that says its kind stays."""
    name = _cleaned(name, len(name)) or "_"
    if len(name.encode()) <= PART:
        return name
    suffix = "".join(PurePosixPath(name).suffixes[-2:])
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = name[: len(name) - len(suffix)].encode()[: PART - len(suffix.encode())].decode(errors="ignore")
    return (stem.rstrip() or "_") + suffix


def _cleaned(name: str, most: int) -> str:
    """A name without what no name has: ends of lines, signs that cannot be seen or that turn the reading direction."""
    kept = "".join("_" if sign in TURNING or unicodedata.category(sign) in UNSEEN else sign for sign in name)
    found = kept.replace("/", "_").replace("\\", "_").strip()[:most].strip()
    return "" if found in (".", "..") else found


UNSEEN = ("Cc", "Cs", "Zl", "Zp")
TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _archive_suffix(path: str) -> str:
    """The end of a file's name that says which kind of data set it may be."""
    name = _parts(path)[-1].lower()
    suffix = max((suffix for suffix in ARCHIVES if name.endswith(suffix)), key=len, default=None)
    if suffix is None:
        raise UndiffuseError(f"An archive is one of {', '.join(ARCHIVES)}; this is '{path[-60:]}'")
    return suffix
