from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from undiffuse.config.data import DataConfig
from undiffuse.data.formats.parquet import ParquetShard
from undiffuse.data.stream import open_stream
from undiffuse.errors import UndiffuseError
from undiffuse.runtime import installing


@pytest.fixture
def images(rng, encoded):
    pixels = rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    return pixels, [encoded(one) for one in pixels]


def test_hugging_faces_layout_with_classes_by_name_and_texts(tmp_path, opened, images):
    pixels, encoded = images
    names = ["zebra", "ant", "cow"]
    table = pa.table(
        {
            "image": [{"bytes": one, "path": "x.png"} for one in encoded],
            "label": [k % 3 for k in range(10)],
            "text": [f"t{k}" for k in range(10)],
        }
    )
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    path = tmp_path / "set" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path, row_group_size=4)
    for source in (path, path.parent, f"{path.parent}/train-*.parquet"):
        dataset = opened(source)
        assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)
        assert [dataset.info.classes[k] for k in dataset.labels] == [names[k % 3] for k in range(10)]
        assert dataset.texts() == [f"t{k}" for k in range(10)]


def test_plain_binary_columns_and_labels_that_are_words(tmp_path, opened, images):
    pixels, encoded = images
    words = pa.array(["b", "a"] * 5).dictionary_encode()
    parquet.write_table(pa.table({"picture": encoded, "class": words, "n": list(range(10))}), tmp_path / "x.parquet")
    dataset = opened(tmp_path / "x.parquet")
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)
    assert (dataset.info.classes, dataset.labels.tolist()) == (("a", "b"), [1, 0] * 5)


@pytest.mark.parametrize("numbers", [[0], [9], [1, 3, 4, 8], list(range(10)), []])
def test_any_rows_can_be_read(tmp_path, images, write_parquet, numbers):
    _, encoded = images
    shard = ParquetShard(write_parquet(tmp_path / "x.parquet", encoded))
    assert list(shard.read(numbers)) == [encoded[k] for k in numbers]
    assert shard.runs(3) == [range(3), range(3, 4), range(4, 7), range(7, 8), range(8, 10)]


def test_a_row_without_an_image_is_refused(tmp_path, opened, images, write_parquet):
    _, encoded = images
    dataset = opened(write_parquet(tmp_path / "x.parquet", [None, b"no image", *encoded * 4]))
    assert len(dataset) == 40
    assert dict(dataset.refused)["x.parquet/0"] == "is empty"
    assert "no image" in dict(dataset.refused)["x.parquet/1"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [b"x"], "b": [b"y"]}, r"column 'image'.*a \(binary\), b \(binary\)"),
        ({"image": [[1, 2]]}, "column 'image'"),
        ({"image": ["picture.png"]}, "column 'image'"),
    ],
)
def test_columns_that_hold_no_encoded_images_are_named(tmp_path, opened, columns, words):
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UndiffuseError, match=words):
        opened(tmp_path / "x.parquet")


def test_damage_anywhere_is_data_or_one_sentence(tmp_path, opened, images, write_parquet, rng):
    whole = write_parquet(tmp_path / "x.parquet", images[1], label=list(range(10))).read_bytes()
    refused = 0
    for k in range(60):
        damaged = bytearray(whole)
        if k % 3:
            damaged[int(rng.integers(len(damaged) - 300, len(damaged)))] = int(rng.integers(256))
        else:
            del damaged[int(rng.integers(4, len(damaged))) :]
        (tmp_path / "x.parquet").write_bytes(damaged)
        sentence = "expected"
        try:
            opened(tmp_path / "x.parquet")
        except UndiffuseError as error:
            sentence = str(error)
            refused += 1
        assert sentence.startswith("expected")
    assert refused > 20


def test_claims_beyond_the_file_are_refused_unread(tmp_path, opened, monkeypatch):
    """A million equal rows take a few hundred bytes."""
    parquet.write_table(pa.table({"image": [b""] * 1_000_000}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with pytest.raises(UndiffuseError, match="claim to be 1,000,000 rows"):
        opened(tmp_path / "x.parquet")


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, opened, images, write_parquet, monkeypatch):
    path = write_parquet(tmp_path / "x.parquet", images[1])
    monkeypatch.setattr(installing.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"undiffuse\[parquet\]"):
        opened(path)


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("label", [0.0, 1.0] * 5, "its column 'label' of double; classes are words or whole numbers"),
        ("label", [True, False] * 5, "its column 'label' of bool; classes are words or whole numbers"),
        ("category", ["a", "b"] * 5, "its column 'category'; call it 'label'"),
        ("caption", [["a"]] * 10, "its column 'caption' of list<element: string>; a text is one string"),
        ("width", [1.0] * 10, ""),
    ],
)
def test_columns_that_look_like_classes_and_are_none_are_said(name, column, said, tmp_path, opened, images, capsys):
    parquet.write_table(pa.table({"image": images[1], name: column}), tmp_path / "x.parquet")
    dataset = opened(tmp_path / "x.parquet")
    assert [who for who, _ in dataset.ignored] == ["a part of x.parquet"] * bool(said)
    assert all(said in why for _, why in dataset.ignored)
    open_stream(DataConfig(source=str(tmp_path / "x.parquet"), stream=True))
    assert capsys.readouterr().err.count("a part of x.parquet is not read: ") == bool(said)


def test_the_view_types_of_other_writers_are_read(tmp_path, opened, images):
    pixels, encoded = images
    table = pa.table(
        {"image": pa.array(encoded, pa.binary_view()), "label": pa.array(["a", "b"] * 5, pa.string_view())}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    dataset = opened(tmp_path / "x.parquet")
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)
    assert dataset.info.classes == ("a", "b")
