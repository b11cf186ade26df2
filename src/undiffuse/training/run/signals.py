"""SIGTERM, SIGHUP and Ctrl-C: finish the step, save, and leave; a second Ctrl-C leaves at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.process_group import ALONE, Group


class StoppedError(UndiffuseError):
    """The training was asked to stop, and its state is saved.

    Attributes:
        status: exit status that shells expect: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.status = 128 + signum


class _AbandonedError(Exception):
    """Raised by the handler inside `Interrupts.attempt`."""


class Interrupts:
    """Requests to stop, noted while `listening`.

    Args:
        group: processes that stop together: what one of them was asked, all obey at the next `agree`.

    Attributes:
        requested: the signal that asked to stop, or None.
    """

    def __init__(self, group: Group = ALONE) -> None:
        self.requested: int | None = None
        self._group = group
        self._noted: int | None = None
        self._attempting = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of SIGTERM, SIGINT and a closed terminal's SIGHUP instead of dying; nohup's SIGHUP stays ignored.

        Python delivers signals to the main thread only; in any other this does nothing, and whoever started the
        thread stays in charge.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heeded = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            heeded.remove(signal.SIGHUP)
        before = {signum: signal.signal(signum, self._note) for signum in heeded}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def agree(self) -> None:
        """Learn what was asked of any process; all must call this at the same time, after every step."""
        self.requested = self._group.largest(self._noted or 0) or None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted = signum
            if self._group.is_single:
                self.requested = signum
            if self._attempting:
                raise _AbandonedError
        elif signum == signal.SIGINT:
            raise KeyboardInterrupt  # nothing is lost but the steps since the last checkpoint

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do something that need not be finished, such as drawing samples: the first signal breaks it off.

        Returns:
            Whether it was finished.
        """
        if self._noted is not None or self.requested is not None:
            return False
        try:
            self._attempting = True
            work()
            self._attempting = False
        except _AbandonedError:
            return False
        finally:
            self._attempting = False
        return True
