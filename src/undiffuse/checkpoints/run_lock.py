"""One trainer a run."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import writing

_LOCK = ".lock"
_LOOKS, _A_LOOK = 5, 0.01
"""A process that only asks holds the lock, too, for some microseconds: times to try, and seconds between."""
NEW_RUN = "wait for it, stop it, or choose another `name`"
NO_CHECKPOINT = "wait for its first checkpoint"
"""What to do about a run that is being trained, for who wants its name, and for who wants its model."""
_LOCKS = Path("/proc/locks")
"""Linux's list of locks: ``1: FLOCK  ADVISORY  WRITE 4711 08:01:264451 0 EOF``, with process id and inode."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run's lock. It is the kernel's (flock): a process that dies, however it dies, lets it go."""
    with writing(folder, "mend that, or train on a copy of the run in another place"):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not any(_taken(descriptor, fcntl.LOCK_EX, wait=number > 0) for number in range(_LOOKS)):
            raise _in_use(folder, descriptor, NEW_RUN)
        with writing(folder, "mend that, then go on with `resume`"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A folder that is made, and held until the block has filled it; where that fails, it is gone again.

    One that a killed process has claimed and not filled is taken over.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def check_unlocked(folder: Path, advice: str = NEW_RUN) -> None:
    """Raise an UndiffuseError where another process trains in a folder at this moment; leave nothing behind there."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    except OSError:
        return  # no lock, so nobody holds it
    try:
        if not _taken(descriptor, fcntl.LOCK_SH):
            raise _in_use(folder, descriptor, advice)
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    try:
        check_unlocked(folder)
    except UndiffuseError:
        return True
    return False


def is_claimable(folder: Path) -> bool:
    """True where a folder is not there, or holds nothing but the lock of a process that was killed."""
    with writing(folder):
        there = folder.exists()
        return not there or (folder.is_dir() and all(entry.name == _LOCK for entry in folder.iterdir()))


def has_begun(folder: Path) -> bool:
    """True once a training has begun in a folder, even before its first checkpoint."""
    return (folder / _LOCK).is_file()


def _taken(descriptor: int, kind: int, wait: bool = False) -> bool:
    time.sleep(_A_LOOK if wait else 0)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(folder: Path, descriptor: int, advice: str) -> UndiffuseError:
    return UndiffuseError(f"{folder} is being trained by {_holder(descriptor)}; {advice}")


def _holder(descriptor: int) -> str:
    """The holder of the lock: as that process wrote into the file, else as the kernel knows."""
    inode, pid = str(os.fstat(descriptor).st_ino), os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    with suppress(OSError):
        rows = (line.split() for line in _LOCKS.read_text().splitlines())
        held = (row[4] for row in rows if "FLOCK" in row and row[5].endswith(f":{inode}") and int(row[4]) > 0)
        pid = pid or next(held, "")
    return f"process {pid}" if pid else "another process"
