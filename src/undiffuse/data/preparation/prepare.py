"""From whatever the user named to a `Dataset`: once, and from the cache ever after."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS, checked_size
from undiffuse.data.dataset import Dataset, open_images, read_dataset, write_contents, write_left_out
from undiffuse.data.files.digest import DigestIndex, fingerprint
from undiffuse.data.files.listing import Listing, Refusal
from undiffuse.data.files.metadata import NOT_READ
from undiffuse.data.info import DataInfo
from undiffuse.data.pairs import match
from undiffuse.data.preparation.open_source import open_source
from undiffuse.data.source import Draft, Source
from undiffuse.data.writing.statistics import chunks, measure
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.provenance.own_pictures import WHY
from undiffuse.runtime.cache import cache_root, discard, new_entry

PREPARED_VERSION = 1
"""Part of every key: raise it when the same files would be prepared to other arrays."""


@in_one_sentence
def prepare(config: DataConfig, cache: Path | None = None, progress: bool = True) -> Dataset:
    """Open the data set that ``config`` describes, preparing it first if it is new.

    The key is made of the files' contents and the settings that change them: a folder that was moved or renamed is
    found again, one changed pixel is not. Classes and refusals are described in `listing`, kinds of image in
    `decode`, arrays in `arrays`.

    Args:
        config: ``flip`` belongs to training and changes nothing here.
        cache: folder for prepared data; by default the environment's UNDIFFUSE_CACHE, else ~/.cache/undiffuse.
        progress: show bars (on a terminal only) and a line about refused files on stderr.

    Raises:
        UndiffuseError: nothing there, nothing usable, more than 5 % bad images, images that do not agree, no disk.
    """
    if config.pairs and config.crop in CUTS:
        raise UndiffuseError(f"`crop={config.crop}` is not for `pairs`, which it would cut elsewhere; cut both first")
    if config.pairs:
        alone = replace(config, pairs="")
        with_them = replace(alone, source=config.pairs, vectors=())
        return paired(prepare(alone, cache, progress), prepare(with_them, cache, progress))
    size = checked_size(config)
    if len(set(config.vectors)) < len(config.vectors):
        raise UndiffuseError(f"`vectors={','.join(config.vectors)}` names a column twice")
    source, root = open_source(config.source), cache_root(cache)
    listing = source.listing(config)
    key = _key(source, listing, config, size, root)
    place = root / "prepared" / key[:32]
    for _ in range(3):  # make, read; and once more if another process cleared our entry away with a damaged one
        damaged = place.exists()  # asked before the look inside, for another process may publish a good one at any time
        dataset = read_dataset(place, source.name)
        if dataset is not None and not (listing.labels and dataset.labels is None):  # made before such were read
            dataset = _as_listed(dataset, listing)
            if progress:
                _say_left_out(dataset)
            return dataset
        if damaged:
            discard(place)
        with new_entry(place) as draft:
            _prepare(source, listing, key, Draft(draft, config, size, progress))
    raise UndiffuseError(f"expected to read back what was just written to {place}, got a damaged entry; check the disk")


def _as_listed(dataset: Dataset, listing: Listing) -> Dataset:
    """The data with what lies beside the images now: what the cache knows is of the time when it was made."""
    opened = set(listing.images)
    ignored = (*listing.ignored, *(item for item in dataset.ignored if item[0] in opened))
    if ignored != dataset.ignored:
        with suppress(OSError):  # a cache of somebody else's
            write_left_out(dataset.path, dataset.refused, ignored)
    return replace(dataset, info=replace(dataset.info, unclassed=listing.unclassed), ignored=ignored)


def _say_left_out(dataset: Dataset) -> None:
    if dataset.refused:
        print(f"{len(dataset.refused)} refused; see {dataset.path / 'refused.txt'}", file=sys.stderr)
    if own := [f"{name} ({why.removeprefix(WHY)})" for name, why in dataset.ignored if why.startswith(WHY)]:
        more = f" and {len(own) - 3} more" if len(own) > 3 else ""
        print(f"left out of {dataset.info.name}: {', '.join(own[:3])}{more}, made to be looked at", file=sys.stderr)
    if dataset.cut is not None:
        print(f"{dataset.info.name}: {dataset.cut.says(dataset.info.count, dataset.info.spatial)}", file=sys.stderr)
    say_unread(dataset.ignored)


def say_unread(ignored: Sequence[Refusal]) -> None:
    """Tell of what the data say and nobody learns; once where many shards say the same."""
    said: dict[str, list[str]] = {}
    for name, why in ignored:
        if why.startswith(NOT_READ):
            said.setdefault(why, []).append(name)
    for why, names in said.items():
        print(f"{names[0]}{f' and {len(names) - 1:,} more' * (len(names) > 1)} {why}", file=sys.stderr)


def paired(dataset: Dataset, pictures: Dataset) -> Dataset:
    """The data, each sample with the picture of its name; both are prepared as if alone, so one's cache serves both."""
    info, theirs = dataset.info, pictures.info
    if theirs.spatial != info.spatial:
        sizes = [" x ".join(map(str, one.spatial)) for one in (theirs, info)]
        raise UndiffuseError(
            f"expected pictures of the images' size in {theirs.name}, got {sizes[0]} for images of {sizes[1]}; "
            "make them alike with `size`"
        )
    pairs = match(dataset.names(), pictures.names(), pictures.images, theirs.name)
    info = replace(
        info,
        fingerprint=hashlib.sha256(f"{info.fingerprint} {theirs.fingerprint}".encode()).hexdigest(),
    ).with_pair(theirs.channels, theirs.dtype, theirs.low, theirs.high)
    return replace(dataset, info=info, pairs=pairs)


def _key(source: Source, listing: Listing, config: DataConfig, size: tuple[int, int] | None, root: Path) -> str:
    settings: dict[str, Any] = {
        "version": PREPARED_VERSION,
        "size": size,
        "crop": config.crop,
        "channels": config.channels,
        **source.key(config),
    }
    if config.crop_from is not None:
        settings["crop_from"] = config.crop_from
    if listing.texts:
        settings["texts"] = True
    if config.vectors:
        settings["vectors"] = config.vectors
    index = DigestIndex(root / "index", source.path)
    try:
        digests = [(name, index.digest(name, path)) for name, path in source.parts(listing)]
    except OSError as error:
        raise UndiffuseError(f"expected files that can be read, got '{error.strerror}' for {error.filename}") from error
    index.save()
    refused = [(name, f"refused: {why}") for name, why in listing.refused]
    return fingerprint([*digests, *refused], settings)


def _prepare(source: Source, listing: Listing, key: str, draft: Draft) -> None:
    written = source.write(listing, draft)
    images, values = open_images(draft.folder)
    info = describe_images(source.name, key, images, written.classes, len(written.refused), values)
    info = replace(info, texts=sum(map(bool, written.texts or ())), unclassed=listing.unclassed, kind=written.kind)
    if written.vectors is not None:
        info = replace(info, numbers=written.vectors.standardizer())
    write_contents(draft.folder, info, written)


def describe_images(
    name: str,
    key: str,
    images: NDArray[Any],
    classes: tuple[str, ...],
    refused: int,
    values: NDArray[Any] | None = None,
) -> DataInfo:
    """Range and moments of what was read; the range of all ``values``, where the images are parts of them."""
    found = measure(images)
    if images.dtype == np.float32:
        low, high = found.low, found.high
        for chunk in chunks(values) if values is not None else ():
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    else:
        low, high = 0.0, float(np.iinfo(images.dtype).max)
    if found.low == found.high:
        raise UndiffuseError(f"expected data that vary, got the one value {found.low:g} everywhere in {name}")
    scale = 2 / (high - low)
    mean, std = tuple(((found.mean - low) * scale - 1).tolist()), tuple((found.std * scale).tolist())
    dtype = str(images.dtype)
    return DataInfo(name, key, len(images), images.shape[1:], dtype, low, high, mean, std, classes, refused)
