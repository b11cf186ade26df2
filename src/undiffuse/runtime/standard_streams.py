"""Standard output and standard error that take any text, whatever they are.

Three ways in which a finished piece of work is lost at its last word, all met in life: a stream in an encoding without
arrows (Windows' code pages, for every ``> out.txt``), a file's name that is no UTF-8, and no stream at all (``>&-``,
pythonw). Whoever opens these streams once, around everything, need not think of them again.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

OTHER_LETTERS = (
    {"→": "->", "←": "<-", "↑": "^", "↓": "v", "−": "-", "–": "-", "—": "-", "…": "...", "█": "#", "░": "."}
    | {"·": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "≈": "~", "∞": "inf", "√": "sqrt", "²": "^2"}
    | {"ε": "eps", "σ": "sigma", "α": "alpha", "β": "beta", "µ": "u", "μ": "mu"}
    | {"‘": "'", "’": "'", "“": '"', "”": '"'}
)
"""Signs in letters that every encoding has."""
MARK = "\N{REPLACEMENT CHARACTER}"
HANDLER = "undiffuse.other-letters"


def other_letters(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler of `codecs`: signs that an encoding lacks in other letters, what has none of them as a mark."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    if error.encoding == "utf-8":  # lacks nothing but what stands for bytes of names; takes letters beyond ASCII packed
        return MARK.encode() * len(lost), error.end
    return "".join(OTHER_LETTERS.get(sign, "?") for sign in lost), error.end


codecs.register_error(HANDLER, other_letters)


@contextmanager
def open_streams() -> Iterator[None]:
    """Inside, standard output and error take any text; afterwards they are as they were."""
    with ExitStack() as stack:
        for descriptor in range(3):
            _fill(descriptor)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None or stream.closed:
                setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
                stack.callback(setattr, sys, name, stream)
            elif isinstance(stream, io.TextIOWrapper):
                stack.callback(_put_back, stream, stream.errors)
                stream.reconfigure(errors=HANDLER)
        yield


def _fill(descriptor: int) -> None:
    """A descriptor that is closed leads nowhere from now on: the next file opened would get its number, and what
    libraries print."""
    try:
        os.fstat(descriptor)
    except OSError:
        found = os.open(os.devnull, os.O_RDWR)
        if found != descriptor:
            os.dup2(found, descriptor)
            os.close(found)


def _put_back(stream: io.TextIOWrapper, errors: str | None) -> None:
    with suppress(OSError, ValueError):  # a full disk behind it, or closed meanwhile
        stream.reconfigure(errors=errors)


def hidden(progress: bool) -> bool | None:
    """tqdm's ``disable`` for a bar that is wanted or not: None hides it where standard error is neither a terminal nor
    a notebook's.

    Without a standard error at all (pythonw) tqdm would end in an error of its own.
    """
    if not progress or sys.stderr is None:
        return True
    return False if of_notebook(sys.stderr) else None


def of_notebook(stream: object) -> bool:
    """True for a stream that a notebook shows, where a line can be written over as at a terminal."""
    return type(stream).__module__.startswith("ipykernel")
