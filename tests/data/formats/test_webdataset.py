from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from undiffuse.data.formats.shards import expand, split_of
from undiffuse.errors import UndiffuseError


@pytest.fixture
def shards(tmp_path, rng, encoded, write_tar):
    """Three shards of four examples each with .cls and .txt, and their pixels."""
    pixels = rng.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
    folder = tmp_path / "shards"
    folder.mkdir()
    for s in range(3):
        members = {}
        for k in range(4 * s, 4 * s + 4):
            members |= {f"d/{k:04}.cls": str(k % 3).encode(), f"d/{k:04}.png": encoded(pixels[k])}
            members[f"d/{k:04}.txt"] = f"number {k}\n".encode()
        write_tar(folder / f"train-{s:02}.tar", members)
    return folder, pixels


@pytest.mark.parametrize("pattern", ["train-{00..02}.tar", "train-*.tar", "train-{00,01,02}.tar", ""])
def test_shards_are_one_data_set_with_classes_and_texts(shards, opened, pattern):
    folder, pixels = shards
    dataset = opened(f"{folder}/{pattern}" if pattern else folder)
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels)
    assert dataset.info.classes == ("0", "1", "2")
    assert dataset.labels.tolist() == [k % 3 for k in range(12)]
    assert dataset.texts() == [f"number {k}" for k in range(12)]
    assert dataset.name_of(5) == "train-01.tar/d/0005"


def test_other_splits_are_set_aside(shards, opened):
    folder, _pixels = shards
    (folder / "train-02.tar").rename(folder / "val-02.tar")
    dataset = opened(folder)
    assert len(dataset) == 8
    assert dataset.ignored == (("val-02.tar", "of another split, set aside"),)
    (folder / "train-00.tar").rename(folder / "dev-0.tar")
    (folder / "train-01.tar").rename(folder / "dev-1.tar")
    with pytest.raises(UndiffuseError, match="dev, val"):
        opened(folder)


def test_a_split_is_told_by_folders_and_by_the_beginning_of_a_name():
    told = {"train-00.tar": "train", "Test_1.parquet": "test", "val/0.tar": "val", "trainer-0.tar": "", "a/0.tar": ""}
    assert {name: split_of(Path(name)) for name in told} == told


def test_one_tar_with_notes_beside_its_images_is_a_shard_and_one_without_is_a_folder(
    tmp_path, opened, encoded, rng, write_tar
):
    images = [encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8)) for _ in range(3)]
    notes = {f"{k}.json": json.dumps({"label": "ab"[k % 2], "caption": f"c{k}"}).encode() for k in range(3)}
    members = {f"{k}.png": image for k, image in enumerate(images)}
    plain = opened(write_tar(tmp_path / "plain.tar", members))
    assert (plain.labels, plain.info.texts) == (None, 0)
    both = dict(sorted((members | notes).items()))
    told = opened(write_tar(tmp_path / "told.tar.gz", both, "w:gz"))
    assert (told.labels.tolist(), told.texts()) == ([0, 1, 0], ["c0", "c1", "c2"])
    assert np.array_equal(told.images, plain.images)


@pytest.mark.parametrize("name", ["one.tar", "shards-{0..0}.tar"])
@pytest.mark.parametrize("order", ["together", "images first", "notes first"])
@pytest.mark.parametrize("stem", ["{:04}", "photo.v1.{:04}"])
def test_names_with_dots_and_notes_that_lie_apart_keep_their_classes(
    tmp_path, opened, encoded, rng, write_tar, name, order, stem
):
    images = rng.integers(0, 256, (50, 6, 5, 3), np.uint8)
    files = {}
    for k, image in enumerate(images):
        files[f"{stem.format(k)}.png"] = encoded(image)
        files[f"{stem.format(k)}.cls"] = b"cat" if k % 3 else b"dog"
    if order != "together":
        files = dict(sorted(files.items(), key=lambda item: item[0].endswith(".cls") == (order == "images first")))
    write_tar(tmp_path / name.replace("{0..0}", "0"), files)
    dataset = opened(tmp_path / name)
    assert (dataset.info.count, dataset.info.classes) == (50, ("cat", "dog"))
    assert not dataset.ignored
    np.testing.assert_array_equal(np.asarray(dataset.images), np.moveaxis(images, -1, 1))
    assert dataset.labels.tolist() == [int(k % 3 == 0) for k in range(50)]


@pytest.mark.parametrize("folder", ["", "part/"])
@pytest.mark.parametrize(
    ("kind", "image", "note"),
    [
        ("json", "png", lambda k: json.dumps({"label": k % 2, "caption": "a bird"}).encode()),
        ("cls", "input.png", lambda k: b"%d" % (k % 2)),
    ],
)
def test_notes_of_any_kind_after_all_images_are_read(
    tmp_path, opened, encoded, rng, write_tar, folder, kind, image, note
):
    picture = encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8))
    files = {f"{folder}{k:04}.{image}": picture for k in range(40)}
    files |= {f"{folder}{k:04}.{kind}": note(k) for k in range(40)}
    found = opened(write_tar(tmp_path / "one.tar", files))
    assert (found.info.classes, found.ignored) == (("0", "1"), ())


def test_texts_after_all_images_are_read_unless_folders_are_the_classes(tmp_path, opened, encoded, rng, write_tar):
    picture = encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8))
    for folders, texts, classes in ((("", ""), 40, ()), (("a/", "b/"), 0, ("a", "b"))):
        files = {f"{folders[k % 2]}{k:04}.png": picture for k in range(40)}
        files |= {f"{folders[k % 2]}{k:04}.txt": b"a bird" for k in range(40)}
        found = opened(write_tar(tmp_path / f"{texts}.tar", files))
        assert (found.info.texts, found.info.classes) == (texts, classes)


def test_an_example_that_comes_twice_is_refused_once_as_before(tmp_path, opened, encoded, rng, write_tar):
    images = rng.integers(0, 256, (30, 6, 5, 3), np.uint8)
    with tarfile.open(tmp_path / "one.tar", "w") as archive:
        for k in [*range(30), 3]:
            for suffix, content in (("png", encoded(images[k])), ("cls", b"cat")):
                member = tarfile.TarInfo(f"{k:04}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    dataset = opened(tmp_path / "one.tar")
    assert dataset.info.count == 30
    assert dataset.refused == (("one.tar/0003", "occurs more than once in its shard"),)


def test_bad_examples_are_refused_with_reasons(shards, opened, encoded, rng, write_tar):
    folder, _ = shards
    good = encoded(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    many = {f"{k:03}.{kind}": content for k in range(100) for kind, content in (("png", good), ("cls", b"1"))}
    bad = {
        "200.png": good, "200.cls": b"\xff", "201.cls": b"1", "202.pyd": b"\x80\x04.", "203.a.png": good,
        "203.b.png": good, "204.png": good,
    }  # fmt: skip
    dataset = opened(write_tar(folder / "bad.tar", many | bad))
    reasons = dict(dataset.refused)
    assert len(dataset) == 100
    assert "cannot be read" in reasons["bad.tar/200"]
    assert reasons["bad.tar/201"] == "holds no image (cls)"
    assert reasons["bad.tar/202"] == "holds no image (pyd)"
    assert "2 images" in reasons["bad.tar/203"]
    assert "no class" in reasons["bad.tar/204"]


def test_a_shard_cut_short_is_one_sentence(shards, opened):
    folder, _ = shards
    whole = (folder / "train-01.tar").read_bytes()
    (folder / "train-01.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UndiffuseError, match=r"train-01\.tar"):
        opened(folder)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("train-{00..09}.tar", "none called .*train-03"),
        ("{00..99999999}.tar", "rises"),
        ("{0..999999}{0..9}.tar", "at most"),
        ("test-*.tar", "got none"),
        ("*", "of one kind"),
    ],
)
def test_patterns_that_name_nothing_or_too_much_are_refused(shards, opened, pattern, words):
    folder, _ = shards
    (folder / "README").write_text("x")
    with pytest.raises(UndiffuseError, match=words):
        opened(f"{folder}/{pattern}")


def test_braces_count_with_and_without_zeros(tmp_path):
    for name in ("a8", "a9", "a10", "b08", "b10"):
        (tmp_path / name).touch()
    assert [p.name for p in expand(f"{tmp_path}/a{{8..10}}")] == ["a8", "a9", "a10"]
    assert [p.name for p in expand(f"{tmp_path}/b{{08,10}}")] == ["b08", "b10"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"label": 1.0}, "'label' of its .json, a float; classes are words or whole numbers"),
        ({"label": [1]}, "'label' of its .json, a list; classes are words or whole numbers"),
        ({"category": "a"}, "the .json's 'category'; call it 'label' to learn from it"),
        ({"label": None}, ""),
        ({"label": "a"}, ""),
    ],
)
def test_classes_of_a_json_that_are_none_are_said_once_for_all_shards(
    said, why, tmp_path, rng, encoded, write_tar, opened
):
    for s in range(2):
        members = {}
        for k in range(3):
            members[f"{s}{k}.png"] = encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8))
            members[f"{s}{k}.json"] = json.dumps(said).encode()
        write_tar(tmp_path / f"{s}.tar", members)
    dataset = opened(f"{tmp_path}/*.tar")
    assert {text for _, text in dataset.ignored} == ({f"is not read: {why}"} if why else set())
