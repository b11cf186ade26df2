"""A path with the beginning of a hash, ``runs/digits@0123456789ab``: which contents were there when it was used.

A picture's settings name other files that had a part in it. With the pin they say which contents those had, so that
the picture is made again from the same, or not at all.
"""

from __future__ import annotations

import re
from pathlib import Path

from undiffuse.errors import UndiffuseError

LENGTH = 12
_PIN = re.compile(rf"@([0-9a-f]{{{LENGTH}}})$")


def path_of(name: str) -> Path:
    return Path(_PIN.sub("", name))


def pinned(name: str, sha256: str) -> str:
    """The name with its pin.

    Raises:
        UndiffuseError: it has one already, of other contents.
    """
    found = _PIN.search(name)
    if found is None:
        return f"{name}@{sha256[:LENGTH]}"
    if found[1] != sha256[:LENGTH]:
        raise UndiffuseError(
            f"{path_of(name)} has other contents than were meant: their sha256 begins with {sha256[:LENGTH]}, not with "
            f"{found[1]}; leave out '@{found[1]}' to take those that are there"
        )
    return name
