"""CIFAR's four downloads, written again as they are published; and pickles that would run code."""

from __future__ import annotations

import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from undiffuse.data.files.safe_pickle import read_plain_pickle
from undiffuse.errors import UndiffuseError

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def python2_batch(images, labels):
    """The opcodes of the published batches: Python 2's cPickle, protocol 2, texts as SHORT_BINSTRING."""
    data = images.tobytes()

    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85" + text(b"b") + b"\x87Rq\x03"
    state = b"(K\x01" + b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    dtype = b"cnumpy\ndtype\nq\x04" + text(b"u1") + b"K\x00K\x01\x87Rq\x05"
    kind = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    values = b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    pairs = [text(b"data") + array + state + dtype + kind + values, text(b"labels") + numbers]
    pairs += [text(b"batch_label") + text(b"training batch 1 of 5"), text(b"filenames") + b"](" + text(b"a.png") + b"e"]
    return b"\x80\x02}q\x00(" + b"".join(pairs) + b"u."


@pytest.fixture
def rows(rng):
    """Twenty images as rows of 3072 bytes, and labels below ten."""
    return rng.integers(0, 256, (20, 3072), dtype=np.uint8), rng.integers(0, 10, 20).tolist()


def test_the_hand_written_batch_is_what_pythons_own_reader_takes_for_one(rows):
    images, labels = rows
    batch = pickle.loads(python2_batch(images, labels), encoding="bytes")
    assert np.array_equal(batch[b"data"], images)
    assert batch[b"labels"] == labels


@pytest.mark.parametrize("packed", [False, True])
def test_the_python_version(tmp_path, opened, rows, packed):
    images, labels = rows
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(python2_batch(images[:8], labels[:8]))
    (folder / "data_batch_2").write_bytes(python2_batch(images[8:15], labels[8:15]))
    (folder / "test_batch").write_bytes(python2_batch(images[15:], labels[15:]))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": TEN, "num_vis": 3072}, 2))
    source = folder
    if packed:
        source = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, folder.name)
    train, test = opened(source), opened(f"{source}/test")
    assert np.array_equal(train.images, images[:15].reshape(-1, 3, 32, 32))
    assert (train.labels.tolist(), train.info.classes) == (labels[:15], tuple(TEN))
    assert np.array_equal(test.images, images[15:].reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == labels[15:]


def test_the_binary_versions(tmp_path, opened, rows):
    images, labels = rows
    ten, hundred = tmp_path / "cifar-10-batches-bin", tmp_path / "cifar-100-binary"
    ten.mkdir()
    hundred.mkdir()
    records = [bytes([k]) + row.tobytes() for k, row in zip(labels, images, strict=False)]
    (ten / "data_batch_1.bin").write_bytes(b"".join(records))
    (ten / "batches.meta.txt").write_text("\n".join(TEN) + "\n")
    found = opened(ten)
    assert np.array_equal(found.images, images.reshape(-1, 3, 32, 32))
    assert (found.labels.tolist(), found.info.classes) == (labels, tuple(TEN))
    fine = [9 * k + 5 for k in labels]
    records = [bytes([3, k]) + row.tobytes() for k, row in zip(fine, images, strict=False)]
    (hundred / "train.bin").write_bytes(b"".join(records))
    (hundred / "fine_label_names.txt").write_text("\n".join(f"fine{k}" for k in range(100)))
    found = opened(hundred)
    assert [found.info.classes[k] for k in found.labels] == [f"fine{k}" for k in fine]


def test_hundred_classes_in_python(tmp_path, opened, rows):
    images, labels = rows
    fine = [9 * k + 5 for k in labels]
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    batch = {b"data": images, b"fine_labels": fine, b"coarse_labels": labels}
    (folder / "train").write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"fine{k}" for k in range(100)]}, protocol=4))
    found = opened(folder)
    assert [found.info.classes[k] for k in found.labels] == [f"fine{k}" for k in fine]


@pytest.mark.parametrize("cut", [1000, 3073 * 5 - 1, 0])
def test_a_binary_batch_cut_short_is_refused(tmp_path, opened, rows, cut):
    images, labels = rows
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    whole = b"".join(bytes([k]) + row.tobytes() for k, row in zip(labels, images, strict=False))
    (folder / "data_batch_1.bin").write_bytes(whole[:cut])
    with pytest.raises(UndiffuseError, match="rows of 3073 bytes"):
        opened(folder)


# --- pickles ----------------------------------------------------------------------------------------------------------

VALUES = [
    None,
    {"a": [1, -2, 3.5, True, False, None], b"b": ("x", b"y", (), {}), 7: [1 << 40, "ü" * 300, b"z" * 300]},
    [np.arange(6).reshape(2, 3).astype(kind) for kind in ("u1", "<i4", ">f8", "?")],
    np.asfortranarray(np.arange(12).reshape(3, 4)),
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_values_come_out_as_python_reads_them(value, protocol):
    np.testing.assert_equal(read_plain_pickle(pickle.dumps(value, protocol), "x"), value)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bomb_does_not_go_off(tmp_path, opened, protocol):
    canary, folder = tmp_path / "canary", tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for value in (Bomb(str(canary)), {"data": Bomb(str(canary)), "labels": []}):
        (folder / "data_batch_1").write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(UndiffuseError, match=r"not opened|damaged"):
            opened(folder)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Bomb(str(canary)), protocol))
    assert canary.exists()  # so it was one


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'ls'\nios\nsystem\n.",
        b"c__builtin__\nobject\n.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        b"\x80\x02cnumpy\nndarray\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02K\x01}b.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"",
        b".",
    ],
)
def test_programs_that_are_no_plain_values_are_refused(program):
    with pytest.raises(UndiffuseError, match="expected a pickle of plain values"):
        read_plain_pickle(program, "x")


def test_lists_of_lists_take_no_longer_than_their_bytes():
    """Two to the power of sixty empty lists, in half a kilobyte."""
    value = []
    for _ in range(60):
        value = [value, value]
    data = pickle.dumps(value, 2)
    assert len(data) < 1000
    found = read_plain_pickle(data, "x")
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    assert found == []


def test_an_array_that_claims_more_than_it_holds_is_refused():
    whole = pickle.dumps(np.zeros((2, 3), np.uint8), 2)
    forged = whole.replace(b"K\x02K\x03\x86", b"J\x00\xca\x9a\x3bK\x03\x86")
    assert forged != whole
    with pytest.raises(UndiffuseError, match="for an array of shape"):
        read_plain_pickle(forged, "x")


@pytest.mark.timeout(60)
def test_damaged_pickles_are_values_or_one_sentence(rng):
    whole = pickle.dumps({"data": np.zeros((2, 8), np.uint8), "labels": [1, 2], "n": ("x", 2.5)}, 2)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        try:
            read_plain_pickle(bytes(damaged), "x")
        except UndiffuseError as error:
            assert str(error).startswith("expected a pickle of plain values")
            refused += 1
    assert refused > 300
