from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from undiffuse.data import dataset as dataset_module
from undiffuse.data.dataset import Dataset, RowWriter
from undiffuse.data.files import digest as digest_module
from undiffuse.data.files.digest import DigestIndex
from undiffuse.data.preparation import prepare as prepare_module
from undiffuse.data.preparation.in_memory import keep_given
from undiffuse.errors import UndiffuseError
from undiffuse.runtime import cache as cache_module
from undiffuse.runtime.cache import new_entry

Open = Callable[..., Dataset]


@pytest.fixture
def folder(tmp_path: Path, pictures: Any, write: Any) -> Path:
    path: Path = write(tmp_path / "source", pictures(5))
    return path


def drafts(cache: Path) -> list[Path]:
    return [path for path in (cache / "prepared").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("damage", ["short", "no info", "torn info", "no images", "other count", "garbage"])
def test_a_torn_entry_is_made_again(damage: str, folder: Path, opened: Open, cache: Path) -> None:
    first = opened(folder)
    whole = np.array(first.images)
    images, info = first.path / "images.npy", first.path / "info.json"
    if damage == "short":
        os.truncate(images, images.stat().st_size - 1)
    elif damage == "no info":
        info.unlink()
    elif damage == "torn info":
        info.write_text(info.read_text()[:50])
    elif damage == "no images":
        images.unlink()
    elif damage == "other count":
        info.write_text(info.read_text().replace('"count": 5', '"count": 4'))
    else:
        images.write_bytes(b"garbage")
    again = opened(folder)
    assert np.array_equal(again.images, whole)
    assert again.info == first.info
    assert drafts(cache) == []


def test_a_failed_preparation_leaves_nothing(folder: Path, opened: Open, cache: Path) -> None:
    (folder / "0000.png").write_bytes(b"")
    with pytest.raises(UndiffuseError):
        opened(folder)
    assert list((cache / "prepared").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    folder: Path, opened: Open, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RowWriter, "write", full)
    with pytest.raises(UndiffuseError, match="UNDIFFUSE_CACHE to a folder on a larger disk"):
        opened(folder)
    assert list((cache / "prepared").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(
    folder: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(RowWriter, "write", lambda *_: pytest.fail("written"))
    with pytest.raises(UndiffuseError, match="for the prepared data, got 0"):
        opened(folder)


def test_a_cache_that_cannot_be_written_is_one_sentence(folder: Path, opened: Open, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UndiffuseError, match="UNDIFFUSE_CACHE"):
        opened(folder)


def test_arrays_of_a_program_in_a_cache_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UndiffuseError, match=r"expected to write into the cache .*; set UNDIFFUSE_CACHE"):
        keep_given(np.zeros((2, 4, 4), np.uint8), tmp_path / "file")


def test_the_second_of_two_preparations_uses_the_firsts(tmp_path: Path) -> None:
    place = tmp_path / "entry"
    with new_entry(place) as slow:
        (slow / "who").write_text("slow")
        with new_entry(place) as fast:
            (fast / "who").write_text("fast")
    assert (place / "who").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_an_entry_that_another_process_publishes_meanwhile_is_not_discarded(
    folder: Path, opened: Open, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = prepare_module.read_dataset
    published: list[os.stat_result] = []

    def look_too_early(place: Path, name: str) -> Dataset | None:
        found = look(place, name)
        if not published:
            monkeypatch.setattr(prepare_module, "read_dataset", look)
            published.append(opened(folder).path.stat())
        return found

    monkeypatch.setattr(prepare_module, "read_dataset", look_too_early)
    assert opened(folder).path.stat().st_ino == published[0].st_ino
    assert drafts(cache) == []


def test_two_processes_at_once_agree(folder: Path, cache: Path) -> None:
    code = (
        "import sys, hashlib; from pathlib import Path; from undiffuse.config.schema import DataConfig;"
        "from undiffuse.data.preparation.prepare import prepare;"
        "d = prepare(DataConfig(source=sys.argv[1]), Path(sys.argv[2]), progress=False);"
        "print(d.info.fingerprint, hashlib.sha256(d.images.tobytes()).hexdigest())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(cache)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(outputs) == 1
    assert drafts(cache) == []


def test_abandoned_drafts_are_removed_and_young_ones_left(folder: Path, opened: Open, cache: Path) -> None:
    old, young = cache / "prepared" / ".new-old", cache / "prepared" / ".new-young"
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 1e6,) * 2)
    opened(folder)
    assert not old.exists()
    assert young.exists()


def test_settled_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    monkeypatch.setattr(digest_module, "_SETTLED", -1)
    index = DigestIndex(tmp_path / "index", tmp_path)
    first = index.digest("file", file)
    index.save()
    monkeypatch.setattr(digest_module.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert DigestIndex(tmp_path / "index", tmp_path).digest("file", file) == first


def test_files_written_just_now_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    index = DigestIndex(tmp_path / "index", tmp_path)
    index.digest("file", file)
    index.save()
    assert not index.path.exists() or json.loads(index.path.read_text()) == {}


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"file": 3}', '{"file": [1, 2, 3, 4]}', "\x00"])
def test_a_damaged_index_costs_time_and_nothing_else(content: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    index = DigestIndex(tmp_path / "index", tmp_path)
    expected = index.digest("file", file)
    index.path.parent.mkdir(exist_ok=True)
    index.path.write_text(content)
    assert DigestIndex(tmp_path / "index", tmp_path).digest("file", file) == expected


def test_rows_written_one_by_one_are_a_npy_file(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 65536, (7, 2, 3), dtype=np.uint16)
    with RowWriter(tmp_path / "a.npy", "uint16", (2, 3)) as writer:
        for row in rows:
            writer.write(row[None])
    assert np.array_equal(np.load(tmp_path / "a.npy"), rows)


def test_a_prepared_array_is_mapped_and_read_only(folder: Path, opened: Open) -> None:
    images = opened(folder).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    assert dataset_module.read_dataset(folder, "no entry") is None
