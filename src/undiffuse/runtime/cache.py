"""The cache of prepared data: entries appear whole or not at all.

An entry is made in a temporary folder beside its final place, flushed to disk, and renamed. Two processes that
prepare the same data both succeed: the second finds the place taken and uses what is there.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import sync

_ABANDONED = 24 * 3600
"""Seconds after which a temporary folder can only be what a killed process left behind."""


class UnkeptError(UndiffuseError):
    """Something could not be written into the cache; whoever has it in memory can go on."""


def cache_root(cache: Path | None) -> Path:
    """``cache``, else the environment's UNDIFFUSE_CACHE, else ~/.cache/undiffuse."""
    if cache:
        return cache
    try:
        return Path(os.environ.get("UNDIFFUSE_CACHE") or Path.home() / ".cache" / "undiffuse").expanduser()
    except RuntimeError:
        raise UndiffuseError(
            "prepared data go to the cache in the home folder, and this user has none: "
            "set UNDIFFUSE_CACHE to a folder where you may write"
        ) from None


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """A block that writes into a folder of the cache."""
    try:
        yield
    except OSError as error:
        sentence = _explain(error, folder)
        if sentence is None:
            raise
        raise sentence from error


@contextmanager
def new_entry(place: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``place`` when the block ends well, and vanishes otherwise."""
    draft: Path | None = None
    try:
        with writing_cache(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(place.parent)
            draft = place.parent / f".new-{uuid.uuid4().hex}"
            draft.mkdir()
            yield draft
            for path in (*draft.iterdir(), draft):  # so that after a power cut a visible entry is a whole one
                sync(path)
            _publish(draft, place)
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def discard(place: Path) -> None:
    """Take a damaged entry out of the way: first by a rename, so that no one sees it half deleted."""
    if place.exists():
        grave = place.parent / f".old-{uuid.uuid4().hex}"
        with suppress(OSError):
            place.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_space(folder, f"{size >> 20:,} MiB for the prepared data, got {free >> 20:,}")


def _publish(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES) or not place.is_dir():
            raise
        # another process was faster; its entry has the same key and so the same contents


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(".*-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _explain(error: OSError, folder: Path) -> UnkeptError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_space(folder, "more, got a full one")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return UnkeptError(
            f"expected to write into the cache {folder}, got '{error.strerror}'; "
            "set UNDIFFUSE_CACHE to a folder of yours"
        )
    return None


def _no_space(folder: Path, what: str) -> UnkeptError:
    return UnkeptError(
        f"expected free disk for the cache {folder}: {what}; "
        "make room, or set UNDIFFUSE_CACHE to a folder on a larger disk"
    )
