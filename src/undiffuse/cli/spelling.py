"""Whatever the command line prints calls settings by their options."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from undiffuse.config.flags import in_flags


class Spelled:
    """A stream on which "`beta_start`" is written as "--beta-start"."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(in_flags(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def spelled_streams() -> Iterator[None]:
    """Inside, standard output and standard error are spelled so."""
    with redirect_stdout(Spelled(sys.stdout)), redirect_stderr(Spelled(sys.stderr)):
        yield
