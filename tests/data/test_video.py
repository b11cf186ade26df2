"""Clips, of videos that FFmpeg's lossless codec wrote: every value is known."""

from __future__ import annotations

import numpy as np
import pytest

from undiffuse.data import video
from undiffuse.errors import UndiffuseError

av = pytest.importorskip("av")


def save(path, frames, codec="ffv1", kind="gray", rate=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = kind
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")
            for packet in stream.encode(picture.reformat(format=kind)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (4, 11, 16, 32), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, frames):
    for k, one in enumerate(frames):
        save(tmp_path / "videos" / "ab"[k % 2] / f"{k}.mkv", one)
    return tmp_path / "videos"


def test_clips_follow_one_another_and_the_rest_is_left(folder, opened, frames):
    dataset = opened(folder, frames=3)
    order = [0, 2, 1, 3]
    expected = np.concatenate([frames[k, :9].reshape(3, 3, 16, 32) for k in order])
    assert np.array_equal(dataset.images[:, 0], expected)
    assert dataset.labels.tolist() == [0] * 6 + [1] * 6
    assert [dataset.name_of(k) for k in (0, 2, 11)] == ["a/0.mkv#0", "a/0.mkv#2", "b/3.mkv#2"]


def test_a_stride_leaves_frames_out(folder, opened, frames):
    dataset = opened(folder, frames=2, stride=4)
    assert np.array_equal(dataset.images[:2, 0], [frames[0, [0, 4]], frames[0, [5, 9]]])
    assert opened(folder, frames=2).info.fingerprint != dataset.info.fingerprint


def test_colours_and_sizes(tmp_path, opened, rng):
    colours = rng.integers(0, 256, (4, 1, 1, 3), dtype=np.uint8) + np.zeros((1, 16, 32, 1), np.uint8)
    path = save(tmp_path / "x.mkv", colours, kind="bgr0")
    dataset = opened(path, frames=2)
    assert np.array_equal(dataset.images, np.moveaxis(colours, -1, 1).reshape(2, 2, 3, 16, 32).swapaxes(1, 2))
    small = opened(path, frames=2, size=8, crop="center", channels="grey")
    assert small.images.shape == (2, 1, 2, 8, 8)
    with pytest.raises(UndiffuseError, match="aspect ratio"):
        opened(path, frames=2, size=8)


def test_the_number_of_frames_must_be_given(folder, opened):
    with pytest.raises(UndiffuseError, match="add --frames 16"):
        opened(folder)
    with pytest.raises(UndiffuseError, match="fewer than the 12 frames"):
        opened(folder, frames=12)


def test_videos_of_two_sizes_are_counted(folder, opened, frames):
    save(folder / "a" / "z.mkv", frames[0][:, :, :16])
    with pytest.raises(UndiffuseError, match="4 of 1 x 3 x 16 x 32 uint8, 1 of 1 x 3 x 16 x 16 uint8"):
        opened(folder, frames=3)


def test_deep_and_broken_videos_are_refused_with_reasons(folder, opened, frames):
    for k in range(60):
        save(folder / "b" / f"more{k}.mkv", frames[0, :3])
    save(folder / "a" / "deep.mkv", frames[0], kind="gray10le")
    (folder / "a" / "text.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    dataset = opened(folder, frames=3)
    reasons = dict(dataset.refused)
    assert "deeper than 8 bits" in reasons["a/deep.mkv"]
    assert "cannot be decoded" in reasons["a/text.mp4"]


def test_without_the_package_it_is_said_what_to_install(folder, opened, monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"undiffuse\[video\]"):
        opened(folder, frames=3)
