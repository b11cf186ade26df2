"""What a training says: one live line at a terminal, plain lines elsewhere, and a log file of everything else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

from undiffuse.runtime.durable_files import for_the_eye, unwritable
from undiffuse.runtime.standard_streams import of_notebook

NOTEBOOK = 120
"""Columns of a notebook's line, which knows no sign that erases."""


class Console:
    """Messages to the user, on standard error and in a log file.

    Neither may cost a training anything: a terminal that was closed, or a reader that has gone, is talked to no more,
    and a log that cannot be written ends with a word about that.

    Args:
        quiet: write nothing to the stream; the log is written all the same.
        stream: by default standard error, so that standard output stays free.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115 (pythonw has no streams)
        self.quiet = quiet or (stream or sys.stderr) is None
        self._live = False
        self._log: Path | None = None
        self._notebook = of_notebook(self._stream)
        self.terminal = self._notebook or self._stream.isatty()

    def log_to(self, path: Path) -> None:
        """Append what is said from now on to this file, with the date."""
        self._log = path

    def say(self, message: str) -> None:
        if self._log is not None:
            try:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {for_the_eye(message)}\n")
            except OSError as error:
                path, self._log = self._log, None
                self.say(f"warning: {unwritable(path, error, 'until then nothing is added to it')}")
        if not self.quiet:
            self._clear()
            self._put(f"{message}\n")

    def status(self, line: str) -> None:
        """Show ``line`` in place of the last status at a terminal; print it elsewhere."""
        if self.quiet:
            return
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._put(self._over + (line.ljust(NOTEBOOK) if self._notebook else line[:width]))
            self._live = True
        else:
            self._put(f"{line}\n")

    def close(self) -> None:
        """Leave the last status standing, and go on below it."""
        if self._live:
            self._put("\n")
            self._live = False

    def _clear(self) -> None:
        if self._live:
            self._put(self._over)
            self._live = False

    @property
    def _over(self) -> str:
        """What begins a line that is written over the last one."""
        return f"\r{' ' * NOTEBOOK}\r" if self._notebook else "\r\033[K"

    def _put(self, text: str) -> None:
        if self.quiet:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal was closed, `| head` has read enough, the stream is closed
            self.quiet = True
