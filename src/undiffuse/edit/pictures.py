"""Real pictures in, edited ones out: files as arrays of the model's kind, and a strip that shows both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from undiffuse.data.decode import UnreadableError, quiet_pillow
from undiffuse.data.decode import decode as decode_file
from undiffuse.data.info import DataInfo
from undiffuse.data.listing import READABLE_SUFFIXES
from undiffuse.data.transform import convert_channels
from undiffuse.data.values import decode
from undiffuse.errors import UndiffuseError
from undiffuse.pictures.edited import Edited
from undiffuse.pictures.grid import is_exact, to_image, viewable
from undiffuse.pictures.png import write_file, write_png
from undiffuse.pictures.strip import flatten, strip

KINDS = {1: "grey", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True)
class Picture:
    """A picture of the kind that a model learned.

    Args:
        path: its file.
        sha256: of the file.
        values: (channels, height, width), of the data's type.
    """

    path: Path
    sha256: str
    values: NDArray[Any]


def find_pictures(path: Path) -> list[Path]:
    """A file, or the pictures of a folder in the order of their names; its sub-folders are not looked into.

    Raises:
        UndiffuseError: nothing there, or no pictures in it.
    """
    if not path.exists():
        raise UndiffuseError(f"{path} is not there; IMAGE is a picture's file or a folder of pictures")
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in READABLE_SUFFIXES and file.is_file())
    if not found:
        raise UndiffuseError(f"{path} holds no pictures; IMAGE is a picture's file or a folder of pictures")
    return found


def read_picture(path: Path, info: DataInfo, channels: int | None = None, convert: bool = False) -> Picture:
    """A picture for a model of such data.

    Args:
        path: its file.
        info: of the model's data, whose kind of number it must have.
        channels: how many are wanted; by default the model's.
        convert: make grey of colour, colour of grey and so on, as `undiffuse train --channels` does.

    Raises:
        UndiffuseError: unreadable, of another kind of number or number of channels, or the model knows no pictures.
    """
    wanted = channels or info.channels
    if len(info.spatial) != 2:
        raise UndiffuseError(f"Only models of pictures edit files of pictures; this one learned the shape {info.shape}")
    try:
        content = path.read_bytes()
        with quiet_pillow():
            values = decode_file(content)
    except OSError as error:
        raise UndiffuseError(f"Cannot read {path}: {error.strerror or error}") from None
    except UnreadableError as error:
        raise UndiffuseError(f"{path} {error}") from None
    values = values[..., None] if values.ndim == 2 else values
    if str(values.dtype) != info.dtype:
        raise UndiffuseError(f"The model learned {info.dtype} values, and {path} has {values.dtype}")
    if values.shape[2] != wanted and convert and wanted in KINDS:
        values = convert_channels(values, wanted)
    if values.shape[2] != wanted:
        help = f"; try --channels {KINDS[wanted]}" if wanted in KINDS else ""
        raise UndiffuseError(f"{path} has {values.shape[2]} channels where {wanted} are wanted{help}")
    return Picture(path, hashlib.sha256(content).hexdigest(), np.moveaxis(values, -1, 0))


def read_mask(path: Path, sides: Sequence[int]) -> Tensor:
    """Where a picture is known: 1 where the mask's file is black, 0 where it is white, to be painted anew.

    Args:
        path: a picture of any kind; above half grey is white.
        sides: height and width that it must have.

    Raises:
        UndiffuseError: unreadable, of another size, or all of one colour.
    """
    try:
        with quiet_pillow():
            values = decode_file(path.read_bytes())
    except OSError as error:
        raise UndiffuseError(f"Cannot read the mask {path}: {error.strerror or error}") from None
    except UnreadableError as error:
        raise UndiffuseError(f"The mask {path} {error}") from None
    values = values[..., None] if values.ndim == 2 else values
    if values.shape[:2] != tuple(sides):
        raise UndiffuseError(
            f"The mask {path} has {values.shape[0]} x {values.shape[1]} pixels (height x width) and the picture "
            f"{sides[0]} x {sides[1]}; a mask has its picture's size"
        )
    top = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1.0
    known = torch.from_numpy((convert_channels(values, 1)[..., 0] <= top / 2).astype(np.float32))
    if known.all() or not known.any():
        found = "black: there is nothing to paint" if known.all() else "white: nothing is kept"
        raise UndiffuseError(f"The mask {path} is all {found}; white is what is painted anew, black is kept")
    return known


@dataclass(frozen=True)
class Result:
    """One edited picture and what it was made of.

    Args:
        x: (channels, height, width) in model space.
        info: of the model's data.
        origin: how it was made.
    """

    x: Tensor
    info: DataInfo
    origin: Edited

    @property
    def kind(self) -> DataInfo:
        """The model's data, in the size of this picture."""
        return replace(self.info, shape=tuple(self.x.shape))

    def image(self) -> Image.Image:
        """The values as they are, or a view where a PNG cannot hold them."""
        return to_image(decode(self.x, self.kind), self.kind)

    def save(self, path: Path, overwrite: bool = False) -> list[Path]:
        """The PNG file, and the values beside it as .npz where it cannot hold them; the files written."""
        write_png(path, self.image(), self.origin, overwrite)
        if is_exact(self.kind):
            return [path]
        packed, beside = io.BytesIO(), path.with_suffix(".npz")
        np.savez_compressed(packed, images=decode(self.x, self.kind)[None])
        write_file(beside, packed.getvalue(), overwrite)
        return [path, beside]


def view(x: Tensor, info: DataInfo, size: tuple[int, int] | None = None) -> Image.Image:
    """Something in model space to be looked at, 8 bits a channel, enlarged to (height, width) pixel by pixel."""
    kind = replace(info, shape=tuple(x.shape))
    image = viewable(to_image(decode(x.clamp(-1, 1), kind), kind))
    return image if size is None else image.resize(size[::-1], Image.Resampling.NEAREST)


def side_by_side(shown: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size with their captions, in a row; grey ones and coloured ones may stand together."""
    captions, images = zip(*shown, strict=True)
    return strip([flatten(image) for image in images], captions)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
