"""The one exception that a user's mistake raises, and the spelling help that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UndiffuseError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence: what was expected, what came, and what to type.
    The command line prints it without a traceback and exits with `status`.
    """

    status: int = 2
    """Exit status of the command line."""
    speaks: bool | None = None
    """Among many processes: whether this one tells the user; None where nobody has decided (see `distributed`)."""


def perhaps(word: str, choices: Iterable[str]) -> str:
    """Return ``"; perhaps you meant 'x'"`` for the closest choice, else the list of choices."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; perhaps you meant '{close[0]}'"
    return f"; choose from {', '.join(choices)}" if choices else ""
