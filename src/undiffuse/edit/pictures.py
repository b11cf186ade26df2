"""Real pictures in, edited ones out: files as arrays of the model's kind, and a strip that shows both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from undiffuse.data.decode import UnreadableError, quiet_pillow
from undiffuse.data.decode import decode as decode_file
from undiffuse.data.info import DataInfo
from undiffuse.data.transform import convert_channels
from undiffuse.data.values import decode
from undiffuse.errors import UndiffuseError
from undiffuse.pictures.edited import Edited
from undiffuse.pictures.grid import is_exact, to_image, viewable
from undiffuse.pictures.png import write_file, write_png
from undiffuse.pictures.strip import flatten, strip


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
