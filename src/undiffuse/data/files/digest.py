"""Fingerprints of files, remembered so that a large folder is not read again each time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_SETTLED = 2_000_000_000
"""Nanoseconds after which a time stamp is sure to change with the next write: file systems tick up to 2 s."""


class DigestIndex:
    """sha256 of files by (size, modification time, change time), kept in one JSON file for each source.

    Only an accelerator: whatever is missing, damaged or written within the last two seconds is hashed again, so a
    lost index costs time and nothing else.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:32]
        self.path = folder / f"{name}.json"
        self._known: dict[str, list[object]] = {}
        self._fresh: dict[str, list[object]] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self.path.read_text())
            self._known = known if isinstance(known, dict) else {}

    def digest(self, name: str, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        entry = self._known.get(name)
        if isinstance(entry, list) and entry[:3] == stamp and len(entry) == 4 and isinstance(entry[3], str):
            self._fresh[name] = entry
            return entry[3]
        started = time.time_ns()
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if started - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED:
            self._fresh[name] = [*stamp, value]
        return value

    def save(self) -> None:
        """Write what was used since the start, if it is news. Failing to is harmless."""
        if self._fresh == self._known:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_name(f"{self.path.stem}.{os.getpid()}.part")
            draft.write_text(json.dumps(self._fresh))
            draft.replace(self.path)


def fingerprint(parts: Iterable[tuple[str, str]], settings: dict[str, object]) -> str:
    """sha256 over the sorted (name, sha256 of the bytes) and over the settings that the files are prepared with."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, digest in sorted(parts):
        total.update(json.dumps([name, digest]).encode())
    return total.hexdigest()
