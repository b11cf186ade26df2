"""What the three ``undiffuse animate`` commands share: the options of a film, and writing it with its strip."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.cli.options import Parser, whole

if TYPE_CHECKING:
    from PIL import Image

FRAMES, FPS, STRIP = 60, 20, 8


def add_animation(parser: Parser, default: str) -> None:
    """--out, --frames, --fps, --overwrite."""
    group = parser.add_argument_group("the film")
    text = f"a .webp, .gif or .mp4 file; a film strip goes beside it as .png (default: {default})"
    group.add_argument("--out", type=Path, metavar="FILE", help=text)
    group.add_argument("--frames", type=whole("--frames", 2), metavar="N", help=f"moments shown (default: {FRAMES})")
    group.add_argument("--fps", type=whole("--fps", 1), metavar="N", help=f"frames per second (default: {FPS})")
    group.add_argument("--overwrite", action="store_true", help="replace files that are there")


def save(
    typed: Namespace,
    default: Path,
    draw: Callable[[int], Sequence[Image.Image]],
    make_strip: Callable[[int], Image.Image] | None = None,
) -> None:
    """Draw the film and its strip, write both and say where.

    Args:
        typed: what was typed.
        default: where the film goes without --out.
        draw: the frames of the film, given their number.
        make_strip: the film strip, given its number of pictures; by default some of the frames as they are.
    """
    from undiffuse.pictures.animate import check_animation, write_animation
    from undiffuse.pictures.png import check_free, write_png
    from undiffuse.pictures.strip import evenly, strip

    options = vars(typed)
    path, overwrite = options.get("out", default), "overwrite" in options
    beside = path.with_suffix(".png")
    check_animation(path, options.get("fps", FPS), overwrite)
    check_free(beside, overwrite)
    frames = draw(options.get("frames", FRAMES))
    still = make_strip(STRIP) if make_strip else strip([frames[k] for k in evenly(len(frames), STRIP)], scale=1)
    write_animation(path, frames, options.get("fps", FPS), overwrite)
    write_png(beside, still, overwrite=overwrite)
    print(f"{path}: {len(frames)} frames\n{beside}: the film strip")
