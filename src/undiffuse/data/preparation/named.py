"""A typed word and the data that it means, where a built-in set and a file or folder here have the same name.

What is here wins, as of models, and a line says so; ``./digits`` is always the file or folder, ``builtin:digits``
always the built-in one. The question is asked once, where the word is typed: in a run's settings ``digits`` is the
built-in set, whatever lies in the folder that the run is resumed or evaluated in.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from undiffuse.data.formats.builtin import BUILTIN, BUILTIN_PREFIX
from undiffuse.provenance.own_pictures import is_run


def typed_source(word: str, quiet: bool = False) -> str:
    """A typed word with one meaning: 'digits' becomes './digits' where data of this name lie here, which is said."""
    if word not in BUILTIN or not _here(Path(word)):
        return word
    if not quiet and os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        _say(word)
    return f".{os.sep}{word}"


def _here(path: Path) -> bool:
    """True for a file, and for a folder with something in it that is no run."""
    if path.is_dir():
        return not is_run(path) and any(path.iterdir())
    return path.is_file()


@cache  # a command may ask twice
def _say(word: str) -> None:
    kind = "folder" if Path(word).is_dir() else "file"
    built_in = f"the built-in data set of this name is {BUILTIN_PREFIX}{word}"
    print(f"{word} is the {kind} ./{word} here; {built_in}", file=sys.stderr)
