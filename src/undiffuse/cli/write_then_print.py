"""Files first, then words: work of minutes is on the disk before anything is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from undiffuse.errors import UndiffuseError


@contextmanager
def said_afterwards(say: Callable[[], object]) -> Iterator[None]:
    """A block that writes what was found; then it is said, and it is said all the same where it cannot be written."""
    try:
        yield
    except UndiffuseError:
        say()
        raise
    say()
