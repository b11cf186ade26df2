"""Frames become a moving picture (WebP, GIF, MP4), and a film strip beside it.

WebP is the default of the commands: for photographs it is ten times quicker to write than GIF and a quarter of its
size. The same frames give the same bytes with the same versions of the libraries.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.provenance.own_pictures import MADE_BY
from undiffuse.provenance.png import check_free, write_file
from undiffuse.runtime.installing import install_extra
from undiffuse.visualization.strip import flatten

HOLD_MS = 1500
"""Time for which the last frame stands still before the loop starts again."""


def write_animation(path: Path, frames: Sequence[Image.Image], fps: int = 20, overwrite: bool = False) -> None:
    """Write the frames in the format that the suffix names: .webp, .gif or .mp4.

    Args:
        path: where to.
        frames: at least one, all of one size.
        fps: frames per second, 1..50 (a GIF counts hundredths of a second).
        overwrite: replace a file of this name.

    Raises:
        UndiffuseError: an unknown suffix, a file that is there, or .mp4 without the extra ``video``.
    """
    check_animation(path, fps, overwrite)
    writer = WRITERS[path.suffix.lower()]
    write_file(path, writer([flatten(frame) for frame in frames], fps), overwrite)


def check_animation(path: Path, fps: int = 20, overwrite: bool = False) -> None:
    """Check before any work is done that an animation can be written in the end; errors as for `write_animation`."""
    if path.suffix.lower() not in WRITERS:
        known = perhaps(path.suffix.lower(), WRITERS)
        raise UndiffuseError(f"An animation is a .webp, .gif or .mp4 file, not '{path.name}'{known}")
    if not 1 <= fps <= 50:
        raise UndiffuseError(f"An animation has 1 to 50 frames per second, not {fps}")
    check_free(path, overwrite)
    if path.suffix.lower() == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UndiffuseError(
                f"Writing .mp4 needs PyAV: {install_extra('video')}, or choose a .webp or .gif file"
            ) from None


def _gif(frames: Sequence[Image.Image], fps: int) -> bytes:
    """One palette for all frames, taken from a sheet of some of them: frames with palettes of their own flicker."""
    chosen = frames[:: max(1, len(frames) // 8)][:8]
    sheet = Image.fromarray(np.concatenate([np.asarray(frame) for frame in [*chosen, frames[-1]]], axis=0))
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return _pillow("GIF", drawn, fps, optimize=False, comment=f"{MADE_BY}a film".encode())


def _pillow(kind: str, frames: Sequence[Image.Image], fps: int, **options: int | bool | bytes) -> bytes:
    packed = io.BytesIO()
    durations = [round(1000 / fps)] * (len(frames) - 1) + [HOLD_MS]
    frames[0].save(packed, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return packed.getvalue()


def _mp4(frames: Sequence[Image.Image], fps: int) -> bytes:
    """H.264 with an even number of pixels a side, which 4:2:0 colour needs; the last frame is repeated, to stand."""
    import av

    packed = io.BytesIO()
    width, height = (side + side % 2 for side in frames[0].size)
    with av.open(packed, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "16", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in [*frames, *[frames[-1]] * round(fps * HOLD_MS / 1000)]:
            even = np.pad(np.asarray(frame), ((0, height - frame.height), (0, width - frame.width), (0, 0)), "edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, "rgb24")))
        container.mux(stream.encode())
    return packed.getvalue()


def _webp(frames: Sequence[Image.Image], fps: int) -> bytes:
    return _pillow("WEBP", frames, fps, quality=88, method=4, xmp=f"<x>{MADE_BY}a film</x>".encode())


WRITERS = {".webp": _webp, ".gif": _gif, ".mp4": _mp4}
