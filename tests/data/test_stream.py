"""Streams: the same batches wherever a training begins, however many processes share them, whatever is unreadable."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.data.files.remote_file import RemoteFile
from undiffuse.data.formats.shards import open_shards
from undiffuse.data.order import batch_indices, shuffled_runs
from undiffuse.data.stream import open_data, open_stream
from undiffuse.errors import UndiffuseError
from undiffuse.recipes import get_recipe
from undiffuse.runtime.process_group import Group
from undiffuse.training.batches import TrainData, image_batches, order_of
from undiffuse.training.parallel.batch_shards import BatchShard

COUNT = 60


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (COUNT, 6, 5, 3), dtype=np.uint8)


@pytest.fixture(params=["tar", "parquet", "lmdb"])
def source(request, tmp_path, pixels, encoded, write_tar, write_parquet):
    """The same examples, with classes and texts, in shards of each kind; example k is of class k % 3."""
    images = [encoded(one) for one in pixels]
    folder = tmp_path / "shards"
    folder.mkdir()
    if request.param == "lmdb":
        lmdb = pytest.importorskip("lmdb")
        environment = lmdb.open(str(folder), map_size=1 << 24)
        with environment.begin(write=True) as transaction:
            for k, image in enumerate(images):
                transaction.put(f"{k:03}".encode(), image)
        environment.close()
    for s in range(0, COUNT, 20):
        part = range(s, s + 20)
        if request.param == "parquet":
            labels, texts = [str(k % 3) for k in part], [f"t{k}" for k in part]
            write_parquet(folder / f"{s:02}.parquet", images[s : s + 20], group=7, label=labels, text=texts)
        elif request.param == "tar":
            notes = {
                "cls": lambda k: str(k % 3).encode(),
                "png": lambda k: images[k],
                "txt": lambda k: f"t{k}".encode(),
            }
            members = {f"{k:03}.{kind}": note(k) for k in part for kind, note in notes.items()}
            write_tar(folder / f"{s:02}.tar", members)
    return folder


def settings(source, **flat):
    config = get_recipe("small").build(open_data(DataConfig(source=str(source), stream=True), False).info)
    return override(config, source=str(source), stream=True, buffer=16, batch=8, steps=10, seed=5, **flat)


def test_a_stream_can_be_sent_to_another_process(source):
    stream = open_stream(DataConfig(source=str(source)), progress=False)
    order = stream.order(8, 3, 5)
    assert np.array_equal(pickle.loads(pickle.dumps(stream)).order(8, 3, 5), order)


def test_a_stream_holds_what_a_prepared_set_holds(source, opened, pixels):
    prepared, stream = opened(source), open_stream(DataConfig(source=str(source)), progress=False)
    assert np.array_equal(stream.images[np.arange(COUNT)].transpose(0, 2, 3, 1), pixels)
    assert np.array_equal(stream.images[7], pixels[7].transpose(2, 0, 1))
    assert np.array_equal(stream.images[3:5], prepared.images[3:5])
    assert stream.texts() == prepared.texts()
    assert (stream.labels is None) == (prepared.labels is None)
    if stream.labels is not None:
        assert np.array_equal(stream.labels, prepared.labels)
    np.testing.assert_allclose([*stream.info.mean, *stream.info.std], [*prepared.info.mean, *prepared.info.std], 1e-12)
    for name in ("count", "shape", "dtype", "low", "high", "classes", "texts"):
        assert getattr(stream.info, name) == getattr(prepared.info, name), name


def test_batches_from_step_k_on_are_those_of_a_training_that_began_at_0(source):
    config = settings(source)
    first, again = (open_data(config.data, progress=False) for _ in range(2))
    whole = image_batches(TrainData.of(first), config, BatchShard(8))
    batches = [whole(step) for step in range(20)]  # two and a half epochs
    for start in (19, 3, 11):
        resumed = image_batches(TrainData.of(open_data(config.data, progress=False)), config, BatchShard(8))
        for step in range(start, 20):
            assert torch.equal(resumed(step), batches[step])
    assert first.info == again.info


def test_two_processes_see_what_one_sees_and_read_no_further(source):
    config = settings(source)
    whole = image_batches(TrainData.of(open_data(config.data, progress=False)), config, BatchShard(8))
    shares = [BatchShard(8, 1, Group(rank, 2)) for rank in range(2)]
    parts = [image_batches(TrainData.of(open_data(config.data, progress=False)), config, share) for share in shares]
    for step in range(10):
        assert torch.equal(torch.cat([part(step) for part in parts]), whole(step))


def test_every_epoch_is_every_example_once_and_no_two_are_alike(source):
    stream = open_stream(DataConfig(source=str(source), buffer=16), progress=False)
    epochs = [np.concatenate([stream.order(6, 10 * e + k, seed=1) for k in range(10)]) for e in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert not np.array_equal(epochs[0], np.concatenate([stream.order(6, k, seed=2) for k in range(10)]))


def test_memory_holds_a_window_and_runs_are_read_once_an_epoch(source, monkeypatch):
    stream = open_stream(DataConfig(source=str(source), buffer=16), progress=False)
    loads = []
    original = type(stream.images.examples).load
    monkeypatch.setattr(
        type(stream.images.examples), "load", lambda self, run: loads.append(run) or original(self, run)
    )
    stream.images._runs.clear()
    stream.images._held = 0
    for step in range(15):
        stream.images[stream.order(4, step, seed=0)]
        assert stream.images._held <= stream.images.keep
    assert len(loads) <= 1.3 * len(stream.images.examples.runs)


def test_the_window_is_how_far_examples_move():
    runs = [range(k, k + 10) for k in range(0, 1000, 10)]
    order = shuffled_runs(runs, 50, seed=0, epoch=0)
    in_order = shuffled_runs(runs, 0, seed=0, epoch=0)
    rank = np.argsort(in_order)
    moved = np.abs(rank[order] - np.arange(1000))
    assert sorted(order) == list(range(1000))
    assert 10 < moved.max() <= 50
    assert np.array_equal(batch_indices(1000, 8, 3, 0, lambda count, seed, epoch: order), order[24:32])


def test_an_unreadable_example_is_stood_in_for_with_its_class(tmp_path, pixels, encoded, write_parquet, capsys):
    images = [encoded(one) for one in pixels]
    images[5], images[6], images[59] = images[5][:-30], b"", images[59][:-30]
    path = write_parquet(tmp_path / "x.parquet", images * 3, label=[k % 3 for k in range(180)])
    config = settings(path)
    capsys.readouterr()
    stream = open_data(config.data, progress=False)
    batches, order = image_batches(TrainData.of(stream), config, BatchShard(8)), order_of(TrainData.of(stream), config)
    met = []
    for step in range(23):
        images = batches(step)
        chosen = order(step)
        met += chosen.tolist()
        expected = torch.from_numpy(pixels[chosen % 60].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        assert torch.equal(images, expected)
    assert not {5, 6, 59, 65} & set(met)
    assert {7, 60} <= set(met)
    names = {name for name, _ in stream.refused}
    assert {"x.parquet/5", "x.parquet/6", "x.parquet/59"} <= names
    said = capsys.readouterr().err
    assert said.count("refused:") == 3


def test_too_many_unreadable_examples_end_it(tmp_path, pixels, encoded, write_parquet):
    images = [encoded(pixels[k % COUNT]) for k in range(400)]
    images = [image[:-30] if k % 10 == 3 else image for k, image in enumerate(images)]
    path = write_parquet(tmp_path / "x.parquet", images)
    with pytest.raises(UndiffuseError, match="5% bad examples"):
        open_stream(DataConfig(source=str(path)), progress=False)


def test_other_contents_and_settings_have_another_fingerprint(tmp_path, pixels, encoded, write_parquet):
    images = [encoded(one) for one in pixels]

    def fingerprint(labels, **flat):
        path = write_parquet(tmp_path / "x.parquet", images, label=labels)
        return open_stream(DataConfig(source=str(path), **flat), progress=False).info.fingerprint

    labels = [k % 2 for k in range(COUNT)]
    first = fingerprint(labels)
    assert fingerprint(labels, buffer=7) == first
    assert fingerprint(labels, channels="grey") != first
    assert fingerprint([1, *labels[1:]]) != first


def test_parquet_is_read_from_afar(pixels, encoded, write_parquet, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    content = write_parquet(tmp_path / "x.parquet", [encoded(one) for one in pixels]).read_bytes()
    with fsspec.open("memory://set/x.parquet", "wb") as file:
        file.write(content)
    records = open_shards([RemoteFile("memory://set/x.parquet")], "afar")
    read = list(records.shards[0].read([0, 9, 59]))
    assert read == [encoded(pixels[k]) for k in (0, 9, 59)]
    with pytest.raises(UndiffuseError, match="expected parquet files"):
        open_shards([RemoteFile("memory://set/x.tar")], "afar")


def test_a_folder_of_images_is_no_stream(tmp_path, write, pictures):
    with pytest.raises(UndiffuseError, match="leave out `stream`, and it is prepared once"):
        open_stream(DataConfig(source=str(write(tmp_path / "folder", pictures(6)))), progress=False)


def test_packed_shards_are_refused(tmp_path, write_tar, encoded, rng):
    members = {"1.png": encoded(rng.integers(0, 256, (4, 4), dtype=np.uint8)), "1.cls": b"1"}
    path = write_tar(tmp_path / "x.tar.gz", members, "w:gz")
    with pytest.raises(UndiffuseError, match="unpack it"):
        open_stream(DataConfig(source=str(path)), progress=False)


def test_a_set_of_hugging_faces_is_streamed_from_its_own_files(tmp_path, pixels, encoded, write_parquet):
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    write_parquet(tmp_path / "set" / "train-0.parquet", [encoded(one) for one in pixels])
    write_parquet(tmp_path / "set" / "test-0.parquet", [encoded(one) for one in pixels[:9]])
    stream = open_stream(DataConfig(source=f"hf:{tmp_path / 'set'}"), progress=False)
    assert np.array_equal(stream.images[:].transpose(0, 2, 3, 1), pixels)
    assert len(open_stream(DataConfig(source=f"hf:{tmp_path / 'set'}:test"), progress=False)) == 9
