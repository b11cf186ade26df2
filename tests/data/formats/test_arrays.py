from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]


@pytest.fixture
def npy(tmp_path: Path) -> Callable[[Any], Path]:
    def save(array: Any) -> Path:
        np.save(tmp_path / "a.npy", array)
        return tmp_path / "a.npy"

    return save


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    def save(*arrays: Any, **named: Any) -> Path:
        np.savez_compressed(tmp_path / "a.npz", *arrays, **named)
        return tmp_path / "a.npz"

    return save


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        ((3, 40), (1, 40)),
        ((3, 8, 9), (1, 8, 9)),
        ((3, 8, 9, 1), (1, 8, 9)),
        ((3, 8, 9, 3), (3, 8, 9)),
        ((3, 3, 8, 9), (3, 8, 9)),
        ((3, 8, 9, 5), (5, 8, 9)),
        ((3, 5, 8, 9), (5, 8, 9)),
        ((3, 4, 8, 7, 2), (2, 4, 8, 7)),
        ((3, 2, 4, 8, 7), (2, 4, 8, 7)),
    ],
)
def test_the_channel_axis_is_the_shortest(
    shape: tuple[int, ...], stored: tuple[int, ...], npy: Callable[[Any], Path], opened: Open, rng: np.random.Generator
) -> None:
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    dataset = opened(npy(array))
    assert dataset.info.shape == stored
    assert dataset.labels is None
    ours = dataset.images if stored == shape[1:] else np.moveaxis(dataset.images, 1, -1)
    assert np.array_equal(ours.reshape(shape), array)


@pytest.mark.parametrize("shape", [(3, 4, 9, 4), (3, 8, 8, 8), (3, 3, 8, 3)])
def test_an_undecidable_channel_axis_is_an_error_that_says_what_to_type(
    shape: tuple[int, ...], npy: Callable[[Any], Path], npz: Callable[..., Path], opened: Open, rng: np.random.Generator
) -> None:
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    with pytest.raises(UndiffuseError, match="channels_last"):
        opened(npy(array))
    assert opened(npz(channels_last=array)).info.shape == (shape[3], *shape[1:3])
    assert opened(npz(channels_first=array)).info.shape == shape[1:]


def test_signals_of_several_channels_are_named_in_an_npz(npz: Callable[..., Path], opened: Open) -> None:
    assert opened(npz(channels_first=np.eye(20, dtype=np.uint8).reshape(2, 2, 100))).info.shape == (2, 100)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_values_stay_what_they_are(
    dtype: str, order: Any, npz: Callable[..., Path], opened: Open, rng: np.random.Generator
) -> None:
    array = np.asarray(rng.integers(0, 251, (5, 6, 7)), dtype, order=order)
    dataset = opened(npz(x=array))
    assert dataset.info.dtype == np.dtype(dtype).newbyteorder("=").name
    assert np.array_equal(dataset.images[:, 0], array)


def test_float64_becomes_float32_and_the_range_is_the_datas_own(npy: Callable[[Any], Path], opened: Open) -> None:
    dataset = opened(npy(np.linspace(-2.5, 7, 60).reshape(3, 4, 5)))
    assert (dataset.info.dtype, dataset.info.low, dataset.info.high) == ("float32", -2.5, 7.0)
    assert dataset.info.mean[0] == pytest.approx(0, abs=1e-7)


def test_booleans_are_black_and_white(npy: Callable[[Any], Path], opened: Open) -> None:
    assert np.unique(opened(npy(np.eye(6, dtype=bool)[None])).images).tolist() == [0, 255]


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels"), ("arr_0", "y"), ("x", "labels")])
def test_images_and_labels_are_found_by_name(keys: tuple[str, str], npz: Callable[..., Path], opened: Open) -> None:
    images = np.arange(4 * 20, dtype=np.uint8).reshape(4, 4, 5)
    dataset = opened(npz(**{keys[0]: images, keys[1]: np.array([9, 10, 2, 9])}))
    assert dataset.info.classes == ("2", "9", "10")
    assert np.array_equal(dataset.labels, [1, 2, 0, 1])


def test_text_labels_and_a_column_of_labels(npz: Callable[..., Path], opened: Open) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    named = opened(npz(x=images, y=np.array(["dog", "cat", "dog"])))
    assert named.info.classes == ("cat", "dog")
    assert np.array_equal(named.labels, [1, 0, 1])
    assert opened(npz(x=images, y=np.array([["10"], ["9"], ["10"]]))).info.classes == ("9", "10")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.zeros(3)}, "got z"),
        ({"x": np.zeros((2, 3, 4)), "images": np.zeros((2, 3, 4))}, "x, images"),
        ({"x": np.eye(4), "y": np.arange(3)}, "4 labels"),
        ({"x": np.eye(4), "y": np.eye(4, dtype=int)}, "4 labels"),
        ({"x": np.eye(4), "y": np.arange(4.0)}, "integers or text"),
        ({"x": np.eye(4, dtype=np.int64)}, "astype"),
        ({"x": np.eye(4) * 1j}, "complex"),
        ({"x": np.array(["a"] * 4).reshape(2, 2)}, "<U1"),
        ({"x": np.zeros(4)}, r"\(4,\)"),
        ({"x": np.float64(3)}, r"\(\)"),
        ({"x": np.zeros((0, 4, 4))}, "at least one"),
        ({"x": np.zeros((4, 0, 4))}, "at least one"),
        ({"x": np.zeros((2, 2, 2, 2, 2, 2))}, "shape"),
        ({"x": np.full((3, 4, 5), 7, np.uint8)}, "one value 7"),
        ({"x": np.array([[1.0, np.nan], [2.0, 3.0]])}, "NaN"),
        ({"x": np.array([[1.0, 1e300], [2.0, 3.0]])}, "infinity"),
        ({"x": np.array([object()])}, "pickled"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_no_data_set_can_be_is_one_sentence(
    arrays: dict[str, Any], said: str, npz: Callable[..., Path], opened: Open
) -> None:
    with pytest.raises(UndiffuseError, match=said):
        opened(npz(**arrays))


def test_a_pickled_array_is_not_opened(tmp_path: Path, opened: Open) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}, None], object), allow_pickle=True)
    with pytest.raises(UndiffuseError, match="pickled"):
        opened(tmp_path / "a.npy")


def test_a_header_that_claims_more_than_the_file_has_is_an_error(tmp_path: Path, opened: Open) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000)})
    (tmp_path / "a.npy").write_bytes(file.getvalue() + bytes(100))
    with pytest.raises(UndiffuseError, match="damaged"):
        opened(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", file.getvalue() + bytes(100))
    with pytest.raises(UndiffuseError, match="damaged"):
        opened(tmp_path / "a.npz")


def test_arrays_are_resized_and_converted_when_asked(
    npz: Callable[..., Path], opened: Open, rng: np.random.Generator
) -> None:
    array = rng.integers(0, 65536, (4, 8, 12, 3), dtype=np.uint16)
    dataset = opened(npz(x=array), size=4, crop="center", channels="grey")
    assert (dataset.info.shape, dataset.info.dtype) == ((1, 4, 4), "uint16")
    with pytest.raises(UndiffuseError, match="`crop=center`"):
        opened(npz(x=array), size=4)
    with pytest.raises(UndiffuseError, match="5 channels"):
        opened(npz(x=rng.integers(0, 255, (2, 9, 9, 5), dtype=np.uint8)), channels="rgb")
    with pytest.raises(UndiffuseError, match="2-D images"):
        opened(npz(x=rng.integers(0, 255, (2, 90), dtype=np.uint8)), size=8)


def test_label_and_the_second_of_two_nameless_arrays_are_the_classes(tmp_path: Path, opened: Any) -> None:
    x, y = np.random.default_rng(0).random((6, 8, 8), np.float32), np.array([2, 0, 2, 1, 1, 0])
    np.savez(tmp_path / "nameless.npz", x, y)
    np.savez(tmp_path / "label.npz", x=x, label=np.array(["b", "a", "b", "a", "b", "a"]), z=x[:, 0, 0])
    nameless, label = opened(tmp_path / "nameless.npz"), opened(tmp_path / "label.npz")
    assert (nameless.info.classes, nameless.labels.tolist(), nameless.ignored) == (("0", "1", "2"), y.tolist(), ())
    assert (label.info.classes, label.labels.tolist()) == (("a", "b"), [1, 0, 1, 0, 1, 0])
    assert [name for name, _ in label.ignored] == ["z"]
    assert not opened(tmp_path / "label.npz", vectors=("z",)).ignored


def test_an_array_that_is_not_used_is_said_and_a_prepared_entry_of_before_is_made_again(
    tmp_path: Path, opened: Any
) -> None:
    x = np.random.default_rng(0).random((6, 8, 8), np.float32)
    np.savez(tmp_path / "a.npz", x, x[:, 0, 0])  # no classes: floats
    assert "call it y" in dict(opened(tmp_path / "a.npz").ignored)["arr_1"]
    np.savez(tmp_path / "b.npz", x, np.arange(6) % 2)
    dataset = opened(tmp_path / "b.npz")
    fields = json.loads((dataset.path / "info.json").read_text())
    fields["info"]["classes"], fields["labels"] = [], False  # as it was written while arr_1 was dropped
    (dataset.path / "info.json").write_text(json.dumps(fields))
    again = opened(tmp_path / "b.npz")
    assert (again.info.fingerprint, again.info.classes) == (dataset.info.fingerprint, ("0", "1"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(3), "of one column for each class, labels.argmax(1) makes such"),
        (np.arange(3) / 2, "labels.astype('int64') makes such"),
        (np.array([b"a", b"b", b"c"]), "labels.astype(str) makes such"),
        (
            np.array(["a", None, 3], object),
            "Python objects in x.npz, which are never opened; save an array",
        ),
    ],
)
def test_labels_of_another_kind_say_what_makes_labels_of_them(labels, said, tmp_path, opened):
    np.savez(tmp_path / "x.npz", x=np.arange(48, dtype=np.uint8).reshape(3, 4, 4), y=labels)
    with pytest.raises(UndiffuseError, match=re.escape(said)):
        opened(tmp_path / "x.npz")


def test_pickles_are_told_what_to_be_saved_as(tmp_path, opened):
    for name in ("x.pt", "x.pkl"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and more")
        with pytest.raises(UndiffuseError, match=re.escape("never opened; save its array as an .npz")):
            opened(tmp_path / name)


@pytest.mark.parametrize(("other", "count"), [("x.mp4", 1), ("x.tar", 99), ("x.nii.gz", 1)])
def test_a_few_pictures_beside_other_data_do_not_take_its_place(other, count, tmp_path, opened, encoded, rng):
    for k in range(count):
        (tmp_path / f"{k}.png").write_bytes(encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8)))
    for name in (other, f"y{other}"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UndiffuseError, match=r"expected data of one kind in .*; move the ones or the others away"):
        opened(tmp_path)
    for k in range(count, 3 + 200 * other.endswith(".tar")):
        (tmp_path / f"{k}.png").write_bytes(encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8)))
    assert opened(tmp_path, skip_unreadable=True).info.spatial == (4, 4)
