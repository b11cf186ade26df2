"""Writing files so that a killed process or a lost power supply leaves either the old state or the new one.

A name appears by ``os.replace`` only after its contents and its folder are on the disk. `os.fsync`, `os.rename` and
`os.replace` are called through the ``os`` module, which is where the tests kill the process.

A place that cannot be written is the user's to mend, so what the system says of it becomes one sentence here, for all
who write; and what can be known of it before an hour's work, `check_writable` says before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from undiffuse.errors import UndiffuseError

NAME_BYTES = 255
"""Longest name that common file systems take."""
MADE_NAME_BYTES = 120
"""Longest name that is made of what somebody typed: room is left for numbers, endings and the marks of drafts."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "give another place with `out`"
"""What to do about a place that cannot be written, for whoever has the option."""

PLACE = "give another place"
"""The same for whoever is asked for a place otherwise."""
NO_OUT = "mend that, or work on a copy of the folder in another place"
"""The same for what has its place in a folder that is there."""


class UnwritableError(UndiffuseError):
    """A file or folder could not be written."""


def unwritable(place: Path, error: OSError, advice: str = ELSEWHERE) -> UnwritableError:
    """A sentence about a place that cannot be written, with what to do."""
    if error.errno in NO_ROOM:
        mends = advice.startswith("mend that")
        advice = advice.replace("mend that", "make room", 1) if mends else f"make room, or {advice}"
    if error.errno == errno.ENAMETOOLONG:
        advice = advice.replace("another", "a shorter", 1)
    return UnwritableError(f"could not write to {place}: {error.strerror or error}; {advice}")


@contextmanager
def writing(place: Path, advice: str = ELSEWHERE) -> Iterator[None]:
    """A block that writes to ``place``: what the system refuses is an `UnwritableError`."""
    try:
        yield
    except OSError as error:
        raise unwritable(place, error, advice) from error


def check_writable(path: Path, advice: str = ELSEWHERE) -> None:
    """Raise an `UnwritableError` for a place where nobody may write or nothing has room, as far as can be known."""
    with writing(path, advice):
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is no folder")
        room = os.statvfs(above)
        if room.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if room.f_blocks and not room.f_bavail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def appearing(path: Path, advice: str = ELSEWHERE) -> Iterator[Path]:
    """The draft of a file, which becomes ``path`` where the block ends well and vanishes otherwise."""
    draft = draft_of(path)
    try:
        with writing(path, advice):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            draft.replace(path)
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path) -> Path:
    """The place of a file until it is whole: hidden beside it, under a name of this process."""
    mark = f".{os.getpid()}.partial"
    return path.with_name(f".{shortened(path.name, NAME_BYTES - len(mark) - 1)}{mark}")


def write_durably(path: Path, data: bytes) -> None:
    """Create ``path`` with ``data`` and wait until the disk has it. Permissions follow the umask."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk has a file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str, advice: str = NO_OUT) -> None:
    """Write or overwrite a text file: a reader or a later start sees the old text or the new one, never a half.

    Names that are no UTF-8 are written as `for_the_eye`.
    """
    replace_bytes(path, for_the_eye(text).encode(), advice)


def replace_bytes(path: Path, data: bytes, advice: str = NO_OUT) -> None:
    """`replace_file` for bytes."""
    temporary = path.with_name(f".{shortened(path.name, NAME_BYTES - 9)}.partial")
    with writing(path, advice):
        try:
            temporary.unlink(missing_ok=True)
            write_durably(temporary, data)
            os.replace(temporary, path)
        except (Exception, KeyboardInterrupt):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


# --- names ------------------------------------------------------------------------------------------------------------


def shortened(name: str, most: int = MADE_NAME_BYTES) -> str:
    """A name of at most ``most`` bytes: the name itself where it fits, else its beginning and a hash of all of it."""
    whole = os.fsencode(name)
    if len(whole) <= most:
        return name
    mark = f"-{hashlib.sha256(whole).hexdigest()[:8]}"
    return whole[: most - len(mark)].decode(errors="ignore") + mark


def expanded(name: str | Path) -> Path:
    """A path with ``~`` as the home folder; as it is where there is no such home, or a name just begins with ``~``."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def for_the_eye(text: str) -> str:
    """A text that can be shown and written: what stands for bytes of a file's name that are no UTF-8 becomes a mark."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
