"""Names of classes as people type them: words for all and for none of them, digits in words, names with commas.

A class goes before everything else that its name might mean: of a class called `none`, `classes=none` asks for that
class, and of one called `cat, tabby` a text with a comma is one name. What the words mean can always be written with a
colon: `:none`, `:all`. Which of several names a text with commas holds can always be written with quotes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

from undiffuse.errors import UndiffuseError, perhaps

ALL, NONE = ":all", ":none"
"""In place of a class: each of them by turns; no class at all. Without the colon, too, where no class is called so."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Words for classes that are called by a digit."""


def class_number(word: str, classes: Sequence[str]) -> int:
    """The label of a class by its name, or by the word for its digit; ``none`` and `NONE` are the null class."""
    if word in classes:
        return classes.index(word)
    if word in (NONE, NONE[1:]):
        return len(classes)
    if word in DIGITS and str(DIGITS.index(word)) in classes:
        return classes.index(str(DIGITS.index(word)))
    raise UndiffuseError(f"There is no class '{word}'{perhaps(word, classes)}")


def class_numbers(words: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """The labels that samples get by turns; without words, all of them."""
    found: list[int] = []
    for name in class_names(words or (ALL,), classes):
        every = name in (ALL, ALL[1:]) and name not in classes
        found += range(len(classes)) if every else [class_number(name, classes)]
    return tuple(found)


def class_names(words: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """One name each, of texts that may hold several: see `split_names`."""
    return tuple(name for word in words for name in split_names(word, classes))


def split_names(text: str, classes: Sequence[str]) -> list[str]:
    """The names in a text with commas between them, of which names may have some.

    The whole text, where it is a class; else what stands in quotes as one name; else the longest classes from the left
    that leave nothing over. A piece that is no class stays as it is, for `class_number` to speak of.
    """
    if text in classes:
        return [text]
    if '"' in text:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]
    pieces = text.split(",")
    known = {*classes, *DIGITS, ALL, NONE, ALL[1:], NONE[1:]}
    # From the right: how the pieces from k on are told apart, if they can be.
    rests: list[list[str] | None] = [None] * len(pieces) + [[]]
    for start in reversed(range(len(pieces))):
        for stop in range(len(pieces), start, -1):
            name, rest = ",".join(pieces[start:stop]), rests[stop]
            found = next((one for one in (name, name.strip()) if one in known), None)
            if found is not None and rest is not None:
                rests[start] = [found, *rest]
                break
    whole = rests[0]
    return whole if whole is not None else [piece.strip() for piece in pieces]


def as_typed(parts: Sequence[object]) -> str:
    """A list as it is typed: in quotes what would be taken for several or for none."""
    texts = [str(part) for part in parts]
    marked = [any(mark in text for mark in ',"') or text.lower() == "none" for text in texts]
    quoted = ['"{}"'.format(text.replace('"', '""')) for text in texts]
    return ",".join(q if mark else text for q, mark, text in zip(quoted, marked, texts, strict=True)) or "none"
