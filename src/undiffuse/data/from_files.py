"""A folder or archive of images into the cache, in two passes.

The first reads headers only: what the images are, whether they agree, what does not open. Everything that needs the
user's decision (mixed sizes, mixed channels, wrong aspect ratios) is said within seconds, with what to type, before
the long pass decodes anything.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from undiffuse.config import DataConfig
from undiffuse.data.cache import need_space
from undiffuse.data.dataset import RowWriter
from undiffuse.data.decode import ForTheEyeError, Header, UnreadableError, decode, quiet_pillow, read_header
from undiffuse.data.listing import Entry, Files, Listing, Refusal
from undiffuse.data.transform import CHANNELS, convert_channels, keeps_aspect, resize
from undiffuse.errors import UndiffuseError

MAX_BAD = 0.05
"""Share of unreadable images above which the data set is an error: so many are a mistake, not an accident."""
MAX_FILE = 1 << 29
"""Bytes of one image file; larger ones are refused unread."""
_WORTH_THREADS = 1 << 18
"""Pixels per image from which decoding, which releases the interpreter's lock, outweighs handing it to a thread."""

_KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
_DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Target:
    """What every image becomes."""

    height: int
    width: int
    channels: int
    dtype: str


def write_images(
    files: Files, listing: Listing, config: DataConfig, size: tuple[int, int] | None, folder: Path, bar: bool
) -> tuple[list[str], tuple[Refusal, ...], tuple[Refusal, ...]]:
    """Write ``images.npy`` of the images listed; return the names of those in it, in order, all refused files, and
    those that were found to be no data.

    Raises:
        UndiffuseError: the images do not agree and no option says what to do; too many are bad; none are left.
    """
    with quiet_pillow():
        headers, unreadable, aside = _survey(files, listing, bar)
        refused = [*listing.refused, *unreadable]
        listing = replace(listing, ignored=(*listing.ignored, *aside))
        check_bad(files.name, len(headers), refused, listing)
        target = agree(files.name, headers, config, size)
        values = len(headers) * target.height * target.width * target.channels
        need_space(folder, values * np.dtype(target.dtype).itemsize)
        names, undecodable = _write(files, headers, target, config, size, folder / "images.npy", bar)
    refused += undecodable
    check_bad(files.name, len(names), refused, listing)
    return names, tuple(refused), tuple(aside)


def _survey(files: Files, listing: Listing, bar: bool) -> tuple[dict[str, Header], list[Refusal], list[Refusal]]:
    """Headers of the listed images by name, the images without a readable one, and those made to be looked at."""
    waiting, headers, refused = set(listing.images), dict[str, Header](), list[Refusal]()
    aside = list[Refusal]()
    with tqdm(total=len(waiting), desc="Looking", unit="file", disable=None if bar else True, leave=False) as progress:
        for entry in files.entries():
            if isinstance(entry, tuple) or entry.name not in waiting:
                continue
            waiting.discard(entry.name)  # a second member of the same name is not looked at
            try:
                headers[entry.name] = _header(entry)
            except ForTheEyeError as error:
                aside.append((entry.name, str(error)))
            except UnreadableError as error:
                refused.append((entry.name, str(error)))
            progress.update()
    return headers, refused, aside


def _write(
    files: Files,
    headers: dict[str, Header],
    target: Target,
    config: DataConfig,
    size: tuple[int, int] | None,
    path: Path,
    bar: bool,
) -> tuple[list[str], list[Refusal]]:
    """Decode, convert and write; names of what was written, and what could not be."""

    def convert(job: tuple[str, bytes | UnreadableError]) -> tuple[str, NDArray[Any] | UnreadableError]:
        name, data = job
        if isinstance(data, UnreadableError):
            return name, data
        try:
            return name, convert_image(data, target, config, size)
        except UnreadableError as error:
            return name, error

    names, refused = list[str](), list[Refusal]()
    workers = workers_for(headers)
    with (
        RowWriter(path, target.dtype, (target.channels, target.height, target.width)) as rows,
        tqdm(
            total=len(headers), desc="Preparing", unit="image", disable=None if bar else True, leave=False
        ) as progress,
    ):
        for name, image in ordered_map(convert, _read_all(files, headers), workers):
            if isinstance(image, UnreadableError):
                refused.append((name, str(image)))
            else:
                rows.write(np.moveaxis(image, -1, 0)[None])
                names.append(name)
            progress.update()
    return names, refused


def workers_for(headers: dict[str, Header]) -> int:
    """Threads that decode images of such sizes: the cores that this process may use, or one."""
    if sum(header.height * header.width for header in headers.values()) <= _WORTH_THREADS * len(headers):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _header(entry: Entry) -> Header:
    if entry.size == 0:
        raise UnreadableError("is empty (0 bytes)")
    if entry.size > MAX_FILE:
        raise UnreadableError(f"has {entry.size >> 20:,} MiB; more than {MAX_FILE >> 20} are refused")
    try:
        with entry.open() as file:
            return read_header(file)
    except UnreadableError:
        raise
    except Exception as error:  # what zipfile and the file system raise on damaged members
        raise UnreadableError(f"cannot be read: {error}") from error


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


def agree(source: str, headers: dict[str, Header], config: DataConfig, size: tuple[int, int] | None) -> Target:
    """The one shape and depth that all images have, or get by the options; else a sentence that says how to choose."""
    depths = Counter(header.dtype for header in headers.values())
    if len(depths) > 1:
        found = ", ".join(f"{count} {_DEPTHS[dtype]}" for dtype, count in depths.most_common())
        raise UndiffuseError(
            f"expected images of one depth in {source}, got {found}; keep each depth in its own folder"
        )
    kinds = Counter(header.channels for header in headers.values())
    dtype, channels = next(iter(depths)), next(iter(kinds))
    if config.channels != "keep":
        channels = CHANNELS[config.channels]
        if dtype == "float32" and channels == 4:
            raise UndiffuseError(f"expected --channels grey, rgb or keep for float images, got rgba for {source}")
    elif len(kinds) > 1:
        found = ", ".join(f"{count} {_KINDS[kind]}" for kind, count in kinds.most_common())
        hint = "grey or --channels rgb" if min(kinds) < 3 else "rgb (alpha onto white) or --channels rgba"
        raise UndiffuseError(f"expected images of one kind in {source}, got {found}; add --channels {hint}")

    sizes = Counter((header.height, header.width) for header in headers.values())
    common = ", ".join(f"{count} of {h} x {w}" for (h, w), count in sizes.most_common(3))
    (height, width), _ = sizes.most_common(1)[0]
    if size is None:
        if len(sizes) > 1:
            more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
            raise UndiffuseError(
                f"expected images of one size in {source}, got {common}{more} (height x width); "
                f"add --size {height} {width} --crop center, or another --size"
            )
        return Target(height, width, channels, dtype)
    misfits = sum(count for (h, w), count in sizes.items() if not keeps_aspect(h, w, size))
    if misfits and config.crop == "none":
        raise UndiffuseError(
            f"expected images with the aspect ratio of {size[0]} x {size[1]} in {source}, got {misfits} of "
            f"{len(headers)} with another (most common: {common}); add --crop center to cut the middle"
        )
    return Target(size[0], size[1], channels, dtype)


def convert_image(data: bytes, target: Target, config: DataConfig, size: tuple[int, int] | None) -> NDArray[Any]:
    """The pixels of an encoded image, as the target says. Raises `UnreadableError`."""
    pixels = decode(data, at_least=size)
    if config.channels != "keep":
        pixels = convert_channels(pixels, target.channels)
    if size:
        pixels = resize(pixels, size, config.crop, alpha=pixels.shape[2] in (2, 4))
    if pixels.shape != (target.height, target.width, target.channels) or pixels.dtype != target.dtype:
        raise UnreadableError(f"decodes to {pixels.shape} of {pixels.dtype}, which its header does not say")
    return pixels


def check_bad(source: str, good: int, refused: list[Refusal], listing: Listing) -> None:
    """Refuse a data set of which nothing is left, or more than `MAX_BAD` is bad."""
    first = "; ".join(f"{name} {why}" for name, why in refused[:3])
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    if good == 0:
        what = f"none that can be used ({first}{more})" if refused else f"none among {len(listing.ignored)} other files"
        raise UndiffuseError(f"expected images in {source}, got {what}")
    if len(refused) > MAX_BAD * (good + len(refused)):
        raise UndiffuseError(
            f"expected at most {MAX_BAD:.0%} bad files in {source}, got {len(refused)} of {good + len(refused)} "
            f"({first}{more}); remove or repair them"
        )


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
