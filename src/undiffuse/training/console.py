"""What a training says: one live line at a terminal, plain lines elsewhere, and a log file of everything else."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TextIO


class Console:
    """Messages to the user, on standard error and in a log file.

    Args:
        quiet: write nothing to the stream; the log is written all the same.
        stream: by default standard error, so that standard output stays free.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self._live = False
        self._log: Path | None = None
        self.terminal = self._stream.isatty()

    def log_to(self, path: Path) -> None:
        """Append what is said from now on to this file, with the date."""
        self._log = path

    def say(self, message: str) -> None:
        """One message, on a line of its own."""
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n")
        if not self.quiet:
            self._clear()
            print(message, file=self._stream, flush=True)

    def status(self, line: str) -> None:
        """Show ``line`` in place of the last status at a terminal; print it elsewhere."""
        if self.quiet:
            return
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\033[K" + line[:width])
            self._stream.flush()
            self._live = True
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last status standing, and go on below it."""
        if self._live:
            self._stream.write("\n")
            self._live = False

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\033[K")
            self._live = False
