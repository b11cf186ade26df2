"""One message says all that is in the way of a folder of photographs, with a command that mends it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.cli import main
from undiffuse.data.dataset import Dataset
from undiffuse.data.files.unsupported import kind_not_read
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]
HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(100)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """What people have: two sizes, grey among RGB, a CMYK JPEG, an SVG, HEIC under two names, a raw, a damaged one."""
    folder, rng = tmp_path / "my photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        shape = (30, 40) if number % 3 else (40, 30)
        pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels[..., 0] if number == 7 else pixels).save(folder / f"{number:02}.png")
    Image.new("CMYK", (40, 30), (10, 60, 110, 160)).save(folder / "print.jpg")
    (folder / "logo.svg").write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "IMG_1.heic").write_bytes(HEIC)
    (folder / "IMG_2.jpg").write_bytes(HEIC)
    Image.new("RGB", (16, 12)).save(folder / "camera.dng", "TIFF")
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:50])
    return folder


def test_one_refusal_says_all_that_is_needed_and_its_command_works(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    assert main(["data", "my photos"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    for part in (
        "5 of 18",
        "logo.svg is a drawing (SVG), not pixels; export it as PNG",
        "and 1 more is HEIC, which is not read; convert it to JPEG or PNG",
        "camera.dng is a camera's raw file",
        "12 RGB, 1 grey",
        "8 of 30 x 40, 5 of 40 x 30",
    ):
        assert part in said
    command = re.search(r"undiffuse data .*$", said)
    assert command is not None
    words = shlex.split(command[0])
    assert words[:3] == ["undiffuse", "data", "my photos"]
    assert {"--channels", "--size", "--crop", "--skip-unreadable"} <= set(words)
    assert main(words[1:]) == 0
    shown = capsys.readouterr().out
    assert "my photos: 13 images" in shown
    assert "refused     5 files" in shown
    assert "is a drawing (SVG)" in shown


def test_cmyk_becomes_rgb_where_channels_are_asked_for_and_is_refused_where_not(tmp_path: Path, opened: Open) -> None:
    tmp_path = tmp_path / "d"
    tmp_path.mkdir()
    print_ = Image.new("CMYK", (40, 30), (10, 60, 110, 160))
    for number in range(3):
        print_.putpixel((number, 0), (0, 0, 0, 0))
        print_.save(tmp_path / f"{number}.tif")
    with pytest.raises(UndiffuseError, match=r"CMYK, which has no exact RGB; `channels=rgb` converts it"):
        opened(tmp_path)
    dataset = opened(tmp_path, channels="rgb")
    assert (dataset.info.shape, len(dataset.refused)) == ((3, 30, 40), 0)
    np.testing.assert_array_equal(np.moveaxis(dataset.images[2], 0, -1), np.asarray(print_.convert("RGB")))
    assert opened(tmp_path, channels="grey").info.shape == (1, 30, 40)


def test_rgba_is_suggested_where_the_most_have_alpha(tmp_path: Path, opened: Open, pictures: Any, write: Any) -> None:
    folder = write(tmp_path / "a", {**pictures(3, "t", (6, 5, 4)), **pictures(2, "c")})
    with pytest.raises(UndiffuseError, match=r"add `channels=rgba` \(opaque.*undiffuse data .*/a --channels rgba$"):
        opened(folder)
    folder = write(tmp_path / "b", {**pictures(2, "t", (6, 5, 4)), **pictures(3, "c")})
    with pytest.raises(UndiffuseError, match=r"undiffuse data .*/b --channels rgb$"):
        opened(folder)


def test_what_was_typed_already_stays_in_the_command(tmp_path: Path, opened: Open, pictures: Any, write: Any) -> None:
    folder = write(tmp_path / "a", {**pictures(3), **pictures(2, "c", (6, 9, 4))})
    with pytest.raises(UndiffuseError, match=r"a --size 6 5 --channels rgb --crop center$"):
        opened(folder, size=(6, 5), channels="rgb")


def test_one_may_go_on_without_files_that_cannot_be_read(
    tmp_path: Path, opened: Open, pictures: Any, write: Any
) -> None:
    folder = write(tmp_path / "a", {**pictures(4), "bad.png": b"", "worse.jpg": b"\xff\xd8\xff", "x.heic": HEIC})
    with pytest.raises(UndiffuseError, match=r"got 3 of 7 .*go on without them"):
        opened(folder)
    dataset = opened(folder, skip_unreadable=True)
    assert (dataset.info.count, dataset.info.refused) == (4, 3)
    with pytest.raises(UndiffuseError, match="none that can be used"):
        opened(write(tmp_path / "b", {"bad.png": b""}), skip_unreadable=True)


def test_large_photographs_are_not_suggested_as_the_training_size(tmp_path: Path, opened: Open) -> None:
    for number, size in enumerate([(900, 600), (900, 600), (600, 900)]):
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(UndiffuseError, match=r"add `size=64` `crop=center`, or another `size`"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.heic", HEIC, "HEIC"),
        ("a.avif", b"\x00\x00\x00\x18ftypavif", "AVIF"),
        ("a.psd", b"8BPS\x00\x01", "PSD"),
        ("a.svg", b"\xef\xbb\xbf<!-- x --><svg>", "SVG"),
        ("a.nef", b"MM\0*", "raw"),
        ("a.jpg", b"\x00\x00\x00\x18ftypcrx ", "raw"),
        ("a.eps", b"%!PS-Adobe", "EPS"),
        ("a.tga", bytes(20), "TGA"),
        ("a.png", b"\x89PNG\r\n\x1a\n", ""),
        ("a.jpg", b"\xff\xd8\xff", ""),
        ("a.jpg", b"", ""),
    ],
)
def test_kinds_that_are_not_read_are_told_apart_from_damaged_files(name: str, head: bytes, said: str) -> None:
    found = kind_not_read(name, head)
    assert said in found
    assert bool(found) == bool(said)
