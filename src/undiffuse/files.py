"""Writing files so that a killed process or a lost power supply leaves either the old state or the new one.

A name appears by ``os.replace`` only after its contents and its folder are on the disk. `os.fsync`, `os.rename` and
`os.replace` are called through the ``os`` module, which is where the tests kill the process.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Create ``path`` with ``data`` and wait until the disk has it. Permissions follow the umask."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str) -> None:
    """Write or overwrite a text file: a reader or a later start sees the old text or the new one, never a half."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes) -> None:
    """`replace_file` for bytes."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    write_durably(temporary, data)
    os.replace(temporary, path)
    sync_folder(path.parent)
