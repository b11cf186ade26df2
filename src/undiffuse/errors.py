"""The one exception that a user's mistake raises, and the spelling help that goes with it.

A sentence names a setting in backquotes, as Python calls it, alone or with a value: "`beta_start` and `beta_end` go
together", "use `spacing=log-snr`". That is what Python callers read, in errors, warnings and remarks alike; a door with
names of its own spells them where it speaks (`config.flags.in_flags`: "use --spacing log-snr"). Whole commands, such as
"undiffuse train --resume RUN", stay as they are.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable


class UndiffuseError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence: what was expected, what came, and what to type.
    The command line prints it without a traceback and exits with `status`.
    """

    status: int = 2
    """Exit status of the command line."""
    speaks: bool | None = None
    """Among many processes: whether this one tells the user; None where nobody has decided, see `rank_failure`."""


def perhaps(word: str, choices: Iterable[str]) -> str:
    """Return ``"; perhaps you meant 'x'"`` for the closest choice, else the list of choices."""
    choices = sorted(choices)
    if close := closest(word, choices):
        return f"; perhaps you meant '{close}'"
    return f"; choose from {', '.join(choices)}" if choices else ""


def counted(count: float, noun: str, several: str = "") -> str:
    """'1 picture', '2,000 pictures', '19.5 evaluations'.

    Args:
        several: the noun's plural, where it is not made by an s.
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun if count == 1 else several or f'{noun}s'}"


def one_of(choices: Iterable[object]) -> str:
    """Some choices in words: '4', '1 or 2', '1, 2 or 4'."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def quoted(path: object) -> str:
    """A path as it is typed in a shell, so that a command which a message names can be copied."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


OF_OTHERS = {
    **dict.fromkeys(("num", "number", "count", "nsamples", "numsamples", "numimages"), "n"),
    **dict.fromkeys(("output", "outputdir", "outdir"), "out"),
    **dict.fromkeys(("guidancescale", "cfg", "cfgscale"), "guidance"),
    **dict.fromkeys(("numinferencesteps", "ddimsteps", "samplingsteps", "trainsteps", "maxsteps"), "steps"),
    **dict.fromkeys(("maxtrainsteps", "numtrainsteps"), "steps"),
    **dict.fromkeys(("imagesize", "resolution"), "size"),
    **dict.fromkeys(("gpu", "gpus", "cuda"), "device"),
    "timestepspacing": "spacing",
    "scheduler": "sampler",
    "learningrate": "lr",
    "batchsize": "batch",
}
"""Settings as other programs call them, bare, which are spelt like others of ours or like none."""


def closest(word: str, choices: list[str]) -> str | None:
    """The choice that a word stands for: written another way, cut short, with more behind it, or misspelt; or None.

    Another way is that of other programs, such as ``dpmpp_2m`` for ``dpm++2m``.
    """
    bare = {choice: _bare(choice) for choice in choices}
    alike = [choice for choice in choices if bare[choice] == _bare(word)]
    begun = [choice for choice in choices if len(_bare(word)) > 1 and bare[choice].startswith(_bare(word))]
    inside = [choice for choice in choices if len(bare[choice]) > 5 and _bare(word).startswith(bare[choice])]
    others = [choice for choice in choices if bare[choice] == OF_OTHERS.get(_bare(word))]
    nearest = alike[:1] or others[:1] or sorted(begun, key=len)[:1] or sorted(inside, key=len)[-1:]
    found = nearest or difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if found:
        return found[0]
    letters = {bare[choice]: choice for choice in reversed(choices)}
    near = difflib.get_close_matches(_bare(word), letters, n=1, cutoff=0.6)
    return letters[near[0]] if near else None


def _bare(word: str) -> str:
    """Small letters and digits alone, with ``pp`` for ``++``."""
    return "".join(sign for sign in word.lower().replace("+", "p") if sign.isalnum())
