"""Data that a program hands over: a tensor, an array, or anything that can be iterated.

It is written to the cache once, as an ``.npz`` file named by its contents, and from there on treated like a file that
the user named: so a run can be resumed, reported on and evaluated after the program has ended.

| given | read as |
|---|---|
| tensor (N, C, *spatial) or (N, H, W) | channels first |
| array | as in an ``.npy`` file, see `arrays` |
| an (images, labels) pair of tensors or arrays | one label, an integer or a text, for each |
| iterable, or data set with ``len`` and ``[]``, of images or (image, label) | PIL images, arrays (H, W[, C]), tensors |
| torch's DataLoader | its data set; `training.api.train` takes its batch size |
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.data.dataset import RowWriter
from undiffuse.data.formats.arrays import channels_first
from undiffuse.data.writing.statistics import chunks
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.cache import cache_root, need_space, new_entry, writing_cache

FILE = "array.npz"
OF_TORCH = ("default_collate", "default_convert")
"""What puts the samples of a DataLoader into batches where nobody says."""
_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16", "F")
"""Modes of PIL images whose values are taken unchanged; the others have values that stand for something else."""


def keep_given(data: Any, cache: Path | None = None) -> Path:
    """Write the data to the cache, unless they are there, and return the file.

    Raises:
        UndiffuseError: nothing that can be read so, images that do not agree, or no room.
    """
    data = _of_loader(data)
    folder = cache_root(cache) / "given"
    images, labels = _arrays(data)
    with writing_cache(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch_folder = tempfile.TemporaryDirectory(dir=folder, prefix=".rows-")
    with scratch_folder as scratch:
        if images is None:
            images, labels = _collect(_items(data), Path(scratch) / "rows.npy")
        arrays = {"channels_first": images} if labels is None else {"channels_first": images, "y": labels}
        place = folder / _digest(arrays)[:16]
        if not (place / FILE).is_file():
            need_space(folder, images.nbytes)
            with new_entry(place) as draft:
                np.savez(draft / FILE, allow_pickle=False, **arrays)
    return place / FILE


def is_loader(data: Any) -> bool:
    """True for a torch DataLoader, whose batches are those of its data set."""
    return hasattr(data, "dataset") and hasattr(data, "batch_size") and hasattr(data, "collate_fn")


def _of_loader(data: Any) -> Any:
    """The data set of a DataLoader that draws it in order or at random; other data as they are.

    Raises:
        UndiffuseError: the loader draws otherwise, which would be lost: a training has batches of its own.
    """
    if not is_loader(data):
        if getattr(data, "batch_size", None) is not None and hasattr(data, "dataset"):
            raise UndiffuseError(
                f"expected images one at a time, got a {type(data).__name__} of batches, which would be read as images "
                f"of {data.batch_size} channels; give its data set"
            )
        return data
    how, collate = type(getattr(data, "sampler", None)).__name__, getattr(data.collate_fn, "__name__", "a function")
    known = ("SequentialSampler", "RandomSampler", "_InfiniteConstantSampler")
    if how not in known or getattr(data.sampler, "replacement", False) or collate not in OF_TORCH:
        own = f"its {how}" if collate in OF_TORCH else "its collate_fn"
        raise UndiffuseError(
            f"expected a DataLoader of all samples in any order, got one with {own}, and a training draws its own "
            "batches of single samples: give its data set, loader.dataset, if they are to be drawn alike"
        )
    return data.dataset


def _items(data: Any) -> Iterator[Any]:
    """The samples of a data set by their numbers, where it has numbers and no order of its own."""
    if hasattr(data, "__iter__") or not hasattr(data, "__len__"):
        return iter(data)
    return (data[k] for k in range(len(data)))


def is_given(source: Any) -> bool:
    """True for data, False for the name of some."""
    if isinstance(source, (str, Path)) or source is None:
        return False
    if hasattr(source, "__iter__") or (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        return True
    raise UndiffuseError(
        f"expected data or their name, got a {type(source).__name__}; give a folder or file, a tensor, an array, or an "
        "iterable of images"
    )


def _arrays(data: Any) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Images and labels of what is an array already; (None, None) for what must be iterated."""
    if isinstance(data, tuple) and len(data) == 2 and _is_array(data[0]) and np.ndim(data[1]) == 1:
        images, _ = _arrays(data[0])
        return images, _labels(list(np.asarray(data[1]).tolist()))
    if not _is_array(data):
        return None, None
    array = _plain(data)
    if not isinstance(data, np.ndarray) and array.ndim > 3:
        return array, None
    return channels_first(array, "infer", "the array"), None


def _is_array(value: Any) -> bool:
    """NumPy's arrays and torch's tensors; torch is not loaded to find out."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "__array__"))


def _plain(value: Any) -> NDArray[Any]:
    """The values as an array; bfloat16, which NumPy does not know, in float32, which holds it exactly."""
    if isinstance(value, np.ndarray):
        return value
    tensor = value.detach().cpu()
    return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)


def _collect(items: Iterator[Any], path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Row by row, so that no more than one image is in memory."""
    start = next(items, None)
    if start is None:
        raise UndiffuseError("expected at least one image, got none; note that an iterator can be used only once")
    first, labels = _image(_pair(start)[0], 0), list[Any]()
    with RowWriter(path, first.dtype.str, first.shape) as rows:
        for number, item in enumerate(chain([start], items)):
            image, label = _pair(item)
            row = _image(image, number)
            if (row.shape, row.dtype) != (first.shape, first.dtype):
                raise UndiffuseError(
                    f"expected images of one shape and type, got {first.shape} of {first.dtype} first and {row.shape} "
                    f"of {row.dtype} as number {number}; make them alike, or save them as files and set `size`"
                )
            rows.write(row[None])
            labels.append(label)
    return np.load(path, mmap_mode="r"), _labels(labels)


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, (tuple, list)) and len(item) == 1:  # TensorDataset of one tensor
        item = item[0]
    image, label = (item[0], item[1]) if isinstance(item, (tuple, list)) and len(item) == 2 else (item, None)
    if shape := tuple(getattr(label, "shape", ())):
        raise UndiffuseError(
            f"expected one image and its label at a time, got a batch of {shape[0]} labels; give what "
            "yields them one by one, of a loader its data set"
        )
    return image, label


def _image(value: Any, number: int) -> NDArray[Any]:
    if hasattr(value, "mode") and hasattr(value, "convert"):
        if value.mode not in _MODES:
            raise UndiffuseError(
                f"expected PIL images of a mode in {', '.join(_MODES)}, got {value.mode} as number {number}; convert it"
            )
        pixels: NDArray[Any] = np.asarray(value.convert("L") if value.mode == "1" else value)
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if not _is_array(value):
        raise UndiffuseError(
            f"expected an image (PIL, array or tensor), got a {type(value).__name__} as number {number}; each item is "
            "an image, or a pair of an image and its label"
        )
    array: NDArray[Any] = _plain(value)
    if array.ndim < 3:
        return array[None]
    if not isinstance(value, np.ndarray):
        return array
    return np.asarray(channels_first(array[None], "infer", f"image {number}")[0])


def _labels(labels: list[Any]) -> NDArray[Any] | None:
    if all(label is None for label in labels):
        return None
    plain = [label.item() if hasattr(label, "item") else label for label in labels]
    kinds = {type(label) for label in plain}
    if kinds not in ({int}, {str}, {bool}):
        raise UndiffuseError(
            "expected a whole number or a text as the label of every image, got "
            + " and ".join(sorted(kind.__name__ for kind in kinds))
        )
    return np.array(plain)


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for chunk in chunks(array):
            total.update(np.ascontiguousarray(chunk).data)
    return total.hexdigest()
