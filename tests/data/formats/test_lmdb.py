from __future__ import annotations

import pickle

import lmdb
import numpy as np
import pytest

from undiffuse.errors import UndiffuseError


@pytest.fixture
def write_lmdb():
    def write(path, entries, subdir=True):
        environment = lmdb.open(str(path), map_size=1 << 24, subdir=subdir)
        with environment.begin(write=True) as transaction:
            for key, value in entries.items():
                transaction.put(key.encode(), value)
        environment.close()
        return path

    return write


@pytest.fixture
def images(rng, encoded):
    pixels = rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    return pixels, [encoded(one) for one in pixels]


@pytest.mark.parametrize("subdir", [True, False])
def test_keys_in_order_with_classes_before_the_slash(tmp_path, opened, images, write_lmdb, subdir):
    pixels, encoded = images
    entries = {f"{'ba'[k % 2]}/{k}": one for k, one in enumerate(encoded)} | {"length": b"10"}
    dataset = opened(write_lmdb(tmp_path / "x.lmdb", entries, subdir))
    order = [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels[order])
    assert (dataset.info.classes, dataset.labels.tolist()) == (("a", "b"), [0] * 5 + [1] * 5)
    assert dataset.ignored == (("length", "says something of the whole"),)


def test_labels_beside_images_are_their_texts(tmp_path, opened, images, write_lmdb):
    entries = {f"image-{k:03}": one for k, one in enumerate(images[1])} | {"num-samples": b"10"}
    entries |= {f"label-{k:03}": f"word {k}".encode() for k in range(10)}
    dataset = opened(write_lmdb(tmp_path / "x", entries))
    assert dataset.texts() == [f"word {k}" for k in range(10)]
    assert dataset.labels is None


def test_pickled_values_are_refused_and_never_opened(tmp_path, opened, write_lmdb):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    path = write_lmdb(tmp_path / "x", {"0": pickle.dumps(Bomb())})
    with pytest.raises(UndiffuseError, match="never opened"):
        opened(path)
    assert not canary.exists()


def test_a_file_cut_short_is_one_sentence_and_no_crash(tmp_path, opened, images, write_lmdb):
    path = write_lmdb(tmp_path / "x", {f"{k:04}": images[1][k % 10] for k in range(400)})
    whole = (path / "data.mdb").read_bytes()
    for part in (100, 5000, 20_000, len(whole) // 2):
        (path / "data.mdb").write_bytes(whole[:part])
        with pytest.raises(UndiffuseError, match="LMDB"):
            opened(path)


def test_raw_pixels_and_named_databases_say_what_to_write(tmp_path, opened, write_lmdb):
    environment = lmdb.open(str(tmp_path / "named"), map_size=1 << 24, max_dbs=1)
    environment.open_db(b"images")
    environment.close()
    for path in (tmp_path / "named", write_lmdb(tmp_path / "raw", {str(k): bytes(300) for k in range(9)})):
        with pytest.raises(UndiffuseError, match="one encoded image for each key"):
            opened(path)
