from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]


def idx(array: Any, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def images(rng: np.random.Generator) -> Any:
    return rng.integers(0, 256, (12, 5, 4), dtype=np.uint8)


@pytest.mark.parametrize("packed", ["none", "both", "images"])
@pytest.mark.parametrize(
    ("name", "beside"),
    [("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte")],
)
def test_labels_are_found_beside_the_images(
    name: str, beside: str, packed: str, images: Any, tmp_path: Path, opened: Open
) -> None:
    path, labels = tmp_path / name, tmp_path / beside
    content, classes = idx(images), idx(np.arange(12, dtype=np.uint8) % 3)
    if packed != "none":
        path, content = path.with_name(f"{name}.gz"), gzip.compress(content, mtime=0)
    if packed == "both":
        labels, classes = labels.with_name(f"{beside}.gz"), gzip.compress(classes, mtime=0)
    path.write_bytes(content)
    labels.write_bytes(classes)
    dataset = opened(path)
    assert np.array_equal(dataset.images[:, 0], images)
    assert np.array_equal(dataset.labels, np.arange(12) % 3)


def test_images_without_labels(images: Any, tmp_path: Path, opened: Open) -> None:
    (tmp_path / "some.idx").write_bytes(idx(images))
    dataset = opened(tmp_path / "some.idx")
    assert dataset.labels is None
    assert dataset.info.shape == (1, 5, 4)


def test_new_labels_are_new_data(images: Any, tmp_path: Path, opened: Open) -> None:
    (tmp_path / "images-idx3").write_bytes(idx(images))
    (tmp_path / "labels-idx1").write_bytes(idx(np.zeros(12, np.uint8)))
    assert opened(tmp_path / "images-idx3").info.classes == ("0",)
    (tmp_path / "labels-idx1").write_bytes(idx(np.ones(12, np.uint8)))
    assert opened(tmp_path / "images-idx3").info.classes == ("1",)


def test_big_endian_floats(tmp_path: Path, opened: Open) -> None:
    values = np.linspace(0, 1, 60).reshape(3, 4, 5)
    (tmp_path / "a").write_bytes(idx(values.astype(">f8"), 0x0E))
    assert np.array_equal(opened(tmp_path / "a").images[:, 0], values.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (idx(np.zeros((3, 4, 5), np.uint8))[:-1], "60 bytes"),
        (idx(np.zeros((3, 4, 5), np.uint8)) + b"x", "more"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"x", "expected"),
        (idx(np.zeros((3, 0, 5), np.uint8)), "at least one value"),
        (b"\0\0\x08\x03\0\0", "expected"),
        (idx(np.arange(7, dtype=np.uint8)), "labels file"),
        (idx(np.ones((2, 3, 4), ">i4"), 0x0C), "astype"),
        (gzip.compress(idx(np.zeros((3, 40, 50), np.uint8)), mtime=0)[:-12], "damaged"),
    ],
)
def test_damaged_idx_is_one_sentence(content: bytes, said: str, tmp_path: Path, opened: Open) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UndiffuseError, match=said):
        opened(tmp_path / "a")
