"""One trainer a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undiffuse.errors import UndiffuseError
from undiffuse.files import writing

_LOCK = ".lock"
_LOCKS = Path("/proc/locks")
"""Linux's list of locks: ``1: FLOCK  ADVISORY  WRITE 4711 08:01:264451 0 EOF``, with process id and inode."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run's lock. It is the kernel's (flock): a process that dies, however it dies, lets it go.

    Raises:
        UndiffuseError: another process holds it, and the message names its process id; or nobody may write there.
    """
    with writing(folder, "mend that, or train on a copy of the run in another place"):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, descriptor) from None
        with writing(folder, "mend that, then go on with --resume"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def check_unlocked(folder: Path) -> None:
    """Refuse a folder in which another process trains at this moment; nothing is left behind there.

    Raises:
        UndiffuseError: one does.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    except OSError:
        return  # no lock, so nobody holds it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder, descriptor) from None
    finally:
        os.close(descriptor)


def _in_use(folder: Path, descriptor: int) -> UndiffuseError:
    return UndiffuseError(
        f"{folder} is being trained by {_holder(descriptor)}; wait for it, stop it, or choose another --name"
    )


def _holder(descriptor: int) -> str:
    """Who holds the lock: as that process wrote into the file, else as the kernel knows."""
    inode, pid = str(os.fstat(descriptor).st_ino), os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    with suppress(OSError):
        rows = (line.split() for line in _LOCKS.read_text().splitlines())
        held = (row[4] for row in rows if "FLOCK" in row and row[5].endswith(f":{inode}") and int(row[4]) > 0)
        pid = pid or next(held, "")
    return f"process {pid}" if pid else "another process"
