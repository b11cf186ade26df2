"""Files made for the tests: pictures with known pixels, in the formats people have."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare

Pixels = NDArray[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Pixels (H, W) or (H, W, C), as the bytes of an image file."""

    def encode(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture
def deep_png() -> Callable[[Pixels], bytes]:
    """A 16-bit PNG with 1 to 4 channels, written by hand from the specification; all five row filters occur."""
    return _deep_png


def _deep_png(pixels: Pixels) -> bytes:
    height, width, channels = pixels.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    step, above, out = 2 * channels, np.zeros(rows.shape[1], int), b""
    for y, row in enumerate(rows):
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = left + above - corner
        near_left, near_above, near_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
        paeth = np.where(
            (near_left <= near_above) & (near_left <= near_corner),
            left,
            np.where(near_above <= near_corner, above, corner),
        )
        filters = [np.zeros_like(row), left, above, (left + above) // 2, paeth]
        out += bytes([y % 5]) + ((row - filters[y % 5]) % 256).astype(np.uint8).tobytes()
        above = row
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(out)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def bomb() -> bytes:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(cache: Path) -> Callable[..., Dataset]:
    """``prepare`` with the test's own cache."""

    def open_(source: Path | str, **settings: Any) -> Dataset:
        return prepare(DataConfig(source=str(source), **settings), cache, progress=False)

    return open_


@pytest.fixture
def write() -> Callable[[Path, dict[str, bytes]], Path]:
    """A folder with these files, by relative name."""

    def write_(folder: Path, files: dict[str, bytes]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write_


@pytest.fixture
def zipped() -> Callable[[Path, dict[str, bytes]], Path]:
    """A zip file with these members."""

    def zip_(path: Path, files: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return zip_


@pytest.fixture
def write_tar() -> Callable[..., Path]:
    """A tar file with these members."""

    def write(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
        with tarfile.open(path, mode) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    """A parquet file with a column of images as Hugging Face's, in row groups of ``group``."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    def write(path: Path, images: list[bytes | None], group: int = 4, **columns: list[Any]) -> Path:
        cells = [{"bytes": image, "path": None} for image in images]
        parquet.write_table(pa.table({"image": cells, **columns}), path, row_group_size=group)
        return path

    return write


@pytest.fixture
def pictures(rng: np.random.Generator, encoded: Callable[..., bytes]) -> Callable[..., dict[str, bytes]]:
    """``count`` random RGB pictures as PNG by name, prefix0000.png and so on."""

    def make(count: int, prefix: str = "", shape: tuple[int, ...] = (6, 5, 3)) -> dict[str, bytes]:
        return {f"{prefix}{i:04}.png": encoded(rng.integers(0, 256, shape, dtype=np.uint8)) for i in range(count)}

    return make
