"""Samples as files: what a PNG and an .npz hold, and what they say of themselves."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.model.samples import GRID, Samples
from undiffuse.provenance.npz import read_npz, read_origin, write_npz
from undiffuse.provenance.png import read_metadata

INFO = DataInfo("things", "0" * 64, 10, (3, 4, 5), "uint8", 0.0, 255.0, (0.0,) * 3, (0.5,) * 3)


def samples_of(count: int, first: int = 0) -> Samples:
    array = np.random.default_rng(count).integers(0, 256, (count, 3, 4, 5), np.uint8)
    origin = {"checkpoint": "runs/x", "step": 7, "weights": "raw", "sha256": "a" * 64}
    return Samples(array, INFO, 3, tuple(range(first, first + count)), SampleConfig(), origin)


def test_each_picture_holds_its_values_and_its_number(tmp_path: Path) -> None:
    samples = samples_of(3, first=8)
    files = samples.save(tmp_path)
    assert [path.name for path in files] == ["00008.png", "00009.png", "00010.png", "grid.png"]
    for k, path in enumerate(files[:3]):
        with Image.open(path) as image:
            assert np.array_equal(np.moveaxis(np.asarray(image), -1, 0), samples.array[k])
        assert read_metadata(path).origin == samples.origin(8 + k)


def test_nothing_is_written_where_one_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "00001.png").write_bytes(b"mine")
    with pytest.raises(UndiffuseError, match=r"00001\.png exists already"):
        samples_of(2).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00001.png"]


def test_a_grid_of_many_shows_the_first(tmp_path: Path) -> None:
    samples_of(GRID + 1).save(tmp_path / "many")
    assert read_metadata(tmp_path / "many" / "grid.png").origin.count == GRID


def test_values_are_one_array_for_numpy_and_say_how_they_were_made(tmp_path: Path) -> None:
    samples = samples_of(5)
    samples.save_values(tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as found:
        assert found.files == ["images"]
        assert np.array_equal(found["images"], samples.array)
    assert read_origin(tmp_path / "samples.npz") == samples.origin(0, 5)


def test_blocks_give_the_bytes_of_the_whole(tmp_path: Path) -> None:
    samples = samples_of(5)
    origin = samples.origin(0, 5)
    write_npz(tmp_path / "whole.npz", [samples.array], origin)
    write_npz(tmp_path / "blocks.npz", iter([samples.array[:2], samples.array[2:4], samples.array[4:]]), origin)
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "blocks.npz").read_bytes()


def test_a_transposed_block_is_written_in_order(tmp_path: Path) -> None:
    array = np.moveaxis(np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3), -1, 1)
    write_npz(tmp_path / "a.npz", [array], samples_of(2).origin(0, 2))
    assert np.array_equal(read_npz(tmp_path / "a.npz"), array)


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_half_a_file_of_values_says_nothing(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.npz"
    samples_of(5).save_values(path)
    path.write_bytes(path.read_bytes()[:keep])
    assert read_origin(path) is None
    assert read_origin(tmp_path / "none.npz") is None


def test_values_with_a_flipped_bit_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    samples_of(5).save_values(path)
    data = bytearray(path.read_bytes())
    data[150] ^= 1
    path.write_bytes(data)
    assert read_origin(path) is None


def test_an_archive_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros(3))
    assert read_origin(tmp_path / "a.npz") is None
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.comment = b'{"format": 1}'
    assert read_origin(tmp_path / "b.npz") is None
