from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.data.formats import archive
from undiffuse.errors import UndiffuseError

Files = dict[str, bytes]
Open = Callable[..., Dataset]


def tarred(path: Path, files: Files, mode: str) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def files(pictures: Callable[..., Files]) -> Files:
    return {**pictures(6, "cat/"), **pictures(5, "dog/")}


def test_an_empty_zip_is_one_of_images_and_no_array_file(tmp_path: Path, opened: Open) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w"):
        pass
    with pytest.raises(UndiffuseError, match=r"expected images in photos.zip, got none among 0 other files"):
        opened(tmp_path / "photos.zip")


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_tar_and_zip_hold_what_the_folder_holds(
    packing: str, files: Files, tmp_path: Path, opened: Open, write: Callable[..., Path], zipped: Callable[..., Path]
) -> None:
    folder = opened(write(tmp_path / "folder", files))
    tar = opened(tarred(tmp_path / "anything", files, f"w:{packing}"))  # told by content, not by name
    zipfile_ = opened(zipped(tmp_path / "a.zip", files))
    for other in (tar, zipfile_):
        assert np.array_equal(other.images, folder.images)
        assert np.array_equal(other.labels, folder.labels)
        assert other.info.classes == ("cat", "dog")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_folder_inside_an_archive_can_be_named(
    kind: str, pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    files = {**pictures(3, "./train/cat/"), **pictures(2, "./test/cat/"), **pictures(1, "./test/dog/")}
    path = zipped(tmp_path / "a.zip", files) if kind == "zip" else tarred(tmp_path / "a.tar.xz", files, "w:xz")
    assert opened(path).info.count == 3
    test = opened(path / "test")
    assert (test.info.count, test.info.classes, test.info.name) == (3, ("cat", "dog"), f"{path.name}/test")
    with pytest.raises(UndiffuseError, match="expected images"):
        opened(path / "nothing")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:\\x.png"])
def test_names_that_lead_out_are_refused(
    kind: str, name: str, pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    files = {**pictures(30), name: b"x"}
    path = zipped(tmp_path / "a.zip", files) if kind == "zip" else tarred(tmp_path / "a.tar", files, "w")
    dataset = opened(path)
    assert dataset.info.count == 30
    assert [reason for _, reason in dataset.refused] == ["has a name that leads out of the archive"]
    assert not (tmp_path.parent / "x.png").exists()


def test_links_and_devices_in_a_tar_are_refused(pictures: Callable[..., Files], tmp_path: Path, opened: Open) -> None:
    path = tarred(tmp_path / "a.tar", pictures(60), "w")
    with tarfile.open(path, "a") as tar:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("d.png", tarfile.CHRTYPE), ("h.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "0000.png"
            tar.addfile(member)
    assert {name for name, _ in opened(path).refused} == {"l.png", "d.png", "h.png"}


def test_a_name_that_occurs_twice_is_reported(pictures: Callable[..., Files], tmp_path: Path, opened: Open) -> None:
    files = pictures(30)
    path = tarred(tmp_path / "a.tar", files, "w")
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("0000.png")
        tar.addfile(member)
    dataset = opened(path)
    assert dataset.info.count == 30
    assert "more than once" in dataset.refused[0][1]


def test_nested_archives_are_refused(
    pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    inner = zipped(tmp_path / "inner.zip", pictures(3)).read_bytes()
    dataset = opened(zipped(tmp_path / "outer.zip", {**pictures(30), "inner.zip": inner}))
    assert dataset.info.count == 30
    assert dataset.refused == (
        ("inner.zip", "is an archive or array file inside the source; unpack it, or name it itself"),
    )
    with pytest.raises(UndiffuseError, match=r"inner\.zip is an archive"):
        opened(zipped(tmp_path / "only.zip", {"inner.zip": inner}))


def test_a_truncated_tar_is_an_error_wherever_it_was_cut(files: Files, tmp_path: Path, opened: Open) -> None:
    whole = tarred(tmp_path / "whole.tar", files, "w").read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # the last block with content
    for i, length in enumerate([512 * 2, 512 * 2 + 100, end - 700, end]):
        path = tmp_path / f"{i}.tar"
        path.write_bytes(whole[:length])
        with pytest.raises(UndiffuseError, match="damaged"):
            opened(path)


def test_a_damaged_header_does_not_pass_for_the_end_of_a_tar(files: Files, tmp_path: Path, opened: Open) -> None:
    damaged = bytearray(tarred(tmp_path / "a.tar", files, "w").read_bytes())
    second = 512 + -(-len(next(iter(files.values()))) // 512) * 512
    damaged[second + 10] ^= 0xFF
    (tmp_path / "b.tar").write_bytes(damaged)
    with pytest.raises(UndiffuseError, match="damaged"):
        opened(tmp_path / "b.tar")


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_a_truncated_packed_tar_is_an_error(packing: str, files: Files, tmp_path: Path, opened: Open) -> None:
    path = tarred(tmp_path / "a.tar", files, f"w:{packing}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UndiffuseError, match="damaged"):
        opened(path)


def test_a_truncated_zip_is_an_error(files: Files, tmp_path: Path, opened: Open, zipped: Callable[..., Path]) -> None:
    path = zipped(tmp_path / "a.zip", files)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UndiffuseError, match="damaged"):
        opened(path)


def test_a_damaged_zip_member_is_one_refused_file(
    pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    path = zipped(tmp_path / "a.zip", pictures(30))
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # inside the first member, which its checksum notices
    path.write_bytes(content)
    dataset = opened(path)
    assert dataset.info.count == 29
    assert "CRC" in dataset.refused[0][1]


def test_an_encrypted_zip_member_is_refused(
    pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    path = zipped(tmp_path / "a.zip", pictures(30))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the first entry of the directory
    path.write_bytes(content)
    assert opened(path).refused == (("0000.png", "is encrypted; unpack the archive with its password first"),)


def test_archives_that_unpack_to_absurd_sizes_are_refused(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_EXPANSION", 1 << 16)
    monkeypatch.setattr(archive, "MAX_EXPANSION", 50)
    zeros = bytes(4 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.png", zeros)
    tar = tarred(tmp_path / "a.tar", {"a.png": zeros, "b.png": b""}, "w").read_bytes()
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar))
    for name in ("a.zip", "a.tar.xz"):
        with pytest.raises(UndiffuseError, match=f"{name}, which would unpack to 4 MiB"):
            opened(tmp_path / name)


def test_a_picture_bomb_in_an_archive_is_one_refused_file(
    bomb: bytes, pictures: Callable[..., Files], tmp_path: Path, opened: Open, zipped: Callable[..., Path]
) -> None:
    dataset = opened(zipped(tmp_path / "a.zip", {**pictures(30), "bomb.png": bomb}))
    assert dataset.info.count == 30
    assert dataset.refused[0][0] == "bomb.png"
