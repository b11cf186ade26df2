"""Damaged files of every kind: data or a reason, never another exception and never a hang."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decode import UnreadableError, decode, quiet_pillow, read_header
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError

pytestmark = pytest.mark.timeout(120)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bytes replaced, removed, repeated, the end cut off; half of them in the first 64 bytes."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not out:
            break
        at = int(rng.integers(len(out) if rng.random() < 0.5 else min(64, len(out))))
        match rng.integers(5):
            case 0 | 1:
                out[at] = int(rng.integers(256))
            case 2:
                out[at] ^= 1 << int(rng.integers(8))
            case 3:
                del out[at : at + int(rng.integers(1, 9))]
            case 4:
                out = out[: at + 1] if rng.random() < 0.3 else out[:at] + out[at : at + 8] + out[at:]
    return bytes(out)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "deep PNG"])
def test_damaged_pictures_are_pixels_or_a_reason(
    kind: str, rng: np.random.Generator, encoded: Callable[..., bytes], deep_png: Callable[..., bytes]
) -> None:
    pixels = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    whole = deep_png(pixels.astype(np.uint16) * 257) if kind == "deep PNG" else encoded(pixels, kind)
    refused = 0
    with quiet_pillow():
        for _ in range(200):
            damaged = mutate(whole, rng)
            reason = None
            try:
                read_header(io.BytesIO(damaged))
                assert decode(damaged, at_least=(4, 4)).ndim == 3
            except UnreadableError as error:
                reason = str(error)
            assert reason is None or 5 < len(reason) < 300
            refused += reason is not None
    assert refused > 20


def npy(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    np.save(file, rng.integers(0, 256, (4, 5, 6), dtype=np.uint8))
    return file.getvalue()


def npz(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=rng.integers(0, 256, (4, 5, 6), dtype=np.uint8), y=np.arange(4))
    return file.getvalue()


def idx(rng: np.random.Generator) -> bytes:
    return struct.pack(">BBBB3I", 0, 0, 8, 3, 4, 5, 6) + rng.bytes(120)


def packed_idx(rng: np.random.Generator) -> bytes:
    return gzip.compress(idx(rng))


def zipped(rng: np.random.Generator, encoded: Callable[..., bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", encoded(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)))
    return file.getvalue()


def tarred(rng: np.random.Generator, encoded: Callable[..., bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for i in range(3):
            content = encoded(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "idx.gz", "zip", "tar", "tar.gz", "tar.xz", "metadata.csv"])
def test_damaged_data_sets_are_data_or_one_sentence(
    kind: str, tmp_path: Path, cache: Path, rng: np.random.Generator, encoded: Callable[..., bytes]
) -> None:
    makers: dict[str, Callable[[], bytes]] = {
        "npy": lambda: npy(rng),
        "npz": lambda: npz(rng),
        "idx": lambda: idx(rng),
        "idx.gz": lambda: packed_idx(rng),
        "zip": lambda: zipped(rng, encoded),
        "tar": lambda: tarred(rng, encoded),
        "tar.gz": lambda: tarred(rng, encoded, "w:gz"),
        "tar.xz": lambda: tarred(rng, encoded, "w:xz"),
        "metadata.csv": lambda: b'file_name,label\n0.png,a\n1.png,"b"\n2.png,c\n',
    }
    whole = makers[kind]()
    source: Any = tmp_path / f"data.{kind}"
    if kind == "metadata.csv":
        source = tmp_path / "folder"
        source.mkdir()
        for i in range(3):
            (source / f"{i}.png").write_bytes(encoded(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)))
    for _ in range(80):
        (source / kind if kind == "metadata.csv" else source).write_bytes(mutate(whole, rng))
        sentence = "expected"
        try:
            dataset = prepare(DataConfig(source=str(source)), cache, progress=False)
            assert dataset.images.shape == (dataset.info.count, *dataset.info.shape)
        except UndiffuseError as error:
            sentence = str(error)
        assert sentence.startswith("expected")
    assert not list((cache / "prepared").glob(".*"))
