"""A data set for the eye: a summary in words and a contact sheet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from undiffuse.data.dataset import Dataset
from undiffuse.data.files.listing import Refusal
from undiffuse.data.info import DataInfo
from undiffuse.data.stream import Stream
from undiffuse.data.writing.statistics import chunks
from undiffuse.errors import counted
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.modality import eight_bit, to_unit
from undiffuse.modalities.registry import modality_of
from undiffuse.modalities.volumes import VOLUMES
from undiffuse.visualization.grid import enlarge

_TILE = 112
"""Pixels that the longer side of a tile should have."""
_SHOWN = 5


def find_duplicates(dataset: Dataset) -> Iterator[tuple[int, int]]:
    """Indices (first, later) of each sample that is equal, value for value, to an earlier one."""
    seen: dict[bytes, int] = {}
    samples = (sample for chunk in chunks(dataset.images) for sample in np.ascontiguousarray(chunk))
    for later, sample in enumerate(samples):
        first = seen.setdefault(hashlib.blake2b(sample.data, digest_size=16).digest(), later)
        if first != later:
            yield first, later


def describe(dataset: Dataset | Stream) -> str:
    """A summary in lines: counts, shape, depth, range, moments, classes, duplicates, refused and ignored files."""
    info = dataset.info
    lines = [
        f"{info.name}: {counted(info.count, modality_of(info).noun)}",
        f"shape       {_shape(info)}, {_depth(info)}",
        f"range       {_number(info.low)} .. {_number(info.high)} in the data becomes -1 .. +1 in the model",
    ]
    half = (info.high - info.low) / 2
    means = [(mean + 1) * half + info.low for mean in info.mean]
    stds = [std * half for std in info.std]
    lines += [
        f"mean        {_numbers(means)} in the data, {_numbers(info.mean)} in the model",
        f"std         {_numbers(stds)} in the data, {_numbers(info.std)} in the model",
        f"classes     {_class_counts(dataset)}",
    ]
    if isinstance(dataset, Dataset) and dataset.cut is not None:
        lines.append(f"cut         {dataset.cut.says(info.count, info.spatial)}")
    if info.narrow:
        lines.append(f"range?      {info.narrow}")
    if (question := _slices(info) or _pictures(info)) is not None:
        lines.append(f"channels?   {question}")
    if isinstance(dataset, Dataset):
        lines += [*_vectors(dataset), *_pairs(dataset)]
        duplicates = find_duplicates(dataset)  # there may be millions: five are shown, the others counted
        shown = [f"{dataset.name_of(b)} = {dataset.name_of(a)}" for a, b in islice(duplicates, _SHOWN)]
        count = len(shown) + sum(1 for _ in duplicates)
        pairs = "; ".join(shown)
        lines.append(f"duplicates  {count:,}{f' exact: {pairs}' if pairs else ''}")
    lines.append(f"refused     {counted(len(dataset.refused), 'file') if dataset.refused else 0}")
    lines += _reasons(dataset.refused)
    if dataset.ignored:
        which = "that is no image" if len(dataset.ignored) == 1 else "that are no images"
        lines.append(f"ignored     {len(dataset.ignored):,} {which} of this set")
        lines += _reasons(dataset.ignored)
    if isinstance(dataset, Dataset):
        if dataset.refused or dataset.ignored:
            lines.append(f"            all of them: {dataset.path / 'refused.txt'}")
        lines.append(f"prepared    {dataset.path}")
    else:
        lines.append(
            f"streamed    range, mean and std are of {counted(dataset.looked, 'example')}; duplicates are not sought"
        )
    note = _view_note(info)
    return "\n".join([*lines, *([f"pictures    {note}"] if note else [])])


def _shape(info: DataInfo) -> str:
    kinds = {1: "grey", 2: "2 channels", 3: "RGB", 4: "RGBA"}
    modality = modality_of(info)
    named = kinds.get(info.channels) if modality is IMAGES else None
    size = " x ".join(map(str, info.spatial))
    return f"{size} ({modality.axes}), {named or counted(info.channels, 'channel')}"


def _depth(info: DataInfo) -> str:
    return {"uint8": "8 bits", "uint16": "16 bits", "float32": "float32"}[info.dtype]


def _class_counts(dataset: Dataset | Stream) -> str:
    if dataset.labels is None:
        return f"none: {dataset.info.unclassed}" if dataset.info.unclassed else "none"
    names, counts = dataset.info.classes, np.bincount(dataset.labels, minlength=len(dataset.info.classes))
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(names[:20], counts[:20].tolist(), strict=True))
    return f"{len(names)}: {shown}{f' and {len(names) - 20} more' if len(names) > 20 else ''}"


def _slices(info: DataInfo) -> str | None:
    """A question, where what is read as channels may be the slices of volumes."""
    if modality_of(info) is not IMAGES or info.channels <= 4:
        return None
    shape = ", ".join(map(str, (info.count, 1, info.channels, *info.spatial)))
    return (
        f"are these {info.channels} channels the slices of volumes? An array of volumes has five axes, ({shape}): "
        "np.savez('volumes.npz', channels_first=array[:, None])"
    )


def _pictures(info: DataInfo) -> str | None:
    """A question, where what is read as slices of one-channel volumes may be the channels of pictures."""
    if modality_of(info) is not VOLUMES or info.channels != 1 or not {info.spatial[0], info.spatial[-1]} & {3, 4}:
        return None
    shape = " x ".join(map(str, info.spatial))
    return (
        f"are these volumes of {shape} pictures with their channels? Save all of them as one array, (N, H, W, C) or "
        "(N, C, H, W), in an .npz: np.savez('pictures.npz', channels_last=array)"
    )


def _vectors(dataset: Dataset) -> list[str]:
    rows, info = dataset.vectors(), dataset.info
    if rows is None:
        return []
    known = rows[~np.isnan(rows).any(1)]
    columns = zip(info.vectors, info.numbers.mean, info.numbers.std, known.T, strict=True)
    spread = [f"{name}: mean {m:.4g}, std {s:.4g}, {v.min():.4g} .. {v.max():.4g}" for name, m, s, v in columns]
    return [f"numbers     of {len(known):,}", *(f"            {line}" for line in spread[:20])]


def _pairs(dataset: Dataset) -> list[str]:
    if dataset.pairs is None or dataset.info.pair is None:
        return []
    unused = f"; {dataset.pairs.unused:,} more are not used" if dataset.pairs.unused else ""
    return [f"pairs       a picture for each, {_shape(dataset.info.pair)}, {_depth(dataset.info.pair)}{unused}"]


def _reasons(items: tuple[Refusal, ...]) -> list[str]:
    counts = Counter(why for _, why in items)
    lines = []
    for why, count in counts.most_common(_SHOWN):
        examples = ", ".join([name for name, other in items if other == why][:3])
        lines.append(f"            {count:,} x {why}: {examples}{', ...' if count > 3 else ''}")
    if len(counts) > _SHOWN:
        lines.append(f"            and {counted(len(counts) - _SHOWN, 'more reason')}")
    return lines


def _number(value: float) -> str:
    return f"{value:.4g}" if value != int(value) or abs(value) >= 1e6 else str(int(value))


def _numbers(values: Any) -> str:
    values = list(values)
    shown = ", ".join(f"{value:.4g}" for value in values[:8])
    return shown if len(values) <= 8 else f"{shown}, ... ({len(values)} channels)"


def _view_note(info: DataInfo) -> str:
    """Remark on what a contact sheet cannot show; empty where it shows the data as they are."""
    notes = []
    if info.dtype != "uint8":
        notes.append(f"{_number(info.low)} .. {_number(info.high)} shown as 0 .. 255")
    if shows := modality_of(info).tile_shows:
        notes.append(shows)
    if info.channels == 2 or info.channels > 4:
        notes.append(f"the first of {info.channels} channels")
    return "; ".join(notes)


def contact_sheet(dataset: Dataset | Stream) -> Image.Image:
    """Up to 64 samples, evenly spread over the data set, as one picture, with class names where there are classes.

    Small samples are enlarged by whole factors without smoothing, so that every pixel can be seen. What cannot be
    shown as it is (depth, channels, axes) is said in a line at the bottom and by `describe`.
    """
    info = dataset.info
    shown = np.unique(np.linspace(0, info.count - 1, min(64, info.count)).round().astype(int))
    tiles = [_tile(dataset.images[index], info) for index in shown.tolist()]
    width, height = tiles[0].size
    caption = 12 if dataset.labels is not None else 0
    columns = max(1, int(np.ceil(np.sqrt(len(tiles)))))
    rows = -(-len(tiles) // columns)
    note = _view_note(info)
    gap = 4
    footer = 18 if note else 0
    breadth = max(columns * (width + gap) + gap, 6 * len(note) + 2 * gap)  # a letter is 6 pixels wide
    sheet = Image.new("RGB", (breadth, rows * (height + caption + gap) + gap + footer), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (index, tile) in enumerate(zip(shown.tolist(), tiles, strict=True)):
        left, top = gap + place % columns * (width + gap), gap + place // columns * (height + caption + gap)
        sheet.paste(tile, (left, top))
        if dataset.labels is not None:
            text = info.classes[int(dataset.labels[index])].encode("latin-1", "replace").decode("latin-1")
            draw.text((left, top + height), text[: max(1, width // 6)], fill="black")
    if note:
        draw.text((gap, sheet.height - footer + 2), note, fill="black")
    return sheet


def _tile(sample: NDArray[Any], info: DataInfo) -> Image.Image:
    """One sample, (C, *spatial), as an 8-bit RGB picture of a handy size; transparency over a grey chequerboard."""
    sample = modality_of(info).tile(sample)
    if sample.shape[0] not in (1, 3, 4):
        sample = sample[:1]
    picture = eight_bit(to_unit(sample, info))
    if picture.mode == "RGBA":
        y, x = np.indices((picture.height, picture.width)) // 8
        board = Image.fromarray(np.where((x + y) % 2, 160, 208).astype(np.uint8)).convert("RGBA")
        picture = Image.alpha_composite(board, picture)
    longer = max(picture.size)
    if longer < _TILE:
        return enlarge(picture, _TILE // longer).convert("RGB")
    size = (max(1, picture.width * _TILE // longer), max(1, picture.height * _TILE // longer))
    return picture.resize(size, Image.Resampling.BICUBIC).convert("RGB")
