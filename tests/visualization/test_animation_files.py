"""Frames come back out of the file that they were written to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from undiffuse.errors import UndiffuseError
from undiffuse.visualization.animation_files import HOLD_MS, write_animation

FRAMES = [Image.new("L", (33, 21), value) for value in (0, 60, 120, 255)]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_frames_their_order_and_their_times_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_animation(path, FRAMES, fps=25)
    with Image.open(path) as film:
        values = [int(np.asarray(frame.convert("L")).mean()) for frame in ImageSequence.Iterator(film)]
        assert film.size == (33, 21)
        assert film.info["loop"] == 0
    assert np.allclose(values, [0, 60, 120, 255], atol=2)


def test_the_last_frame_of_a_gif_stands_still(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif", FRAMES, fps=25)
    with Image.open(tmp_path / "a.gif") as film:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(film)] == [40, 40, 40, HOLD_MS]


def test_the_colours_of_a_gif_share_one_palette(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(3)]
    write_animation(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as film:
        seen = [np.asarray(frame.convert("RGB")).reshape(-1, 3) for frame in ImageSequence.Iterator(film)]
    assert len({tuple(color) for pixels in seen for color in pixels.tolist()}) <= 256


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write_animation(tmp_path / f"{name}{suffix}", FRAMES)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_an_mp4_has_even_sides_and_all_frames(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    write_animation(tmp_path / "a.mp4", FRAMES, fps=20)
    with av.open(str(tmp_path / "a.mp4")) as film:
        frames = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert frames[0].shape == (22, 34)
    assert len(frames) == 4 + 20 * HOLD_MS // 1000
    assert np.allclose([frame.mean() for frame in frames[:4]], [0, 60, 120, 255], atol=4)


def test_mp4_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UndiffuseError, match=r"pip install 'undiffuse\[video\]'"):
        write_animation(tmp_path / "a.mp4", FRAMES)


@pytest.mark.parametrize(
    ("name", "fps", "sentence"),
    [
        ("a.avi", 20, "a .webp, .gif or .mp4 file"),
        ("a.gfi", 20, "perhaps you meant '.gif'"),
        ("a.gif", 51, "1 to 50"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, fps: int, sentence: str) -> None:
    with pytest.raises(UndiffuseError, match=sentence):
        write_animation(tmp_path / name, FRAMES, fps=fps)


def test_an_animation_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    write_animation(path, FRAMES)
    with pytest.raises(UndiffuseError, match="exists already"):
        write_animation(path, FRAMES)
    write_animation(path, FRAMES, overwrite=True)
