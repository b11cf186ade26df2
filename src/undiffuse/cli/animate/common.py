"""What the three ``undiffuse animate`` commands share: the options of a film, and writing it with its strip."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.cli.options import add_count, add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.errors import counted

if TYPE_CHECKING:
    from undiffuse.visualization.frame import Frame

FRAMES, FPS = 60, 20


def add_animation(parser: Parser, default: str) -> None:
    """--out, --frames, --fps, --overwrite."""
    group = parser.add_argument_group("the film")
    text = f"a .webp, .gif or .mp4 file; a film strip goes beside it as .png (default: {default})"
    group.add_argument("--out", type=Path, metavar="FILE", help=text)
    add_count(group, "--frames", 2, f"moments shown (default: {FRAMES})")
    add_count(group, "--fps", 1, f"frames per second (default: {FPS})")
    add_overwrite(group)


def save(typed: Namespace, default: Path, draw: Callable[[int], Iterable[Frame]]) -> None:
    """Draw the film by a function of the number of its frames, write it to --out with its strip, and say where."""
    from tqdm import tqdm

    from undiffuse.provenance.png import check_free, write_png
    from undiffuse.visualization.animation_files import check_animation, write_animation
    from undiffuse.visualization.frame import film, film_strip

    options = vars(typed)
    path, fps, overwrite = options.get("out", default), options.get("fps", FPS), "overwrite" in options
    beside = path.with_suffix(".png")
    check_animation(path, fps, overwrite)
    check_free(beside, overwrite)
    count = options.get("frames", FRAMES)
    frames = list(tqdm(draw(count), "drawing", count, unit="frame", disable=None))
    write_animation(path, film(frames), fps, overwrite)
    write_png(beside, film_strip(frames), overwrite=overwrite, sheet="a film strip")
    print(f"{path}: {counted(len(frames), 'frame')}\n{beside}: the film strip")
