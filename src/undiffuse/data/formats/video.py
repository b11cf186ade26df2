"""Videos as clips: (channels, frames, height, width), read by PyAV.

A clip is ``frames`` frames, every ``stride``-th one; clips follow one another without overlap, and what is left at the
end is not used. Frames become 8-bit RGB, RGBA where the video has transparency, or grey where it is grey; deeper ones
would lose bits and are refused.
Formats are told by the file's name and forced, so that no playlist can lead the reader to another file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.files.decode import MAX_PIXELS, UnreadableError, refusing
from undiffuse.data.files.listing import FileEntry, Files, Listing
from undiffuse.data.formats.folder import Folder, filling
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.data.source import Draft, FileKind, WrittenSamples
from undiffuse.data.transform import CHANNELS, convert_channels, keeps_aspect, resize
from undiffuse.data.writing.volumes import SampleLayout, check_uncut, write_samples
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import need

FORMATS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".mpg", ".mpeg"), "mpeg"),
    ".avi": "avi",
}
"""FFmpeg's name of the format, by suffix."""
_READS_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the transparency of WebM, by the name of the one that does not."""
MAX_CLIP = 1 << 31
"""Bytes of one clip."""


def _is_video(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in FORMATS


def _key(config: DataConfig, source: str) -> dict[str, Any]:
    check_uncut(config, source)
    return {"kind": "Videos", "frames": config.frames, "stride": config.stride}


def _write(files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
    return replace(write_samples(files, listing, ClipReader(draft.config, draft.size), draft), kind="video")


VIDEOS = FileKind(_is_video, _write, _key)


def _open_file(found: NamedPath) -> Folder | None:
    return Folder(found.path, found.name, VIDEOS) if _is_video(found.name) else None


FORMAT = Format(file=_open_file, filling=filling("video", VIDEOS, lambda count: count))


class ClipReader:
    noun, several = "videos", True

    def __init__(self, config: DataConfig, size: tuple[int, int] | None) -> None:
        need("av", "videos need the package av, which is not installed", "video")
        if config.frames < 1 or config.stride < 1:
            raise UndiffuseError(
                f"expected how many frames a clip has for the videos in {config.source}, got `frames={config.frames}` "
                f"and `stride={config.stride}`; add `frames=16`, say"
            )
        self._config, self._size = config, size
        self._span = (config.frames - 1) * config.stride + 1

    def look(self, entry: FileEntry) -> SampleLayout:
        with self._opened(entry) as (stream, frames):
            first = self._convert(_pixels(next(frames, None)))
            if stream.frames and stream.frames < self._span:
                raise UnreadableError(f"has {stream.frames} frames, and a clip takes {self._span}")
            shape = (first.shape[2], self._config.frames, *first.shape[:2])
            if math.prod(shape) > MAX_CLIP:
                raise UnreadableError(f"makes clips of {math.prod(shape) >> 20:,} MiB; that is refused")
            return SampleLayout(shape, "uint8", max(1, stream.frames // self._span))

    def read(self, entry: FileEntry, form: SampleLayout) -> Iterator[NDArray[Any]]:
        with self._opened(entry) as (_, frames):
            clips = 0
            while len(clip := self._next(frames)) == form.shape[1]:
                yield np.moveaxis(np.stack(clip), -1, 0)
                clips += 1
            if not clips:
                raise UnreadableError(f"has fewer than the {self._span} frames of a clip")

    def _next(self, frames: Iterator[Any]) -> list[NDArray[Any]]:
        return [self._convert(_pixels(frame)) for frame in islice(frames, 0, self._span, self._config.stride)]

    @contextmanager
    def _opened(self, entry: FileEntry) -> Iterator[tuple[Any, Iterator[Any]]]:
        import av

        form = FORMATS.get(PurePosixPath(entry.name.lower()).suffix)
        if form is None:
            raise UnreadableError(f"is no video that can be read ({', '.join(FORMATS)})")
        with refusing(), entry.open() as file, av.open(file, "r", format=form) as container:
            if not container.streams.video:
                raise UnreadableError("holds no pictures")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise UnreadableError(f"claims {stream.width} x {stream.height} pixels; that is refused")
            yield stream, _frames(container, stream)

    def _convert(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        config, size = self._config, self._size
        frame: NDArray[Any] = pixels
        if config.channels != "keep":
            frame = convert_channels(frame, CHANNELS[config.channels])
        if size is None:
            return frame
        height, width = frame.shape[:2]
        if config.crop == "none" and not keeps_aspect(height, width, size):
            raise UndiffuseError(
                f"expected videos with the aspect ratio of {size[0]} x {size[1]} in {config.source}, got {height} x "
                f"{width}; add `crop=center` to cut the middle"
            )
        return resize(frame, size, config.crop, alpha=frame.shape[2] == 4)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """The decoded frames. FFmpeg's own decoders of VP8 and VP9 leave WebM's transparency out; libvpx reads it."""
    library = _READS_ALPHA.get(stream.codec_context.name)
    if stream.metadata.get("alpha_mode") != "1" or library is None:
        yield from container.decode(stream)
        return
    import av

    if library not in av.codecs_available:
        raise UnreadableError(f"has transparency, which needs {library} to be read; write it anew without (ffmpeg)")
    decoder: Any = av.CodecContext.create(library, "r")
    for packet in container.demux(stream):
        yield from decoder.decode(packet)


def _pixels(frame: Any) -> NDArray[np.uint8]:
    """(height, width, 1, 3 or 4) of a frame."""
    if frame is None:
        raise UnreadableError("has no frame that can be decoded")
    if any(component.bits > 8 for component in frame.format.components):
        raise UnreadableError(f"is {frame.format.name}, deeper than 8 bits; convert it (ffmpeg -pix_fmt yuv420p)")
    if frame.rotation:
        raise UnreadableError("is to be turned when shown; write it anew with ffmpeg, which turns the frames")
    if any(component.is_alpha for component in frame.format.components):
        seen_through: NDArray[np.uint8] = frame.to_ndarray(format="rgba")
        return seen_through
    gray = frame.format.name.startswith("gray")
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="gray" if gray else "rgb24")
    return pixels[..., None] if gray else pixels
