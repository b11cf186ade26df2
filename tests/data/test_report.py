from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.conditioning.request import conditions_of
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.visualization.data_summary import contact_sheet, describe, find_duplicates

Open = Callable[..., Dataset]


def test_the_summary_says_what_was_found(tmp_path: Path, opened: Open, pictures: Any, write: Any) -> None:
    files = {**pictures(30, "cat/"), **pictures(10, "dog/"), "notes.txt": b"", "cat/bad.png": b""}
    files["dog/copy.png"] = files["cat/0003.png"]
    text = describe(opened(write(tmp_path / "pets", files)))
    for said in (
        "pets: 41 images",
        "6 x 5 (height x width), RGB, 8 bits",
        "0 .. 255 in the data becomes -1 .. +1",
        "2: cat 30, dog 11",
        "1 exact: dog/copy.png = cat/0003.png",
        "refused     1",
        "1 x is empty (0 bytes): cat/bad.png",
        "1 x not an image: notes.txt",
        "refused.txt",
    ):
        assert said in text


def test_moments_are_given_in_the_datas_units_and_the_models(tmp_path: Path, opened: Open) -> None:
    np.save(tmp_path / "a.npy", np.array([0, 255] * 8, np.uint8).reshape(2, 2, 4))
    text = describe(opened(tmp_path / "a.npy"))
    assert "127.5 in the data, 0 in the model" in text
    assert "127.5 in the data, 1 in the model" in text


def test_exact_duplicates_are_counted(tmp_path: Path, opened: Open, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (6, 4, 5), dtype=np.uint8)
    images[3] = images[5] = images[0]
    images[4] = images[2]
    images[4, 0, 0] ^= 1
    np.save(tmp_path / "a.npy", images)
    found = list(find_duplicates(opened(tmp_path / "a.npy")))
    assert found == [(0, 3), (0, 5)]


@pytest.mark.parametrize(
    ("shape", "dtype", "note"),
    [
        ((3, 8, 8), "uint8", ""),
        ((100, 28, 20), "uint8", ""),
        ((5, 300, 200, 3), "uint8", ""),
        ((2, 8, 8, 4), "uint8", ""),
        ((2, 9, 9, 2), "uint8", "the first of 2 channels"),
        ((2, 9, 9, 6), "float32", "the first of 6 channels"),
        ((2, 9, 9), "uint16", "0 .. 65535 shown as 0 .. 255"),
        ((2, 90), "float32", "signals drawn as bands"),
        ((2, 9, 9, 9, 1), "uint8", "the middle slice"),
        ((2, 2000, 3, 1), "uint8", ""),
    ],
)
def test_every_kind_of_data_has_a_contact_sheet(
    shape: tuple[int, ...], dtype: str, note: str, tmp_path: Path, opened: Open, rng: np.random.Generator
) -> None:
    np.save(tmp_path / "a.npy", rng.integers(0, 200, shape).astype(dtype))
    dataset = opened(tmp_path / "a.npy")
    sheet = contact_sheet(dataset)
    assert sheet.mode == "RGB"
    assert max(sheet.size) < 1200
    assert len(np.unique(np.asarray(sheet))) > 20
    assert note in describe(dataset)


def test_a_tile_shows_its_pixels(tmp_path: Path, opened: Open) -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 0, 0] = (255, 0, 0)
    np.save(tmp_path / "a.npy", pixels)
    sheet = np.asarray(contact_sheet(opened(tmp_path / "a.npy")))
    assert sheet[6, 6].tolist() == [255, 0, 0]
    assert sheet[60, 60].tolist() == [0, 0, 0]
    assert sheet[1, 1].tolist() == [255, 255, 255]


def test_captions_take_any_script(tmp_path: Path, opened: Open, pictures: Any, write: Any) -> None:
    sheet = contact_sheet(opened(write(tmp_path / "a", {**pictures(2, "猫/"), **pictures(2, "chien-été/")})))
    assert isinstance(sheet, Image.Image)


def test_a_stray_image_is_said_where_the_classes_are_missed(
    tmp_path: Path, opened: Open, pictures: Any, write: Any
) -> None:
    files = {**pictures(3, "a/"), **pictures(3, "b/"), "cover.png": pictures(1)["0000.png"]}
    folder = write(tmp_path / "root", files)
    said = "cover.png lies beside the folders a, b, which would be the classes; move it into one of them, or away"
    for _ in range(2):  # made, and from the cache
        dataset = opened(folder)
        assert f"classes     none: {said}" in describe(dataset)
    with pytest.raises(UndiffuseError, match=r"`condition=class` needs classes, and 'root' has none: cover\.png lies"):
        conditions_of(override(TrainConfig(), condition=("class",)), dataset.info)
    (folder / "cover.png").unlink()
    assert opened(folder).info.classes == ("a", "b")
    assert "unclassed" not in opened(folder).info.to_json()


@pytest.mark.parametrize(
    ("shape", "asked"), [((20, 8, 32, 32), True), ((20, 4, 32, 32), False), ((20, 1, 8, 32, 32), False)]
)
def test_many_channels_are_asked_whether_they_are_slices(
    tmp_path: Path, opened: Open, shape: tuple[int, ...], asked: bool
) -> None:
    np.savez(tmp_path / "v.npz", x=np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    dataset = opened(tmp_path / "v.npz")
    assert len(dataset.info.spatial) == len(shape) - 2
    assert ("are these 8 channels the slices of volumes?" in describe(dataset)) == asked
    assert ("(20, 1, 8, 32, 32)" in describe(dataset)) == asked


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(64, dtype=np.uint8).reshape(4, 4, 4) % 2, "8-bit values are taken for 0 .. 255"),
        (np.arange(0, 4096, 64, dtype=np.uint16).reshape(4, 4, 4), "16-bit values are taken for 0 .. 65535"),
        (np.where(np.arange(65536).reshape(1, 256, 256) == 9, 1e6, 0.5), "a few values far from all others"),
        (np.arange(64, dtype=np.uint8).reshape(4, 4, 4) % 2 * 255, ""),
        (np.arange(64).reshape(4, 4, 4) / 1e6, ""),
    ],
)
def test_values_that_fill_next_to_nothing_of_their_range_are_said(
    array: np.ndarray[Any, Any], said: str, tmp_path: Path, opened: Open
) -> None:
    np.save(tmp_path / "x.npy", array)
    dataset = opened(tmp_path / "x.npy")
    assert said in dataset.info.narrow
    assert bool(said) == bool(dataset.info.narrow)
    assert ("range?      the values hardly vary" in describe(dataset)) == bool(said)


@pytest.mark.parametrize(("shape", "asked"), [((8, 9, 3), True), ((4, 8, 9), True), ((8, 9, 10), False)])
def test_volumes_of_three_slices_are_asked_whether_they_are_pictures(
    shape: tuple[int, ...], asked: bool, tmp_path: Path, opened: Open, rng: np.random.Generator
) -> None:
    for k in range(2):
        np.save(tmp_path / f"{k}.npy", rng.integers(0, 256, shape, dtype=np.uint8))
    assert ("pictures with their channels?" in describe(opened(tmp_path))) == asked
