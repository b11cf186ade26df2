"""Numbers that are said of samples: columns of metadata, arrays of .npz files, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.visualization.data_summary import describe

Open = Callable[..., Dataset]
Write = Callable[[Path, dict[str, bytes]], Path]
BOTH = ("angle", "width")


@pytest.fixture
def photos(tmp_path: Path, write: Write, pictures: Any) -> Callable[[str, str], Path]:
    """Three pictures, 0.png to 2.png, with metadata."""

    def make(rows: str, name: str = "metadata.csv") -> Path:
        files = dict(zip(("0.png", "1.png", "2.png"), pictures(3).values(), strict=True))
        return write(tmp_path / "photos", files | {name: rows.encode()})

    return make


ROWS = "file_name,angle,width\n0.png,30,1.5\n1.png,,2\n2.png,-10,2.5\n"


def test_columns_of_metadata_become_rows_and_an_empty_cell_says_nothing(photos: Any, opened: Open) -> None:
    data = opened(photos(ROWS), vectors=BOTH)
    rows = data.vectors()
    assert rows is not None
    np.testing.assert_array_equal(rows, np.array([[30, 1.5], [np.nan, np.nan], [-10, 2.5]], np.float32))
    assert data.info.vectors == BOTH
    assert (data.info.numbers.mean, data.info.numbers.std) == ((10.0, 2.0), (20.0, 0.5))
    assert DataInfo.from_json(json.loads(json.dumps(data.info.to_json()))) == data.info
    assert "angle: mean 10, std 20, -10 .. 30" in describe(data)


def test_jsonl_holds_numbers_as_well_and_one_column_can_be_left_out(photos: Any, opened: Open) -> None:
    lines = [{"file_name": f"{k}.png", "angle": k, "width": "2e-1", "label": "a"} for k in range(3)]
    source = photos("\n".join(map(json.dumps, lines)), "metadata.jsonl")
    data = opened(source, vectors=("angle",))
    assert data.vectors().ravel().tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert data.info.classes == ("a",)
    assert opened(source).vectors() is None


def test_numbers_change_the_fingerprint_and_data_without_them_keep_theirs(photos: Any, opened: Open) -> None:
    source = photos(ROWS)
    plain, told = opened(source).info, opened(source, vectors=BOTH).info
    assert plain.fingerprint != told.fingerprint
    (source / "metadata.csv").write_text(ROWS.replace("30", "31"))
    assert opened(source, vectors=BOTH).info.fingerprint != told.fingerprint
    assert opened(source).info.fingerprint == plain.fingerprint


def test_a_prepared_copy_of_before_there_were_numbers_is_still_read(photos: Any, opened: Open) -> None:
    data = opened(photos(ROWS))
    place = data.path / "info.json"
    fields = json.loads(place.read_text())
    for name in ("vectors", "vector_mean", "vector_std"):
        del fields["info"][name]
    place.write_text(json.dumps(fields))
    stamp = place.stat().st_mtime_ns
    again = opened(data.path.parents[1].parent / "photos")
    assert (again.info, again.path) == (data.info, data.path)
    assert place.stat().st_mtime_ns == stamp


def test_a_prepared_copy_that_lost_its_numbers_is_made_again(photos: Any, opened: Open) -> None:
    source = photos(ROWS)
    data = opened(source, vectors=BOTH)
    (data.path / "vectors.npy").unlink()
    assert opened(source, vectors=BOTH).vectors() is not None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("file_name,angel,width\n0.png,1,2\n", "no column 'angle'; perhaps you meant 'angel'"),
        (
            "file_name,angle,width\n0.png,left,2\n",
            "expected a number for each file in metadata.csv, got 'left' in line",
        ),
        ("file_name,angle,width\n0.png,nan,2\n", "got none that is finite"),
        ("file_name,angle,width\n0.png,1e40,2\n", "got '1e40'"),
        ("file_name,angle,width\n0.png,1,2\n0.png,2,2\n", "one row of numbers per file"),
        ("file_name,angle,width\n0.png,1,2\n1.png,1,3\n", "vary in 'angle', got 1 for all"),
        ("file_name,angle,width\n0.png,,\n", "got none that is finite"),
    ],
)
def test_bad_numbers_are_one_sentence(rows: str, said: str, photos: Any, opened: Open) -> None:
    with pytest.raises(UndiffuseError, match=said):
        opened(photos(rows), vectors=BOTH)


def test_numbers_of_data_that_have_none_are_one_sentence(
    tmp_path: Path, opened: Open, write: Write, pictures: Any, write_tar: Any
) -> None:
    folder = write(tmp_path / "plain", pictures(3))
    with pytest.raises(
        UndiffuseError, match=r"needs a metadata.csv \(or .jsonl\) with the columns file_name and angle"
    ):
        opened(folder, vectors=BOTH)
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4), np.uint8) + np.arange(4, dtype=np.uint8))
    with pytest.raises(UndiffuseError, match="these data have neither"):
        opened(tmp_path / "x.npy", vectors=BOTH)
    shard = {
        f"{k}.{kind}": content
        for k, png in enumerate(pictures(3).values())
        for kind, content in (("png", png), ("cls", b"1"))
    }
    with pytest.raises(UndiffuseError, match="is none of these"):
        opened(write_tar(tmp_path / "shard.tar", shard), vectors=BOTH)
    with pytest.raises(UndiffuseError, match="names a column twice"):
        opened(folder, vectors=("angle", "angle"))


def _npz(path: Path, **arrays: Any) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5), dtype=np.uint8)
    np.savez(path, x=images, **arrays)
    return path


def test_arrays_of_an_npz_stand_side_by_side(tmp_path: Path, opened: Open) -> None:
    place = np.array([[0, 1], [2, 3], [4, 5], [6, np.nan]])
    data = opened(
        _npz(tmp_path / "d.npz", angle=np.arange(4), place=place, y=np.array([0, 1, 0, 1])), vectors=("place", "angle")
    )
    assert data.info.vectors == ("place.0", "place.1", "angle")
    expected = np.array([[0, 1, 0], [2, 3, 1], [4, 5, 2], [np.nan] * 3], np.float32)
    np.testing.assert_array_equal(data.vectors(), expected)  # type: ignore[arg-type]
    assert data.info.numbers.mean == (2.0, 3.0, 1.0)
    assert data.info.classes == ("0", "1")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(3), "an array 'angle' of 4 numbers"),
        (np.array(["a", "b", "c", "d"]), "an array 'angle' of 4 numbers"),
        (np.zeros((4, 2, 2)), "an array 'angle' of 4 numbers"),
        (np.array([0.0, 1.0, np.inf, 2.0]), "an infinite one"),
        (np.array([0.0, 1.0, 1e300, 2.0]), "an infinite one"),
        (np.array([None, 1, 2, 3], object), "not a pickled one"),
    ],
)
def test_bad_arrays_are_one_sentence(tmp_path: Path, opened: Open, array: Any, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        opened(_npz(tmp_path / "d.npz", angle=array), vectors=("angle",))
    with pytest.raises(UndiffuseError, match="no array 'angel'; perhaps you meant 'angle'"):
        opened(tmp_path / "d.npz", vectors=("angel",))
