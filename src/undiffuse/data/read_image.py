"""Single pictures of the user's, read as a model's data were: to be edited, or for samples to go with."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from undiffuse.config.data import DataConfig
from undiffuse.data.crops import checked_size
from undiffuse.data.files.decode import ForTheEyeError, UnreadableError, decode, quiet_pillow, read_header
from undiffuse.data.files.listing import READABLE_SUFFIXES
from undiffuse.data.info import DataInfo
from undiffuse.data.transform import convert_channels, keeps_aspect, resize
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.own_pictures import WHY

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {1: "grey", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True)
class Picture:
    """A picture, (channels, height, width) of the data's type, and the sha256 of its file."""

    path: Path
    sha256: str
    values: NDArray[Any]


def find_pictures(path: Path) -> list[Path]:
    """A file, or the pictures of a folder in the order of their names; its sub-folders are not looked into.

    Grids, strips and films of undiffuse's are left out, and said.
    """
    if not path.exists():
        raise UndiffuseError(f"{path} is not there; IMAGE is a picture's file or a folder of pictures")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READABLE_SUFFIXES and file.is_file())
    found = [file for file in files if not _left_out(file)]
    if not found:
        raise UndiffuseError(f"{path} holds no pictures; IMAGE is a picture's file or a folder of pictures")
    return found


def _left_out(file: Path) -> bool:
    """True for a picture that undiffuse made to be looked at, which is said: it is not meant."""
    try:
        with file.open("rb") as content, quiet_pillow():
            read_header(content)
    except ForTheEyeError as error:
        print(f"left out: {file} {str(error).removeprefix(WHY)}, made to be looked at", file=sys.stderr)
        return True
    except (OSError, UnreadableError):  # whoever reads it says what is wrong with it
        pass
    return False


def read_picture(path: Path, info: DataInfo, channels: int | None = None, convert: bool = False) -> Picture:
    """A picture for a model of such data.

    Args:
        path: of the file.
        info: of the model's data.
        channels: by default the model's.
        convert: make grey of colour, colour of grey and so on, as `channels` does for data.

    Raises:
        UndiffuseError: unreadable, of another kind of number or number of channels, or the model knows no pictures.
    """
    wanted = channels or info.channels
    if len(info.spatial) != 2:
        raise UndiffuseError(f"Only models of pictures edit files of pictures; this one learned the shape {info.shape}")
    try:
        content = path.read_bytes()
        with quiet_pillow():
            values = decode(content)
    except OSError as error:
        raise UndiffuseError(f"Cannot read {path}: {error.strerror or error}") from None
    except UnreadableError as error:
        raise UndiffuseError(f"{path} {error}") from None
    if str(values.dtype) != info.dtype:
        raise UndiffuseError(f"The model learned {info.dtype} values, and {path} has {values.dtype}")
    if values.shape[2] != wanted and convert and wanted in KINDS:
        values = convert_channels(values, wanted)
    if values.shape[2] != wanted:
        help = f"; try `channels={KINDS[channels]}`" if channels in KINDS else ""
        raise UndiffuseError(f"{path} has {values.shape[2]} channels where {wanted} are wanted{help}")
    return Picture(path, hashlib.sha256(content).hexdigest(), np.moveaxis(values, -1, 0))


def read_pairs(
    path: Path, info: DataInfo | None, config: DataConfig
) -> tuple[Float[Tensor, "rows channels height width"], str]:
    """Pictures for samples to go with, prepared as those of the training were, and one sha256 of all of their files.

    Args:
        path: a file, or a folder of pictures.
        info: `DataInfo.pair`.
        config: of the training's data.
    """
    from undiffuse.data.codec import codec_of  # loads torch, which nobody needs to read a picture

    assert info is not None  # a model that is told pictures has learned from some
    size = checked_size(config)
    rows, digests = [], []
    for file in find_pictures(path):
        picture = read_picture(file, info, convert=config.channels != "keep")
        values = picture.values
        if size is not None and (config.crop == "center" or keeps_aspect(values.shape[1], values.shape[2], size)):
            alpha = info.channels in (2, 4)
            values = np.moveaxis(resize(np.moveaxis(values, 0, -1), size, config.crop, alpha), -1, 0)
        if values.shape[1:] != info.spatial:
            raise UndiffuseError(
                f"{file} has {values.shape[1]} x {values.shape[2]} pixels (height x width), and the pictures that the "
                f"model learned with have {' x '.join(map(str, info.spatial))}"
            )
        rows.append(values)
        digests.append(picture.sha256)
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return codec_of(info).encode(np.stack(rows)), digest
