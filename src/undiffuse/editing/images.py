"""Real pictures in, edited ones out: files as arrays of the model's kind, and a strip that shows both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.files.decode import UnreadableError, decode, quiet_pillow
from undiffuse.data.info import DataInfo
from undiffuse.data.transform import convert_channels
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.registry import modality_of
from undiffuse.model import AnyModel
from undiffuse.provenance.adapter_names import short_name
from undiffuse.provenance.edit_record import Edited
from undiffuse.provenance.png import write_file, write_png
from undiffuse.version import __version__
from undiffuse.visualization.grid import to_image, viewable
from undiffuse.visualization.strip import flatten, strip


def read_mask(path: Path, sides: Sequence[int], say: Callable[[str], object] = lambda how: None) -> Tensor:
    """A mask from its file: 1 where it is black and the picture is known, 0 where it is white, to be painted anew.

    Above half grey is white. Two kinds of masks are read otherwise, and said to be: where all that is opaque has one
    colour, its transparency is the mask (white paint marks what is painted, black paint what is kept); and a file of
    zeros and ones alone has white for its ones. The transparency of a mask in black and white is laid onto white, and
    so is what is hardly transparent anywhere.

    Args:
        path: a picture of any kind.
        sides: height and width that it must have.
        say: told in words how a mask of these two kinds was read.

    Raises:
        UndiffuseError: unreadable, of another size, all of one colour, or in part transparent and else neither black
            nor white: a photograph with a hole, or paint in red, may mean the one or the other.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UndiffuseError(f"Cannot read the mask {path}: {error.strerror or error}") from None
    try:
        with quiet_pillow():
            values = decode(content)
        values = values[..., None] if values.ndim == 2 else values
        if values.shape[:2] != tuple(sides):
            raise UnreadableError(
                f"has {values.shape[0]} x {values.shape[1]} pixels (height x width) and the picture "
                f"{sides[0]} x {sides[1]}; a mask has its picture's size"
            )
        top = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1.0
        white = _painted(values, top, say)
    except UnreadableError as error:
        raise UndiffuseError(f"The mask {path} {error}") from None
    known = torch.from_numpy((~white).astype(np.float32))
    if known.all() or not known.any():
        gray = convert_channels(values, 1)
        found = "black: there is nothing to paint" if known.all() else "white: nothing is kept"
        clear = ", its transparency laid onto white" if values.shape[2] in (2, 4) else ""
        raise UndiffuseError(
            f"The mask {path} is all {found}; white is what is painted anew, black is kept. Its values{clear} are "
            f"{gray.min():g} to {gray.max():g}, and white begins above {top / 2:g}"
        )
    return known


NEAR, MOSTLY = 1 / 8, 0.9
"""How far from black or white a value counts as it, and which share of a mask in both must: edges are soft."""


def _painted(values: NDArray[Any], top: float, say: Callable[[str], object]) -> NDArray[np.bool_]:
    """True where a mask is white."""
    if values.shape[2] in (2, 4):
        opaque = values[..., -1] > values[..., -1].max() / 2  # of a soft brush, too
        paint = (convert_channels(values[..., :-1], 1)[..., 0] / top)[opaque]
        color = values[..., :-1][opaque] / top
        light, dark = paint > 0.5, (color <= NEAR).all(-1)
        if opaque.any() and not opaque.all():
            if light.all() or dark.all():
                kind, meaning = ("white", "painted anew") if light.all() else ("black", "kept")
                say(f"its transparency is read as the mask: what is opaque, all of it {kind}, is {meaning}")
                return np.asarray(opaque if light.all() else ~opaque)
            if (dark | (color >= 1 - NEAR).all(-1)).mean() < MOSTLY:
                raise UnreadableError(
                    "is in part transparent, and what is opaque in it is neither black nor white: which of the two is "
                    "to be painted anew it does not say; save it in black and white, white for what is painted"
                )
            say("its transparency is laid onto white, so that what is clear is painted anew, too")
    gray: NDArray[Any] = convert_channels(values, 1)[..., 0]
    if values.dtype.kind == "u" and gray.max() == 1:
        say("it holds zeros and ones alone: ones are read as white")
        return np.asarray(gray == 1)
    return np.asarray(gray > top / 2)


def save_result(path: Path, x: Tensor, info: DataInfo, origin: Edited, overwrite: bool = False) -> list[Path]:
    """Write an edited picture, (channels, height, width) in model space, as a PNG file; return the files written.

    Where a PNG file cannot hold the values it is a view of them, and they stand beside it as .npz.
    """
    kind, values = replace(info, shape=tuple(x.shape)), codec_of(info).decode(x)
    write_png(path, to_image(values, kind), origin, overwrite)
    if modality_of(kind).exact(kind):
        return [path]
    packed, beside = io.BytesIO(), path.with_suffix(".npz")
    np.savez_compressed(packed, images=values[None])
    write_file(beside, packed.getvalue(), overwrite)
    return [path, beside]


def view(x: Tensor, info: DataInfo, size: tuple[int, int] | None = None) -> Image.Image:
    """A view of something in model space, 8 bits a channel, enlarged to (height, width) pixel by pixel."""
    kind = replace(info, shape=tuple(x.shape))
    image = viewable(to_image(codec_of(info).decode(x.clamp(-1, 1)), kind))
    return image if size is None else image.resize(size[::-1], Image.Resampling.NEAREST)


def side_by_side(shown: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size with their captions, in a row; grey ones and coloured ones may stand together."""
    captions, images = zip(*shown, strict=True)
    return strip([flatten(image) for image in images], captions)


def edit_record(
    model: AnyModel,
    settings: SampleConfig,
    command: Sequence[str],
    inputs: Sequence[str],
    index: int,
    shape: Sequence[int],
) -> Edited:
    """The record of how a result was made.

    Args:
        command: the words that make it again.
        inputs: the files that they read, each as 'sha256 path'.
        index: of its random stream.
        shape: (channels, height, width) of the result.
    """
    made_by = model.provenance
    return Edited(
        command=tuple(command),
        inputs=tuple(inputs),
        model=short_name(made_by["checkpoint"]),
        step=made_by["step"],
        weights_sha256=made_by["sha256"],
        index=index,
        shape=tuple(shape),
        sample=settings,
        version=__version__,
        device=model.device.type,
    )


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
