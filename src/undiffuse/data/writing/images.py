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
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS, about, fits, scaled, tiles, write_cut
from undiffuse.data.dataset import RowWriter
from undiffuse.data.files.decode import ForTheEyeError, Header, UnreadableError, decode, quiet_pillow, read_header
from undiffuse.data.files.foreign import is_raw, kind_not_read
from undiffuse.data.files.listing import FileEntry, Files, Listing, Refusal
from undiffuse.data.source import Draft, WrittenSamples
from undiffuse.data.transform import convert_channels, resize
from undiffuse.data.writing.agreement import AgreedShape, agree, check_bad
from undiffuse.runtime.cache import need_space
from undiffuse.runtime.standard_streams import hidden

MAX_FILE = 1 << 29
"""Bytes of one image file; larger ones are refused unread."""
_WORTH_THREADS = 1 << 18
"""Pixels per image from which decoding, which releases the interpreter's lock, outweighs handing it to a thread."""

A = TypeVar("A")
B = TypeVar("B")


def write_images(files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
    """Write ``images.npy`` of the images listed; what turns out to be no data joins the ignored files.

    Raises:
        UndiffuseError: the images do not agree and no option says what to do; too many are bad; none are left.
    """
    config, size, folder = draft.config, draft.size, draft.folder
    with quiet_pillow():
        headers, unreadable, aside = _survey(files, listing, draft)
        refused = [*listing.refused, *unreadable]
        if config.crop in CUTS and size is not None:
            refused += _small(headers, config, size)
        listing = replace(listing, ignored=(*listing.ignored, *aside))
        check_bad(files.name, len(headers), refused, listing, config, many=False)
        target = agree(files.name, headers, config, size, refused)
        shapes = {name: _cut_shape(header, config, size) for name, header in headers.items()}
        if config.crop in CUTS:
            cut = about(config.crop, list(shapes.values()), (target.height, target.width))
            pixels = sum(h * w for h, w in shapes.values())  # at most; of tiles, the edges are left out
        else:
            cut, pixels = None, len(headers) * target.height * target.width
        need_space(folder, pixels * target.channels * np.dtype(target.dtype).itemsize)
        sink = _Sink(folder, target, None if cut is None else cut.kind)
        undecodable = _write(files, headers, sink, shapes, draft)
        if cut is not None:
            there = [shapes[name] for name in dict.fromkeys(sink.files)]
            sample = (target.channels, target.height, target.width)
            write_cut(folder, about(config.crop, there, sample[1:]) if there else cut, sample, sink.places)
    refused += undecodable
    check_bad(files.name, len(sink.files), refused, listing, config)
    return WrittenSamples.of_files(listing, config.vectors, sink.names, sink.files, refused)


def _small(headers: dict[str, Header], config: DataConfig, size: tuple[int, int]) -> list[Refusal]:
    """Images that a sample does not fit into, which are taken out of ``headers``."""
    small = [name for name, header in headers.items() if not fits(*_cut_shape(header, config, size), size)]
    why = f"is smaller than a sample of {size[0]} x {size[1]}; `crop=center` scales it up, and so does `crop_from`"
    for name in small:
        del headers[name]
    return [(name, why) for name in small]


def _cut_shape(header: Header, config: DataConfig, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width at which an image is cut; its own where it is not."""
    if size is None or config.crop not in CUTS:
        return header.height, header.width
    return scaled(header.height, header.width, size, config.crop_from)


class _Sink:
    """Writes decoded images as the samples that they become, and keeps their names."""

    def __init__(self, folder: Path, target: AgreedShape, cut: str | None) -> None:
        self.target, self.cut = target, cut
        self.names, self.files, self.places = list[str](), list[str](), list[tuple[int, int, int]]()
        row = () if cut == "random" else (target.channels, target.height, target.width)
        self.rows = RowWriter(folder / "images.npy", target.dtype, row)

    def add(self, name: str, image: NDArray[Any]) -> None:
        """An image, (height, width, channels)."""
        if self.cut == "tiles":
            for place, tile in tiles(image, (self.target.height, self.target.width)):
                self._row(f"{name}@{place}", name, tile)
        elif self.cut == "random":
            self.places.append((self.rows.count, *image.shape[:2]))
            self.rows.write(np.moveaxis(image, -1, 0).reshape(-1))
            self.names.append(name)
            self.files.append(name)
        else:
            self._row(name, name, image)

    def _row(self, name: str, file: str, image: NDArray[Any]) -> None:
        self.rows.write(np.moveaxis(image, -1, 0)[None])
        self.names.append(name)
        self.files.append(file)


def _survey(files: Files, listing: Listing, draft: Draft) -> tuple[dict[str, Header], list[Refusal], list[Refusal]]:
    """Headers of the listed images by name, the images without a readable one, and those made to be looked at."""
    waiting, headers, refused = set(listing.images), dict[str, Header](), list[Refusal]()
    aside = list[Refusal]()
    with tqdm(total=len(waiting), desc="Looking", unit="file", disable=hidden(draft.progress), leave=False) as progress:
        for entry in files.entries():
            if isinstance(entry, tuple) or entry.name not in waiting:
                continue
            waiting.discard(entry.name)  # a second member of the same name is not looked at
            try:
                headers[entry.name] = _header(entry, draft.config.channels != "keep")
            except ForTheEyeError as error:
                aside.append((entry.name, str(error)))
            except UnreadableError as error:
                refused.append((entry.name, str(error)))
            progress.update()
    return headers, refused, aside


def _write(
    files: Files,
    headers: dict[str, Header],
    sink: _Sink,
    shapes: dict[str, tuple[int, int]],
    draft: Draft,
) -> list[Refusal]:
    """Decode, convert and write; what could not be."""
    target, config = sink.target, draft.config

    def convert(job: tuple[str, bytes | UnreadableError]) -> tuple[str, NDArray[Any] | UnreadableError]:
        name, data = job
        if isinstance(data, UnreadableError):
            return name, data
        try:
            if config.crop in CUTS:
                return name, _convert_whole(data, target, config, shapes[name])
            return name, convert_image(data, target, config, draft.size)
        except UnreadableError as error:
            return name, error

    refused = list[Refusal]()
    workers = workers_for(headers)
    with (
        sink.rows,
        tqdm(
            total=len(headers), desc="Preparing", unit="image", disable=hidden(draft.progress), leave=False
        ) as progress,
    ):
        for name, image in ordered_map(convert, _read_all(files, headers), workers):
            if isinstance(image, UnreadableError):
                refused.append((name, str(image)))
            else:
                sink.add(name, image)
            progress.update()
    return refused


def workers_for(headers: dict[str, Header]) -> int:
    """Threads that decode images of such sizes: the cores that this process may use, or one."""
    if sum(header.height * header.width for header in headers.values()) <= _WORTH_THREADS * len(headers):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _header(entry: FileEntry, convert: bool) -> Header:
    if entry.size == 0:
        raise UnreadableError("is empty (0 bytes)")
    if entry.size > MAX_FILE:
        raise UnreadableError(f"has {entry.size >> 20:,} MiB; more than {MAX_FILE >> 20} are refused")
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
    """Why an unreadable image was never meant to be read here; '' where it is damaged."""
    try:
        with entry.open() as file:
            return kind_not_read(entry.name, file.read(1 << 10))
    except Exception:
        return ""


def _read_all(files: Files, headers: dict[str, Header]) -> Iterator[tuple[str, bytes | UnreadableError]]:
    waiting = set(headers)
    for entry in files.entries():
        if isinstance(entry, tuple) or entry.name not in waiting:
            continue
        waiting.discard(entry.name)
        try:
            with entry.open() as file:
                yield entry.name, file.read(MAX_FILE)
        except Exception as error:
            yield entry.name, UnreadableError(f"cannot be read: {error}")


def convert_image(data: bytes, target: AgreedShape, config: DataConfig, size: tuple[int, int] | None) -> NDArray[Any]:
    """The pixels of an encoded image, as the target says. Raises `UnreadableError`."""
    pixels = _pixels(data, target, config, size)
    if size:
        pixels = resize(pixels, size, config.crop, alpha=pixels.shape[2] in (2, 4))
    return _checked(pixels, (target.height, target.width), target)


def _convert_whole(data: bytes, target: AgreedShape, config: DataConfig, shape: tuple[int, int]) -> NDArray[Any]:
    """The pixels of an encoded image that samples are cut of, of this height and width."""
    pixels = _pixels(data, target, config, shape if config.crop_from else None)
    if config.crop_from:
        pixels = resize(pixels, shape, "none", alpha=pixels.shape[2] in (2, 4))
    return _checked(pixels, shape, target)


def _pixels(data: bytes, target: AgreedShape, config: DataConfig, at_least: tuple[int, int] | None) -> NDArray[Any]:
    pixels = decode(data, at_least=at_least, **({"convert": True} if config.channels != "keep" else {}))
    return pixels if config.channels == "keep" else convert_channels(pixels, target.channels)


def _checked(pixels: NDArray[Any], shape: tuple[int, int], target: AgreedShape) -> NDArray[Any]:
    if pixels.shape != (*shape, target.channels) or pixels.dtype != target.dtype:
        raise UnreadableError(f"decodes to {pixels.shape} of {pixels.dtype}, which its header does not say")
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
