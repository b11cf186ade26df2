"""Data larger than the disk's free space: shards are read as the training goes, and nothing is prepared.

A first look reads every shard's index (names, classes, texts; no image), and some examples, from which shape, range and
moments are taken. After that a batch is a function of (seed, step), like everything in a training: runs of neighbouring
examples come in a random order and are mixed within a window (`order.shuffled_runs`). So a training that goes on at
step k reads what belongs to step k and nothing before it, with no saved buffer, bit for bit as if it had not stopped;
and of several processes each reads the same runs and decodes its own part of the batch, so the result is the same for
any number of them.

An example that turns out to be unreadable is refused as a file would be: it is counted and said, the next one that can
be read stands in for it wherever it occurs, and more than 5 % of them are an error.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import CUTS, checked_size
from undiffuse.data.dataset import Dataset
from undiffuse.data.files.decode import Header, UnreadableError, quiet_pillow, read_header
from undiffuse.data.files.listing import Listing, Refusal
from undiffuse.data.files.remote_file import place_of, size_of
from undiffuse.data.formats.hugging_face import PREFIX, files_of, is_saved
from undiffuse.data.formats.records import Records
from undiffuse.data.formats.shards import open_shards
from undiffuse.data.info import DataInfo
from undiffuse.data.order import batch_indices, shuffled_runs
from undiffuse.data.preparation.open_source import open_source
from undiffuse.data.preparation.prepare import PREPARED_VERSION, describe_images, prepare, say_unread
from undiffuse.data.source import number_classes
from undiffuse.data.writing.agreement import MAX_BAD, agree, check_bad
from undiffuse.data.writing.images import convert_image, ordered_map, workers_for
from undiffuse.errors import UndiffuseError, counted, in_one_sentence
from undiffuse.runtime.durable_files import expanded

FIRST_LOOK = 1024
"""Examples from which shape, range and moments are taken."""

Loaded = bytes | UnreadableError


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of all shards that are used, numbered 0..count-1 in the order in which they lie there.

    Args:
        runs: numbers that are read in one go.
        places: shard, and numbers within it, of each run.
    """

    records: Records
    names: tuple[str, ...]
    runs: tuple[range, ...]
    places: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def of(cls, records: Records, listing: Listing, longest: int) -> Examples:
        used, names = set(listing.images), list[str]()
        runs, places = list[range](), list[tuple[int, tuple[int, ...]]]()
        for number, (shard, index) in enumerate(zip(records.shards, records.indices, strict=True)):
            for run in shard.runs(longest):
                mine = tuple(k for k in run if index.items[k].name in used)
                if mine:
                    runs.append(range(len(names), len(names) + len(mine)))
                    places.append((number, mine))
                    names += [index.items[k].name for k in mine]
        return cls(records, tuple(names), tuple(runs), tuple(places))

    def load(self, run: int) -> list[Loaded]:
        shard, numbers = self.places[run]
        return list(self.records.shards[shard].read(numbers))


@dataclass(eq=False)
class StreamImages:
    """Decoded images by number, like the array of a prepared data set.

    Runs that were read stay in memory, still encoded, until ``keep`` examples have come after them.
    """

    examples: Examples
    target: Header
    config: DataConfig
    size: tuple[int, int] | None
    keep: int
    workers: int
    refused: list[Refusal] = field(default_factory=list)
    stand_in: dict[int, int] = field(default_factory=dict)
    """Number of the example that stands for an unreadable one, by the number of the latter."""
    _runs: OrderedDict[int, list[Loaded]] = field(default_factory=OrderedDict)
    _held: int = 0
    _seen: int = 0

    def __post_init__(self) -> None:
        self._starts = np.array([run.start for run in self.examples.runs])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.examples.names), self.target.channels, self.target.height, self.target.width)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.target.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        numbers = np.arange(len(self))[chosen]
        flat = [int(number) for number in np.atleast_1d(numbers)]
        with quiet_pillow():
            found = list(ordered_map(self._decode, map(self._encoded, flat), self.workers))
            self._seen += len(flat)
            images = [self._good(*pair) for pair in zip(flat, found, strict=True)]
        return images[0] if np.ndim(numbers) == 0 else np.stack(images)

    def _encoded(self, number: int) -> Loaded:
        run = int(np.searchsorted(self._starts, number, side="right")) - 1
        if run not in self._runs:
            self._runs[run] = self.examples.load(run)
            self._held += len(self._runs[run])
            while self._held > self.keep and len(self._runs) > 1:
                self._held -= len(self._runs.popitem(last=False)[1])
        self._runs.move_to_end(run)
        return self._runs[run][number - self.examples.runs[run].start]

    def _decode(self, data: Loaded) -> NDArray[Any] | UnreadableError:
        found = convert_image(data, self.target, self.config, self.size)
        return found if isinstance(found, UnreadableError) else np.moveaxis(found, -1, 0)

    def _good(self, number: int, found: NDArray[Any] | UnreadableError) -> NDArray[Any]:
        """The image, or that of the next example that has one."""
        first = number
        while isinstance(found, UnreadableError):
            self._refuse(number, found)
            number = (number + 1) % len(self)
            found = self._decode(self._encoded(number))
        if number != first:
            self.stand_in[first] = number
        return found

    def _refuse(self, number: int, reason: UnreadableError) -> None:
        refusal = (self.examples.names[number], str(reason))
        if refusal in self.refused:
            return
        self.refused.append(refusal)
        if len(self.refused) <= 3:
            print(f"refused: {refusal[0]} {refusal[1]}; the next example stands in for it", file=sys.stderr)
        if not self.config.skip_unreadable and len(self.refused) > max(10, MAX_BAD * self._seen):
            raise UndiffuseError(
                f"expected at most {MAX_BAD:.0%} bad examples in {self.examples.records.name}, got "
                f"{len(self.refused):,} of the {self._seen:,} read so far ({refusal[0]} {refusal[1]}); repair them, or "
                "add `skip_unreadable`"
            )


@dataclass(frozen=True, eq=False)
class Stream:
    """Shards, as a training sees data."""

    info: DataInfo
    images: StreamImages
    labels: NDArray[np.int64] | None
    ignored: tuple[Refusal, ...]
    window: int
    looked: int
    """Examples that the first look has read."""
    _texts: list[str]
    _epochs: OrderedDict[tuple[int, int], NDArray[np.int64]] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return self.info.count

    @property
    def refused(self) -> tuple[Refusal, ...]:
        return tuple(self.images.refused)

    def names(self) -> list[str]:
        return list(self.images.examples.names)

    def texts(self) -> list[str]:
        return self._texts

    def order(self, batch: int, step: int, seed: int) -> NDArray[np.int64]:
        """The examples of batch ``step``, those that stand in for unreadable ones once these have been met."""
        numbers = batch_indices(len(self), batch, step, seed, self._epoch)
        stand_in = self.images.stand_in
        return np.array([stand_in.get(number, number) for number in numbers.tolist()]) if stand_in else numbers

    def _epoch(self, count: int, seed: int, epoch: int) -> NDArray[np.int64]:
        if (seed, epoch) not in self._epochs:
            self._epochs[seed, epoch] = shuffled_runs(self.images.examples.runs, self.window, seed, epoch)
            while len(self._epochs) > 2:
                self._epochs.popitem(last=False)
        return self._epochs[seed, epoch]


@in_one_sentence
def open_data(config: DataConfig, progress: bool = True) -> Dataset | Stream:
    """The data as a training with these settings sees them: prepared, or as a stream."""
    return open_stream(config, progress) if config.stream else prepare(config, progress=progress)


def open_stream(config: DataConfig, progress: bool = True) -> Stream:
    """Look at the shards that ``config`` names.

    The fingerprint is made of the shards' names and sizes and of all that is said of the examples; unlike a prepared
    data set's it does not cover the images' bytes, which are not read here.

    Raises:
        UndiffuseError: no shards, nothing usable, images that do not agree.
    """
    for flag, given in (("`vectors`", config.vectors), ("`pairs`", config.pairs)):
        if given:
            raise UndiffuseError(f"{flag} is not for `stream`; leave one of them out")
    if config.crop in CUTS:
        raise UndiffuseError(f"`crop={config.crop}` is not for `stream`; leave out `stream`, or take `crop=center`")
    if config.buffer < 1:
        raise UndiffuseError(f"expected `buffer` of at least 1 example, got {config.buffer}")
    size, records = checked_size(config), _open_records(config.source)
    listing = records.listing(config)
    check_bad(records.name, len(listing.images), listing.refused, listing, config)
    longest = max(1, config.buffer // 8)
    examples = Examples.of(records, listing, longest)
    labels, classes = number_classes(listing.classes, examples.names)
    texts = [listing.texts.get(name, "") for name in examples.names]
    headers, sample = _first_look(examples, listing, config)
    target = agree(records.name, headers, config, size)
    images = StreamImages(examples, target, config, size, config.buffer + 2 * longest, workers_for(headers))
    most = max(1, (1 << 28) // int(np.prod(images.shape[1:])))  # of these, no more values than fit into memory
    found = images[np.array(sample[:: -(-len(sample) // most)])]
    info = describe_images(records.name, _fingerprint(records, listing, config), found, classes, len(listing.refused))
    info = replace(info, count=len(examples.names), texts=sum(map(bool, texts)))
    if progress:
        print(
            f"stream: {counted(len(examples.names), 'example')} in {counted(len(records.shards), 'shard')}; shape, "
            f"range and moments from a look at {len(found):,}",
            file=sys.stderr,
        )
        say_unread(listing.ignored)
    return Stream(info, images, labels, listing.ignored, config.buffer, len(found), texts)


def _open_records(source: str) -> Records:
    if source.startswith(PREFIX) and not is_saved(expanded(source.removeprefix(PREFIX).partition(":")[0])):
        name = source.removeprefix(PREFIX).rstrip("/").rpartition("/")[2]
        return open_shards([place_of(address) for address in files_of(source)], name)
    records = open_source(source)
    if not isinstance(records, Records):
        raise UndiffuseError(
            f"expected shards to stream from (parquet, webdataset's tar, LMDB, hf:NAME), got {source}; leave out "
            "`stream`, and it is prepared once"
        )
    return records


def _first_look(examples: Examples, listing: Listing, config: DataConfig) -> tuple[dict[str, Header], list[int]]:
    """Headers of about `FIRST_LOOK` examples, of runs spread evenly over all, and the numbers of the good ones."""
    headers, good, bad = dict[str, Header](), list[int](), list(listing.refused)
    mean = sum(map(len, examples.runs)) / len(examples.runs)
    count = min(len(examples.runs), max(1, round(FIRST_LOOK / mean)))
    with quiet_pillow():
        for run in np.unique(np.linspace(0, len(examples.runs) - 1, count).round().astype(int)).tolist():
            for number, data in zip(examples.runs[run], examples.load(run), strict=True):
                try:
                    if isinstance(data, UnreadableError):
                        raise data
                    headers[examples.names[number]] = read_header(BytesIO(data), config.channels != "keep")
                    good.append(number)
                except UnreadableError as error:
                    bad.append((examples.names[number], str(error)))
    check_bad(examples.records.name, len(good), bad, listing, config)
    return headers, good


def _fingerprint(records: Records, listing: Listing, config: DataConfig) -> str:
    settings = ["stream", PREPARED_VERSION, config.size, config.crop, config.channels]
    total = hashlib.sha256(json.dumps(settings).encode())
    for name, place in records.files():
        total.update(json.dumps([name, size_of(place)]).encode())
    for name in listing.images:
        total.update(json.dumps([name, listing.classes.get(name), listing.texts.get(name)]).encode())
    return total.hexdigest()
