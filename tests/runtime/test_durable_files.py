"""Files are wholly there or not at all, and what the system refuses is one sentence."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.npz import write_npz
from undiffuse.provenance.png import Origin, check_free, write_file, write_png, write_text
from undiffuse.runtime.durable_files import (
    MADE_NAME_BYTES,
    UnwritableError,
    appearing,
    check_writable,
    expanded,
    for_the_eye,
    replace_bytes,
    replace_file,
    shortened,
)


@pytest.fixture
def little_room() -> Iterator[int]:
    """The kernel refuses files of more bytes, as it does on a full disk: in the middle of a write."""
    before, room = resource.getrlimit(resource.RLIMIT_FSIZE), 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    yield room
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "a file": lambda path, size: write_file(path, os.urandom(size)),
    "a text": lambda path, size: write_text(path, size * "a"),
    "a replaced file": lambda path, size: replace_bytes(path, os.urandom(size)),
    "a picture": lambda path, size: write_png(path, Image.frombytes("L", (size, 1), os.urandom(size))),
}


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_stays_of_a_file_that_had_no_room(tmp_path: Path, little_room: int, what: str) -> None:
    with pytest.raises(UnwritableError, match=r"could not write to .*x\.bin: .*; make room, or "):
        WRITERS[what](tmp_path / "x.bin", 4 * little_room)
    assert list(tmp_path.iterdir()) == []
    WRITERS[what](tmp_path / "x.bin", little_room // 2)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_nothing_stays_of_values_that_had_no_room(tmp_path: Path, little_room: int) -> None:
    values = np.random.default_rng(0).random((4, 1, 32, 32))
    with pytest.raises(UnwritableError, match="make room"):
        write_npz(tmp_path / "x.npz", [values], Origin("", 0, "", 0, 0, 4, (1, 32, 32), SampleConfig(), "", "cpu"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_stays_where_the_new_one_had_no_room(tmp_path: Path, little_room: int) -> None:
    (tmp_path / "x").write_bytes(b"old")
    for write in (
        lambda data: write_file(tmp_path / "x", data, True),
        lambda data: replace_bytes(tmp_path / "x", data),
    ):
        with pytest.raises(UnwritableError):
            write(os.urandom(4 * little_room))
    assert (tmp_path / "x").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_draft_vanishes_with_whatever_ends_its_making(tmp_path: Path) -> None:
    def half(error: type[BaseException]) -> None:
        with appearing(tmp_path / "x") as draft:
            draft.write_bytes(b"half")
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            half(error)
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    for check in (check_writable, check_free):
        with pytest.raises(UnwritableError, match="is no folder; give another place with `out`"):
            check(tmp_path / "file" / "deeper" / "x.png")
        check(tmp_path / "not yet" / "deeper" / "x.png")
    assert not (tmp_path / "not yet").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UnwritableError, match="Permission denied; give another place with `out`"):
        check_free(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("blocks", "flag", "sentence"), [(0, 0, "No space left on device; make room"), (9, os.ST_RDONLY, "Read-only")]
)
def test_a_full_and_a_read_only_disk_are_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, flag: int, sentence: str
) -> None:
    real = list(os.statvfs(tmp_path))
    real[4], real[8] = blocks, flag  # f_bavail, f_flag
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(real))
    with pytest.raises(UnwritableError, match=sentence):
        check_free(tmp_path / "x.png")


def test_a_name_that_is_too_long_asks_for_a_shorter_one(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="File name too long; give a shorter place with `out`"):
        write_file(tmp_path / (300 * "n"), b"")


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = 251 * "n" + ".png"
    write_file(tmp_path / name, b"1")
    replace_bytes(tmp_path / name, b"2")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"2")]


def test_names_made_of_what_was_typed_fit_and_stay_apart() -> None:
    long = [f"{50 * 'klasse-'}{end}" for end in "ab"]
    assert shortened("short") == "short"
    assert len({shortened(name) for name in long}) == 2
    assert all(len(os.fsencode(shortened(name))) <= MADE_NAME_BYTES for name in [*long, 100 * "\u00e4\u20ac"])
    assert shortened(long[0]).startswith("klasse-klasse-")


def test_a_name_that_is_no_utf8_is_written_with_a_mark(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    assert for_the_eye(f"{name}, \u00e9") == "caf\N{REPLACEMENT CHARACTER}, \u00e9"
    for write in (write_text, replace_file):
        write(tmp_path / write.__name__, name)
        assert (tmp_path / write.__name__).read_text(encoding="utf-8") == "caf\N{REPLACEMENT CHARACTER}"


def test_a_tilde_without_a_home_is_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    monkeypatch.setenv("HOME", "/here")
    assert expanded("~/x") == Path("/here/x")


def test_no_home_is_a_sentence_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from undiffuse.runtime.cache import cache_root

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("UNDIFFUSE_CACHE", raising=False)
    with pytest.raises(UndiffuseError, match="set UNDIFFUSE_CACHE to a folder"):
        cache_root(None)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path))
    assert cache_root(None) == tmp_path


def test_default_names_made_of_long_ones_can_be_written(tmp_path: Path) -> None:
    from undiffuse.reports.compare import default_file
    from undiffuse.training.run.names import new_folder

    long = [tmp_path / f"{name}{200 * 'n'}" for name in "abc"]
    for place in (default_file(long), new_folder(tmp_path, 60 * "nöñ-", None)):
        write_file(place, b"")
    assert new_folder(tmp_path, "photos/", None).name == "photos"
    assert default_file([tmp_path / "a", tmp_path / "b"]).name == "compare-a-b.html"
