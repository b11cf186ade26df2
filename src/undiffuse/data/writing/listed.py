"""The files that a listing names, one after another, and the first pass over them, which looks at their headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from undiffuse.data.files.decode import UnreadableError
from undiffuse.data.files.listing import FileEntry, Files, Listing
from undiffuse.data.source import Draft

T = TypeVar("T")


def listed(files: Files, names: Iterable[str]) -> Iterator[FileEntry]:
    """The files of these names, in the order in which they lie there; of several of one name the first."""
    waiting = set(names)
    for entry in files.entries():
        if isinstance(entry, FileEntry) and entry.name in waiting:
            waiting.discard(entry.name)
            yield entry


def survey(
    files: Files, listing: Listing, look: Callable[[FileEntry], T], draft: Draft
) -> tuple[dict[str, T], list[tuple[str, UnreadableError]]]:
    """The results of a look at the listed files, by name, and the reasons why others cannot be read."""
    found, failed = dict[str, T](), list[tuple[str, UnreadableError]]()
    with draft.bar("Looking", "file", len(listing.images)) as progress:
        for entry in listed(files, listing.images):
            try:
                if entry.size == 0:
                    raise UnreadableError("is empty (0 bytes)")
                found[entry.name] = look(entry)
            except UnreadableError as error:
                # A new one: the traceback of the one that was caught holds the file's bytes.
                failed.append((entry.name, type(error)(*error.args)))
            progress.update()
    return found, failed
