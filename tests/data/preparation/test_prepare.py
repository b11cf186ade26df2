from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.files import digest
from undiffuse.data.info import DataInfo
from undiffuse.data.preparation.prepare import prepare
from undiffuse.data.writing import images as write_files
from undiffuse.errors import UndiffuseError

Files = dict[str, bytes]
Open = Callable[..., Dataset]
Write = Callable[[Path, Files], Path]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every file that is decoded."""
    calls: list[int] = []
    original = write_files.decode

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(write_files, "decode", counted)
    return calls


def test_a_folder_becomes_what_its_files_show(
    tmp_path: Path, opened: Open, encoded: Any, write: Write, rng: Any
) -> None:
    pixels = rng.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
    kinds = ["PNG", "BMP", "TIFF", "PPM", "PNG", "TIFF"]
    files = {f"{'ab'[i % 2]}/{i}.{kind.lower()}": encoded(pixels[i], kind) for i, kind in enumerate(kinds)}
    dataset = opened(write(tmp_path / "mixed", files))
    order = [0, 2, 4, 1, 3, 5]
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), pixels[order])
    assert np.array_equal(dataset.labels, [0, 0, 0, 1, 1, 1])
    assert dataset.labels.dtype == np.int64  # type: ignore[union-attr]
    info = dataset.info
    assert (info.name, info.count, info.shape, info.dtype) == ("mixed", 6, (3, 9, 7), "uint8")
    assert (info.low, info.high, info.classes, info.refused) == (0, 255, ("a", "b"), 0)
    model = pixels.astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(info.mean, model.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(info.std, model.std((0, 1, 2)), atol=1e-12)
    assert DataInfo.from_json(info.to_json()) == info
    assert [dataset.name_of(i) for i in (0, 5)] == ["a/0.png", "b/5.tiff"]


def test_16_bit_files_become_uint16(tmp_path: Path, opened: Open, encoded: Any, write: Write, rng: Any) -> None:
    pixels = rng.integers(0, 65536, (3, 5, 4), dtype=np.uint16)
    dataset = opened(write(tmp_path / "deep", {f"{i}.png": encoded(pixels[i]) for i in range(3)}))
    assert np.array_equal(dataset.images[:, 0], pixels)
    assert (dataset.info.dtype, dataset.info.high) == ("uint16", 65535)


def test_float_files_keep_their_own_range(tmp_path: Path, opened: Open, encoded: Any, write: Write, rng: Any) -> None:
    pixels = rng.normal(size=(3, 5, 4)).astype(np.float32)
    dataset = opened(write(tmp_path / "float", {f"{i}.tif": encoded(pixels[i], "TIFF") for i in range(3)}))
    assert np.array_equal(dataset.images[:, 0], pixels)
    assert (dataset.info.low, dataset.info.high) == (pixels.min(), pixels.max())


def test_the_second_time_nothing_is_decoded(
    tmp_path: Path, opened: Open, pictures: Any, write: Write, decodes: list[int]
) -> None:
    folder = write(tmp_path / "a", pictures(4))
    first, second = opened(folder), opened(folder)
    assert len(decodes) == 4
    assert first.info == second.info
    assert first.path == second.path
    assert np.array_equal(first.images, second.images)


def test_the_same_contents_elsewhere_are_found_and_one_changed_pixel_is_not(
    tmp_path: Path, opened: Open, pictures: Any, encoded: Any, write: Write, decodes: list[int]
) -> None:
    files = pictures(4)
    first = opened(write(tmp_path / "a", files))
    moved = opened(write(tmp_path / "elsewhere" / "b", files))
    assert moved.path == first.path
    assert moved.info.name == "b"
    assert len(decodes) == 4
    pixels = np.array(Image.open(io.BytesIO(files["0002.png"])))
    pixels[0, 0, 0] ^= 1
    (tmp_path / "a" / "0002.png").write_bytes(encoded(pixels))
    assert opened(tmp_path / "a").info.fingerprint != first.info.fingerprint
    assert len(decodes) == 8


def test_a_change_that_keeps_size_and_time_is_noticed(
    tmp_path: Path, opened: Open, encoded: Any, write: Write, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "_SETTLED", -1)  # trust the time stamps of files written just now
    pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    folder = write(tmp_path / "a", {"0.bmp": encoded(pixels, "BMP"), "1.bmp": encoded(pixels + 1, "BMP")})
    first = opened(folder)
    stat = (folder / "0.bmp").stat()
    (folder / "0.bmp").write_bytes(encoded(pixels[::-1], "BMP"))
    os.utime(folder / "0.bmp", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (folder / "0.bmp").stat().st_size == stat.st_size
    assert opened(folder).info.fingerprint != first.info.fingerprint


def test_renaming_a_class_is_a_change_and_adding_a_readme_is_not(
    tmp_path: Path, opened: Open, pictures: Any, write: Write
) -> None:
    folder = write(tmp_path / "a", {**pictures(2, "x/"), **pictures(2, "y/")})
    first = opened(folder)
    (folder / "README.md").write_text("notes")
    assert opened(folder).info.fingerprint == first.info.fingerprint
    (folder / "x").rename(folder / "z")
    assert opened(folder).info.classes == ("y", "z")


def test_what_lies_beside_the_images_is_said_as_it_is_now_though_the_images_are_in_the_cache(
    tmp_path: Path, opened: Open, pictures: Any, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "set", pictures(2))
    assert opened(folder).ignored == ()
    write(folder, {"Metadata.JSONL": b"{}", "notes.txt": b"x"})
    found = opened(folder)
    assert {name for name, _ in found.ignored} == {"Metadata.JSONL", "notes.txt"}
    assert "notes.txt" in (found.path / "refused.txt").read_text()
    (folder / "Metadata.JSONL").unlink()
    assert [name for name, _ in opened(folder).ignored] == ["notes.txt"]
    assert "Metadata" not in (found.path / "refused.txt").read_text()


def test_settings_are_part_of_the_key_but_flip_is_not(
    tmp_path: Path, opened: Open, pictures: Any, write: Write
) -> None:
    folder = write(tmp_path / "a", pictures(3))
    settings: list[dict[str, Any]] = [{}, {"channels": "grey"}, {"size": (3, 5), "crop": "center"}, {"size": (12, 10)}]
    keys = [opened(folder, **chosen).info.fingerprint for chosen in settings]
    assert len(set(keys)) == len(settings)
    assert opened(folder, flip=True).info.fingerprint == keys[0]


def test_mixed_channels_are_an_error_that_counts_and_says_what_to_type(
    tmp_path: Path, opened: Open, pictures: Any, write: Write
) -> None:
    folder = write(tmp_path / "a", {**pictures(3, "c"), **pictures(2, "g", (6, 5)), **pictures(1, "t", (6, 5, 4))})
    with pytest.raises(UndiffuseError, match=r"3 RGB, 2 grey, 1 RGBA; add `channels="):
        opened(folder)
    for channels, count in (("grey", 1), ("rgb", 3), ("rgba", 4)):
        assert opened(folder, channels=channels).info.shape == (count, 6, 5)


def test_mixed_depths_are_an_error(tmp_path: Path, opened: Open, encoded: Any, write: Write) -> None:
    files = {"a.png": encoded(np.eye(4, dtype=np.uint8)), "b.png": encoded(np.eye(4, dtype=np.uint16))}
    with pytest.raises(UndiffuseError, match="1 8-bit, 1 16-bit"):
        opened(write(tmp_path / "a", files), channels="grey")


def test_mixed_sizes_are_an_error_that_names_the_most_common_and_what_to_type(
    tmp_path: Path, opened: Open, pictures: Any, write: Write
) -> None:
    shapes = {"a": (6, 5, 3), "b": (8, 8, 3), "c": (4, 5, 3), "d": (12, 10, 3)}
    files = {
        name: data
        for key, shape in shapes.items()
        for name, data in pictures(3 if key == "a" else 1, key, shape).items()
    }
    folder = write(tmp_path / "a", files)
    with pytest.raises(UndiffuseError, match=r"3 of 6 x 5, .*and 1 more sizes.*--size 6 5 --crop center"):
        opened(folder)
    with pytest.raises(UndiffuseError, match=r"2 of 6 with another .*add `crop=center`"):
        opened(folder, size=(6, 5))
    assert opened(folder, size=(6, 5), crop="center").info.shape == (3, 6, 5)
    assert opened(folder, size=4, crop="center").info.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crop": "center"}, "`size`"),
        ({"size": 0}, "between"),
        ({"size": (4, 99999)}, "between"),
        ({"source": ""}, "got ''"),
        ({"source": "no/such"}, "does not exist"),
    ],
)
def test_impossible_options_are_one_sentence(
    settings: dict[str, Any], said: str, tmp_path: Path, cache: Path, pictures: Any, write: Write
) -> None:
    source = str(write(tmp_path / "a", pictures(2)))
    with pytest.raises(UndiffuseError, match=said):
        prepare(DataConfig(**{"source": source, **settings}), cache)


def test_bad_files_are_refused_with_a_reason_each_and_kept_in_a_list(
    tmp_path: Path, opened: Open, pictures: Any, encoded: Any, write: Write, bomb: bytes
) -> None:
    good = pictures(200)
    truncated = good["0000.png"][:-60]
    bad = {
        "empty.png": b"",
        "letter.png": b"Dear Sir",
        "cut.png": truncated,
        "bomb.png": bomb,
        "phone.heic": b"\0\0\0\x18ftypheic",
        "more.zip": b"PK",
    }
    file = io.BytesIO()
    Image.new("CMYK", (5, 6)).save(file, "TIFF")
    bad["cmyk.tif"] = file.getvalue()
    dataset = opened(write(tmp_path / "a", {**good, **bad, "notes.txt": b"hello"}))
    reasons = dict(dataset.refused)
    assert set(reasons) == set(bad)
    assert reasons["empty.png"] == "is empty (0 bytes)"
    assert "no image" in reasons["letter.png"]
    assert "cannot be decoded" in reasons["cut.png"]
    assert "bomb" in reasons["bomb.png"]
    assert "CMYK" in reasons["cmyk.tif"]
    assert dataset.info.count == 200
    assert dataset.info.refused == len(bad)
    assert dataset.ignored == (("notes.txt", "not an image"),)
    listed = (dataset.path / "refused.txt").read_text()
    assert all(f"refused\t{name}\t{why}\n" in listed for name, why in dataset.refused)
    assert "ignored\tnotes.txt" in listed


def test_a_png_named_jpg_is_a_png(tmp_path: Path, opened: Open, pictures: Any, write: Write) -> None:
    files = {name.replace(".png", ".jpg"): data for name, data in pictures(3).items()}
    assert opened(write(tmp_path / "a", files)).info.count == 3


def test_five_per_cent_bad_is_accepted_and_more_is_an_error(
    tmp_path: Path, opened: Open, pictures: Any, write: Write
) -> None:
    folder = write(tmp_path / "a", {**pictures(19), "bad.png": b"", "notes.txt": b"", "film.mp4": b"x"})
    assert opened(folder).info.count == 19
    (folder / "worse.png").write_bytes(b"x")
    with pytest.raises(UndiffuseError, match=r"at most 5% .* got 2 of 21 \(bad.png is empty"):
        opened(folder)


def test_a_file_whose_pixels_fail_counts_as_bad(tmp_path: Path, opened: Open, pictures: Any, write: Write) -> None:
    files = pictures(10)
    files["0003.png"] = files["0003.png"][:-60]  # its header is whole
    with pytest.raises(UndiffuseError, match=r"got 1 of 10 \(0003.png cannot be decoded"):
        opened(write(tmp_path / "a", files))


@pytest.mark.parametrize("files", [{}, {"a.txt": b"x"}, {"a.png": b"x"}, {".hidden/a.png": b"x"}])
def test_nothing_left_is_an_error(files: Files, tmp_path: Path, opened: Open, write: Write) -> None:
    with pytest.raises(UndiffuseError, match="expected images in a, got none"):
        opened(write(tmp_path / "a", files))


def test_constant_data_are_an_error(tmp_path: Path, opened: Open, encoded: Any, write: Write) -> None:
    with pytest.raises(UndiffuseError, match="one value 9 everywhere"):
        opened(write(tmp_path / "a", {"a.png": encoded(np.full((4, 4), 9, np.uint8))}))


def test_what_is_not_a_data_set_is_one_sentence(tmp_path: Path, opened: Open, pictures: Any, write: Write) -> None:
    folder = write(
        tmp_path / "a", {**pictures(1), "empty.zip": b"", "letter.txt": b"Dear Sir, and so on", "images.npz": b""}
    )
    for name, said in (
        ("0000.png", "one image.* name the folder"),
        ("empty.zip", "empty file"),
        ("letter.txt", "none of these"),
        ("image.npz", "perhaps you meant 'images.npz'"),
        ("0000.png/x", "one image"),
        ("nothing/x", "does not exist"),
    ):
        with pytest.raises(UndiffuseError, match=said):
            opened(folder / name)
    with pytest.raises(UndiffuseError, match="perhaps you meant 'digits'"):
        opened("digit")


def test_large_pictures_are_decoded_by_threads_in_order(
    tmp_path: Path, opened: Open, pictures: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_files, "workers_for", lambda headers: 3)
    files = pictures(40)
    dataset = opened(write(tmp_path / "a", {**files, "0017.png": b"broken"}))
    expected = [np.array(Image.open(io.BytesIO(data))) for name, data in files.items() if name != "0017.png"]
    assert np.array_equal(dataset.images.transpose(0, 2, 3, 1), expected)


def test_progress_is_silent_where_there_is_no_terminal_but_for_refused_files(
    tmp_path: Path, cache: Path, pictures: Any, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "a", pictures(30))
    prepare(DataConfig(source=str(folder)), cache)
    assert capsys.readouterr() == ("", "")
    (folder / "bad.png").write_bytes(b"")
    prepare(DataConfig(source=str(folder)), cache)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("1 refused; see ")


def test_the_default_cache_is_the_environments(
    tmp_path: Path, pictures: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "here"))
    dataset = prepare(DataConfig(source=str(write(tmp_path / "a", pictures(2)))), progress=False)
    assert dataset.path.is_relative_to(tmp_path / "here")


def test_names_that_are_no_unicode_are_kept(tmp_path: Path, opened: Open, pictures: Any, write: Write) -> None:
    folder = write(tmp_path / "a", pictures(30))
    os.rename(folder / "0000.png", os.fsencode(folder) + b"/\xff\n.png")
    shutil.copy(folder / "0001.png", os.fsencode(folder) + b"/\xfe.png")
    open(os.fsencode(folder) + b"/\xfd.png", "wb").close()
    dataset = opened(folder)
    assert (dataset.info.count, len(dataset.refused)) == (31, 1)
    assert opened(folder).refused == dataset.refused
