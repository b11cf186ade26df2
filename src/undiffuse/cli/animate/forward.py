"""A picture, or some of a data set, dissolving into noise under a schedule.

undiffuse animate forward photo.jpg
undiffuse animate forward digits -n 16 --schedule cosine
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.cli.animate.common import add_animation, save
from undiffuse.cli.data_options import data_word
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.options import add_count, add_seed
from undiffuse.cli.parser import Parser
from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import PROCESS, DiffusionConfig
from undiffuse.errors import UndiffuseError

if TYPE_CHECKING:
    import torch

    from undiffuse.data.info import DataInfo

SIDE = 256
"""Longer side to which a large picture is scaled down: a film of many megapixels helps nobody."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"}


def configure(parser: Parser) -> None:
    parser.surplus = "the film's file is named by --out {}"
    parser.add_argument("IMAGE_OR_DATA", type=data_word, help="an image file, or anything that undiffuse train takes")
    group = parser.add_argument_group("which pictures")
    add_count(group, "-n", 1, "how many of a data set (default: 9)")
    add_seed(group)
    omitted = ("parameterization", "time_input", "sigma_data", "learn_variance")
    add_fields(parser, DiffusionConfig, "the process", omit=omitted)
    add_animation(parser, "forward.webp")


def run(typed: Namespace) -> None:
    from undiffuse.factories.schedule import make_schedule
    from undiffuse.visualization.forward import forward_frames

    options = vars(typed)
    names = PROCESS
    schedule = make_schedule(DiffusionConfig(**{name: options[name] for name in names if name in options}))
    x0, info = open_pictures(options["IMAGE_OR_DATA"], options.get("n", 9))
    seed = options.get("seed", 0)
    save(typed, Path("forward.webp"), lambda count: forward_frames(x0, schedule, info, count, seed))


def open_pictures(source: str, count: int) -> tuple[torch.Tensor, DataInfo]:
    """Pictures in model space, (n, channels, *spatial): one file's, or the first ``count`` of a data set."""
    from undiffuse.data.codec import codec_of
    from undiffuse.data.preparation.prepare import prepare

    path = Path(source)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return open_image(path)
    dataset = prepare(DataConfig(source=source))
    return codec_of(dataset.info).encode(dataset.images[:count]), dataset.info


def open_image(path: Path) -> tuple[torch.Tensor, DataInfo]:
    """One file's picture in 8 bits, scaled down to `SIDE`."""
    import numpy as np

    from undiffuse.data.codec import codec_of
    from undiffuse.data.files.decode import UnreadableError, decode, quiet_pillow
    from undiffuse.data.info import DataInfo
    from undiffuse.visualization.grid import to_image, viewable

    try:
        with quiet_pillow():
            array = np.moveaxis(decode(path.read_bytes()), -1, 0)
    except (OSError, UnreadableError) as error:
        raise UndiffuseError(f"{path} cannot be used: it {error}") from None
    depth = {"uint8": 255.0, "uint16": 65535.0, "float32": float(array.max())}
    low = float(array.min()) if array.dtype == np.float32 else 0.0
    nothing = (0.0,) * len(array)
    kind = str(array.dtype)
    image = viewable(to_image(array, DataInfo(path.name, "", 1, array.shape, kind, low, depth[kind], nothing, nothing)))
    image.thumbnail((SIDE, SIDE))
    pixels = np.moveaxis(np.atleast_3d(np.asarray(image)), -1, 0)
    info = DataInfo(path.name, "", 1, pixels.shape, "uint8", 0.0, 255.0, nothing, nothing)
    return codec_of(info).encode(pixels[None]), info
