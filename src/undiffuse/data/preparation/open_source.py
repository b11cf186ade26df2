"""From what was typed to a source: a built-in set, a folder, or a file of a known format, told by its content."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from undiffuse.data.files.listing import is_image, looks_like_image
from undiffuse.data.formats.builtin import BUILTIN
from undiffuse.data.formats.folder import Folder
from undiffuse.data.formats.format import Filling, NamedPath
from undiffuse.data.formats.registry import FORMATS
from undiffuse.data.formats.shards import expand, is_pattern, open_shards
from undiffuse.data.formats.tiff_pages import has_pages
from undiffuse.data.formats.volumes import is_volume, suffix_of
from undiffuse.data.source import Source
from undiffuse.errors import UndiffuseError, counted, perhaps, quoted
from undiffuse.provenance.own_pictures import is_run, values_beside
from undiffuse.runtime.durable_files import expanded


class NoSourceError(UndiffuseError):
    """Nothing has the name that a source was given."""


def open_source(source: str) -> Source:
    """Find out what ``source`` is. ``FILE/FOLDER`` names a folder inside an archive; docs/use/data.md has all kinds.

    Raises:
        UndiffuseError: nothing there, or a kind of file that is not known.
    """
    for form in FORMATS:
        if found := form.word(source):
            return found
    if not source:  # Path("") would be the current folder
        raise UndiffuseError("expected a folder, a file or a built-in name, got ''; '.' is the current folder")
    path = expanded(source)
    name = path.name or path.resolve().name
    if path.is_dir():
        return _open_folder(NamedPath(path, name))
    if path.is_file():
        return _open_file(NamedPath(path, name))
    if is_pattern(source):
        return open_shards(expand(source), name)
    if found := _open_inside(path):
        return found
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = perhaps(path.name, difflib.get_close_matches(path.name, [*beside, *BUILTIN], n=1) or BUILTIN)
    raise NoSourceError(f"expected a folder, a file or a built-in name, got '{source}', which does not exist{near}")


def _open_inside(path: Path) -> Source | None:
    above = next((above for above in path.parents if above.exists()), path)
    found, inside = NamedPath(above, above.name), path.relative_to(above).as_posix()
    source = _open_file(found) if above.is_file() else _by_folder(found) if above.is_dir() else None
    return source and source.within(inside)


def _by_folder(found: NamedPath) -> Source | None:
    return next((source for form in FORMATS if (source := form.folder(found))), None)


def _open_folder(found: NamedPath) -> Source:
    """The source that a folder is, by the names of its files: any image makes it a folder of images."""
    path, name = found.path, found.name
    if values := values_beside(path):
        raise UndiffuseError(
            f"expected the values of samples in {path}, got pictures of them to be looked at; name the file that has "
            f"the values: {values}"
        )
    if is_run(path) and (path / "config.yaml").is_file():
        raise UndiffuseError(
            f"expected data, got {path}, which is a run and holds pictures for the eye alone: draw samples with "
            f"undiffuse sample {quoted(path)}, and name the folder that they are in"
        )
    if source := _by_folder(found):
        return source
    fillings = [form.filling for form in FORMATS if form.filling]
    images, others = list[Path](), dict[str, list[Path]]()
    for file in _files(path):
        if is_image(file.name) and not (suffix_of(file.name) in (".tif", ".tiff") and not images and has_pages(file)):
            images.append(file)
            if len(images) > 10_000:  # whatever else is in it
                return Folder(path, name)
        elif filling := next((filling for filling in fillings if filling.named(file.name)), None):
            others.setdefault(filling.noun, []).append(file)
    there = [filling for filling in fillings if filling.noun in others]
    if images:
        for filling in there:
            _check_strays(images, filling, len(others[filling.noun]), path)
        return Folder(path, name)
    if len(there) > 1:
        raise UndiffuseError(f"expected data of one kind in {name}, got several (shards, videos or volumes); name one")
    return there[0].open(others[there[0].noun], found) if there else Folder(path, name)


def _check_strays(images: list[Path], filling: Filling, count: int, path: Path) -> None:
    """A few pictures beside shards, videos or volumes are previews: which are meant, only the user knows."""
    if len(images) <= filling.previews(count):
        image = images[0].relative_to(path)
        raise UndiffuseError(
            f"expected data of one kind in {path}, got {counted(count, filling.noun)} and "
            f"{counted(len(images), 'image')} ({image}); move the ones or the others away"
        )


def _files(path: Path) -> Iterator[Path]:
    """Files below a folder; hidden ones, and those that are no regular ones, left out."""
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (file for name in names if not name.startswith(".") and (file := Path(folder, name)).is_file())


def _open_file(found: NamedPath) -> Source:
    if source := next((source for form in FORMATS if (source := form.file(found))), None):
        return source
    if looks_like_image(found.head):
        raise UndiffuseError(
            f"expected a data set, got one image, {found.path}; name the folder that holds your images"
        )
    if is_volume(found.name):
        raise UndiffuseError(
            f"expected a data set, got one volume, {found.path}; name the folder that holds your volumes"
        )
    raise UndiffuseError(
        "expected a folder, or a .zip, .tar, .npz, .npy, idx, parquet, LMDB, TIFF or video file, "
        f"got {found.path}, which is none of these"
    )
