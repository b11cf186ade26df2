"""Clips, of videos that FFmpeg's lossless codec wrote: every value is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.modalities.video import VIDEOS
from undiffuse.modalities.volumes import VOLUMES
from undiffuse.runtime import installing
from undiffuse.visualization.data_summary import describe

av = pytest.importorskip("av")


def save(path, frames, codec="ffv1", kind="gray", rate=10, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = kind
        for frame in frames:
            depth = "gray" if frame.ndim == 2 else {3: "rgb24", 4: "rgba"}[frame.shape[2]]
            picture = av.VideoFrame.from_ndarray(frame, format=depth)
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


def test_clips_are_told_from_volumes(folder, opened, tmp_path):
    info = opened(folder, frames=3).info
    assert modality_of(info) is VIDEOS
    assert modality_of(DataInfo.from_json(info.to_json())) is VIDEOS
    assert modality_of(replace(info, kind="")) is VOLUMES
    assert modality_of(replace(info, shape=(1, 8, 8))) is IMAGES, "what a file claims of its kind must fit its shape"
    said = describe(opened(folder, frames=3))
    assert "videos: 12 clips\n" in said
    assert "3 x 16 x 32 (frames x height x width), 1 channel," in said
    assert "the middle frame of each clip" in said
    assert "pictures with their channels?" not in said


def test_a_stride_leaves_frames_out(folder, opened, frames):
    dataset = opened(folder, frames=2, stride=4)
    assert np.array_equal(dataset.images[:2, 0], [frames[0, [0, 4]], frames[0, [5, 9]]])
    assert opened(folder, frames=2).info.fingerprint != dataset.info.fingerprint


def test_colours_and_sizes(tmp_path, opened, rng):
    colors = rng.integers(0, 256, (4, 1, 1, 3), dtype=np.uint8) + np.zeros((1, 16, 32, 1), np.uint8)
    path = save(tmp_path / "x.mkv", colors, kind="bgr0")
    dataset = opened(path, frames=2)
    assert np.array_equal(dataset.images, np.moveaxis(colors, -1, 1).reshape(2, 2, 3, 16, 32).swapaxes(1, 2))
    small = opened(path, frames=2, size=8, crop="center", channels="grey")
    assert small.images.shape == (2, 1, 2, 8, 8)
    with pytest.raises(UndiffuseError, match="aspect ratio"):
        opened(path, frames=2, size=8)


def test_the_number_of_frames_must_be_given(folder, opened):
    with pytest.raises(UndiffuseError, match="add `frames=16`"):
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
    monkeypatch.setattr(installing.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"undiffuse\[video\]"):
        opened(folder, frames=3)


def test_transparency_stays_and_goes_onto_white_where_rgb_is_asked_for(tmp_path, opened, rng):
    frames = rng.integers(0, 256, (4, 16, 32, 4), dtype=np.uint8)
    path = save(tmp_path / "x.mov", frames, codec="png", kind="rgba")
    dataset = opened(path, frames=2)
    assert np.array_equal(dataset.images, np.moveaxis(frames, -1, 1).reshape(2, 2, 4, 16, 32).swapaxes(1, 2))
    alpha = frames[..., 3:] / 255
    white = np.rint(frames[..., :3] * alpha + 255 * (1 - alpha))
    assert np.allclose(opened(path, frames=4, channels="rgb").images[0], np.moveaxis(white, -1, 0), atol=0.51)


@pytest.mark.parametrize(("codec", "library"), [("libvpx-vp9", "libvpx-vp9"), ("libvpx", "libvpx")])
def test_the_transparency_of_webm_is_read(codec, library, tmp_path, opened):
    if library not in av.codecs_available:
        pytest.skip("no libvpx in this PyAV")
    half = np.full((4, 16, 32, 4), 255, np.uint8)
    half[:, :, :16, 3] = 0
    path = save(tmp_path / "x.webm", half, codec=codec, kind="yuva420p", **{"auto-alt-ref": "0"})
    alpha = opened(path, frames=2).images[:, 3]
    assert alpha[..., :12].max() < 16
    assert alpha[..., 20:].min() > 240
    assert opened(save(tmp_path / "y.webm", half[..., 1:], codec=codec, kind="yuv420p"), frames=2).info.channels == 3
