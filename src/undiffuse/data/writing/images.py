"""A folder or archive of images into the cache, in two passes.

The first reads headers only: what the images are, whether they agree, what does not open. Everything that needs the
user's decision (mixed sizes, mixed channels, wrong aspect ratios) is said within seconds, with what to type, before
the long pass decodes anything.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS, about, scaled, tiles, write_cut
from undiffuse.data.dataset import RowWriter
from undiffuse.data.files.decode import (
    MAX_FILE,
    ForTheEyeError,
    Header,
    UnreadableError,
    decode,
    quiet_pillow,
    read_header,
    too_large,
)
from undiffuse.data.files.listing import FileEntry, Files, Listing, Refusal
from undiffuse.data.files.unsupported import is_raw, kind_not_read
from undiffuse.data.source import Draft, WrittenSamples
from undiffuse.data.transform import convert_channels, resize
from undiffuse.data.writing.agreement import agree, check_bad
from undiffuse.data.writing.listed import listed, survey
from undiffuse.runtime.cache import need_space

A = TypeVar("A")
B = TypeVar("B")


def write_images(files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
    """Write ``images.npy`` of the images listed; what turns out to be no data joins the ignored files."""
    config, folder = draft.config, draft.folder
    cut = draft.size if config.crop in CUTS else None  # height and width of the samples that images are cut into
    with quiet_pillow():
        headers, failed = survey(files, listing, partial(_header, convert=config.channels != "keep"), draft)
        aside = tuple((name, str(error)) for name, error in failed if isinstance(error, ForTheEyeError))
        refused = [*listing.refused]
        refused += [(name, str(error)) for name, error in failed if not isinstance(error, ForTheEyeError)]
        shapes = dict[str, tuple[int, int]]()
        if cut:
            shapes = {name: scaled(h.height, h.width, cut, config.crop_from) for name, h in headers.items()}
            small = [name for name, (high, wide) in shapes.items() if high < cut[0] or wide < cut[1]]
            why = (
                f"is smaller than a sample of {cut[0]} x {cut[1]}; `crop=center` scales it up, and so does `crop_from`"
            )
            refused += [(name, why) for name in small]
            for name in small:
                del headers[name], shapes[name]
        listing = replace(listing, ignored=(*listing.ignored, *aside))
        check_bad(files.name, len(headers), refused, listing, config, many=False)
        target = agree(files.name, headers, config, draft.size, refused)
        if cut:
            pixels = sum(height * width for height, width in shapes.values())  # at most; tiles leave out the edges
        else:
            pixels = len(headers) * target.height * target.width
        need_space(folder, pixels * target.channels * np.dtype(target.dtype).itemsize)
        sink = _Sink(folder, target, config.crop if cut else "none")
        refused += _write(files, headers, sink, shapes, draft)
        if cut and sink.files:
            there = [shapes[name] for name in dict.fromkeys(sink.files)]
            write_cut(folder, about(config.crop, there, cut), (target.channels, *cut), sink.places)
    check_bad(files.name, len(sink.files), refused, listing, config)
    return WrittenSamples.of_files(listing, config.vectors, sink.names, sink.files, refused)


class _Sink:
    """Writes decoded images as the samples that they become, and keeps their names."""

    def __init__(self, folder: Path, target: Header, crop: str) -> None:
        self.target, self.crop = target, crop
        self.names, self.files, self.places = list[str](), list[str](), list[tuple[int, int, int]]()
        row = () if crop == "random" else (target.channels, target.height, target.width)
        self.rows = RowWriter(folder / "images.npy", target.dtype, row)

    def add(self, name: str, image: NDArray[Any]) -> None:
        size = (self.target.height, self.target.width)
        for place, part in tiles(image, size) if self.crop == "tiles" else [("", image)]:
            row = np.moveaxis(part, -1, 0)
            if self.crop == "random":
                self.places.append((self.rows.count, *part.shape[:2]))
            self.rows.write(row.reshape(-1) if self.crop == "random" else row[None])
            self.names.append(f"{name}@{place}" if place else name)
            self.files.append(name)


def _write(
    files: Files, headers: dict[str, Header], sink: _Sink, shapes: dict[str, tuple[int, int]], draft: Draft
) -> list[Refusal]:
    """Decode, convert and write; the images that could not be. Those of ``shapes`` are brought to these and cut."""

    def convert(job: tuple[str, bytes | UnreadableError]) -> tuple[str, NDArray[Any] | UnreadableError]:
        name, data = job
        target, size = sink.target, draft.size
        if shape := shapes.get(name):
            target = replace(target, height=shape[0], width=shape[1])
            size = shape if draft.config.crop_from else None
        return name, convert_image(data, target, draft.config, size)

    refused = list[Refusal]()
    with sink.rows, draft.bar("Preparing", "image", len(headers)) as progress:
        for name, image in ordered_map(convert, _read_all(files, headers), workers_for(headers)):
            if isinstance(image, UnreadableError):
                refused.append((name, str(image)))
            else:
                sink.add(name, image)
            progress.update()
    return refused


def workers_for(headers: dict[str, Header]) -> int:
    """Threads that decode images of such sizes: the cores that this process may use, or one."""
    if sum(header.height * header.width for header in headers.values()) <= len(headers) << 18:
        return 1  # decoding, which releases the interpreter's lock, takes no longer than handing it to a thread
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _header(entry: FileEntry, convert: bool) -> Header:
    if why := too_large(entry.size):
        raise UnreadableError(why)
    try:
        if is_raw(entry.name):  # before it is taken for the TIFF of its thumbnail
            raise UnreadableError(kind_not_read(entry.name, b""))
        with entry.open() as file:
            return read_header(file, convert)
    except ForTheEyeError:
        raise
    except UnreadableError as error:
        raise UnreadableError(_another_kind(entry) or str(error)) from None
    except Exception as error:  # what zipfile and the file system raise on damaged members
        raise UnreadableError(f"cannot be read: {error}") from error


def _another_kind(entry: FileEntry) -> str:
    """The reason why an unreadable image was never meant to be read here; '' where it is damaged."""
    try:
        with entry.open() as file:
            return kind_not_read(entry.name, file.read(1 << 10))
    except Exception:
        return ""


def _read_all(files: Files, headers: dict[str, Header]) -> Iterator[tuple[str, bytes | UnreadableError]]:
    for entry in listed(files, headers):
        try:
            with entry.open() as file:
                yield entry.name, file.read(MAX_FILE)
        except Exception as error:
            yield entry.name, UnreadableError(f"cannot be read: {error}")


def convert_image(
    data: bytes | UnreadableError, target: Header, config: DataConfig, size: tuple[int, int] | None
) -> NDArray[Any] | UnreadableError:
    """The pixels of an encoded image, as the target says, or the reason why there are none."""
    if isinstance(data, UnreadableError):
        return data
    convert = config.channels != "keep"
    try:
        pixels = decode(data, size, convert)
    except UnreadableError as error:
        return error
    if convert:
        pixels = convert_channels(pixels, target.channels)
    if size:
        pixels = resize(pixels, size, config.crop, alpha=pixels.shape[2] in (2, 4))
    if pixels.shape != (target.height, target.width, target.channels) or pixels.dtype != target.dtype:
        return UnreadableError(f"decodes to {pixels.shape} of {pixels.dtype}, which its header does not say")
    return pixels


def ordered_map(function: Callable[[A], B], jobs: Iterable[A], workers: int) -> Iterator[B]:
    """Results in order, with a bounded number of jobs in memory (Executor.map would read all of them first)."""
    if workers < 2:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[B]] = deque()
        try:
            for job in jobs:
                running.append(pool.submit(function, job))
                if len(running) > 2 * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
