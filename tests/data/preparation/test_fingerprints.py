"""Runs name the data that they learned from by a fingerprint: one example of each kind of data, by the formula.

    sha256(settings as JSON, then [name, sha256 of the file] as JSON of every file, the names in order)

Were one of these to change, data of yesterday would be prepared again and no run of yesterday would go on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.data.dataset import Dataset
from undiffuse.data.mnist import FILE

Open = Callable[..., Dataset]


def fingerprint(kind: str, files: dict[str, Path], refused: dict[str, str] | None = None, **settings: Any) -> str:
    """The formula. ``files`` and ``refused`` by the names that the source gives them."""
    plain = {"version": 1, "kind": kind, "inside": "", "size": None, "crop": "none", "channels": "keep"}
    total = hashlib.sha256(json.dumps(plain | settings, sort_keys=True).encode())
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    said = {name: f"refused: {why}" for name, why in (refused or {}).items()}
    for name, digest in sorted({**digests, **said}.items()):
        total.update(json.dumps([name, digest]).encode())
    return total.hexdigest()


def below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path, pictures: Any, write: Any) -> Path:
    path: Path = write(tmp_path / "images", pictures(2, "a/") | pictures(2, "b/"))
    return path


def test_of_a_folder(folder: Path, opened: Open) -> None:
    (folder / "notes.txt").write_text("no image, and no part of the data")
    files = {name: path for name, path in below(folder).items() if name != "notes.txt"}
    assert opened(folder).info.fingerprint == fingerprint("Folder", files)
    cut = opened(folder, size=(4, 3), crop="center", channels="grey").info.fingerprint
    assert cut == fingerprint("Folder", files, size=[4, 3], crop="center", channels="grey")
    tiles = opened(folder, size=4, crop="tiles", crop_from=5).info.fingerprint
    assert tiles == fingerprint("Folder", files, size=[4, 4], crop="tiles", crop_from=5)


def test_of_a_folder_with_metadata_and_a_file_that_is_refused(folder: Path, opened: Open) -> None:
    rows = ["file_name,text,height", *(f"{name},words,{k}" for k, name in enumerate(below(folder)))]
    (folder / "metadata.csv").write_text("\n".join(rows))
    files = below(folder)
    (folder / "more.zip").write_bytes(b"PK")
    refused = {"more.zip": "is an archive or array file inside the source; unpack it, or name it itself"}
    found = opened(folder, vectors=("height",), skip_unreadable=True).info.fingerprint
    assert found == fingerprint("Folder", files, refused, texts=True, vectors=["height"])


def test_of_archives(tmp_path: Path, pictures: Any, zipped: Any, write_tar: Any, opened: Open) -> None:
    files = pictures(2, "in/") | pictures(1, "out/")
    archive, tar = zipped(tmp_path / "x.zip", files), write_tar(tmp_path / "x.tar.gz", files, "w:gz")
    assert opened(archive).info.fingerprint == fingerprint("ZipFile", {"archive": archive})
    assert opened(archive / "in").info.fingerprint == fingerprint("ZipFile", {"archive": archive}, inside="in")
    assert opened(tar / "in").info.fingerprint == fingerprint("TarFile", {"archive": tar}, inside="in")


def test_of_arrays(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    values, npy, npz = rng.integers(0, 256, (4, 6, 5), dtype=np.uint8), tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(npy, values)
    np.savez(npz, x=values, y=np.arange(4) % 2, angle=np.arange(4.0))
    assert opened(npy).info.fingerprint == fingerprint("NpyFile", {"array": npy})
    assert opened(npz).info.fingerprint == fingerprint("NpzFile", {"arrays": npz})
    told = opened(npz, vectors=("angle",)).info.fingerprint
    assert told == fingerprint("NpzFile", {"arrays": npz}, vectors=["angle"])


def test_of_idx_files(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    images, labels = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte"
    values = rng.integers(0, 256, (4, 6, 5), dtype=np.uint8)
    images.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 4, 6, 5) + values.tobytes()))
    labels.write_bytes(struct.pack(">BBBB1I", 0, 0, 8, 1, 4) + bytes([0, 1, 0, 1]))
    assert opened(images).info.fingerprint == fingerprint("IdxFile", {"images": images, "labels": labels})


def test_of_the_built_in_digits(opened: Open) -> None:
    assert opened("digits").info.fingerprint == fingerprint("Digits", {"digits": FILE})


def test_of_pages(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    pages = [Image.fromarray(one) for one in rng.integers(0, 256, (3, 6, 5), dtype=np.uint8)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert opened(tmp_path / "x.tif").info.fingerprint == fingerprint("TiffPages", {"pages": tmp_path / "x.tif"})


def test_of_volumes(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    for name in "ab":
        np.save(folder / f"{name}.npy", rng.random((4, 5, 6), np.float32))
    assert opened(folder).info.fingerprint == fingerprint("Volumes", below(folder))


def test_of_cifar(tmp_path: Path, rng: np.random.Generator, write_tar: Any, opened: Open) -> None:
    rows = [bytes([k]) + rng.integers(0, 256, 3072, dtype=np.uint8).tobytes() for k in range(3)]
    files = {"data_batch_1.bin": b"".join(rows), "test_batch.bin": rows[0] + rows[1]}
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tar = write_tar(tmp_path / "cifar.tar", {f"{folder.name}/{name}": content for name, content in files.items()})
    assert opened(folder).info.fingerprint == fingerprint("Cifar", below(folder), inside="train")
    assert opened(folder / "test").info.fingerprint == fingerprint("Cifar", below(folder), inside="test")
    assert opened(tar / "test").info.fingerprint == fingerprint("Cifar", {"archive": tar}, inside="test")


def test_of_shards(tmp_path: Path, pictures: Any, write_tar: Any, opened: Open) -> None:
    (tmp_path / "s").mkdir()
    for k in range(2):
        notes = {f"{k}000{i}.cls": str(i).encode() for i in range(2)}
        write_tar(tmp_path / "s" / f"{k}.tar", pictures(2, str(k)) | notes | {f"{k}0000.txt": b"words"})
    files = {f"{k}/{k}.tar": tmp_path / "s" / f"{k}.tar" for k in range(2)}
    for source in (tmp_path / "s", tmp_path / "s" / "{0..1}.tar"):
        assert opened(source).info.fingerprint == fingerprint("Records", files, texts=True)
    alone = fingerprint("Records", {"0/1.tar": tmp_path / "s" / "1.tar"}, texts=True)
    assert opened(tmp_path / "s" / "1.tar").info.fingerprint == alone


def test_of_parquet(tmp_path: Path, pictures: Any, write_parquet: Any, opened: Open) -> None:
    path = write_parquet(tmp_path / "x.parquet", list(pictures(2).values()), label=[0, 1])
    assert opened(path).info.fingerprint == fingerprint("Records", {"0/x.parquet": path})


def test_of_a_database(tmp_path: Path, pictures: Any, opened: Open) -> None:
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(tmp_path / "x"), map_size=1 << 20)
    with environment.begin(write=True) as transaction:
        for name, content in pictures(2).items():
            transaction.put(name.encode(), content)
    environment.close()
    files = {"0/data.mdb": tmp_path / "x" / "data.mdb"}
    assert opened(tmp_path / "x").info.fingerprint == fingerprint("Records", files)
    assert opened(tmp_path / "x" / "data.mdb").info.fingerprint == fingerprint("Records", files)


def test_of_a_table_of_hugging_face(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [Image.fromarray(one) for one in rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": rows}, features=features).save_to_disk(str(tmp_path / "saved"))
    files = {f"0/{path.name}": path for path in (tmp_path / "saved").glob("*.arrow")}
    assert opened(f"hf:{tmp_path / 'saved'}").info.fingerprint == fingerprint("Records", files)


def test_of_videos(tmp_path: Path, rng: np.random.Generator, opened: Open) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "videos").mkdir()
    for name in "ab":
        with av.open(str(tmp_path / "videos" / f"{name}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.height, stream.width, stream.pix_fmt = 16, 32, "gray"
            for frame in rng.integers(0, 256, (4, 16, 32), dtype=np.uint8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
            container.mux(stream.encode())
    folder, clips = tmp_path / "videos", {"frames": 2, "stride": 1}
    assert opened(folder, frames=2).info.fingerprint == fingerprint("Videos", below(folder), **clips)
    alone = {"a.mkv": folder / "a.mkv"}
    assert opened(folder / "a.mkv", frames=2).info.fingerprint == fingerprint("Videos", alone, **clips)


def test_of_pairs(folder: Path, opened: Open) -> None:
    one = opened(folder).info.fingerprint
    both = hashlib.sha256(f"{one} {one}".encode()).hexdigest()
    assert opened(folder, pairs=str(folder)).info.fingerprint == both
