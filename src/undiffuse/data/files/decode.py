"""One image file to an array of its own depth, or a reason why not.

Readable: PNG, JPEG (with the phones' MPO), WebP, TIFF, BMP, GIF and PPM, found by content, whatever the name says.
What an image *is* follows from its mode:

| in the file | here |
|---|---|
| 1-bit, grey of 8 bits or fewer | 1 channel, uint8 |
| palette, or colour of 8 bits | 3 channels, uint8; 4 where the file has transparency |
| grey with alpha | 2 channels, uint8 |
| 16-bit grey (PNG, TIFF, PPM; 32-bit integers that fit) | 1 channel, uint16 |
| 16-bit RGB, RGBA PNG | 3, 4 channels, uint16 |
| float TIFF | 1 channel, float32 |

All of these are exact. Refused, because Pillow could only read them by changing values: 16-bit colour in other
formats, with grey + alpha or with a transparent value, PPM scaled to odd maxima, Lab colour, and CMYK and YCbCr where
no --channels is given. Refused, because one file would be many samples: animations and TIFFs of several pages. Colour
profiles are not applied; EXIF orientation is.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from undiffuse.provenance.own_pictures import made_for_the_eye

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""Formats that Pillow may try: not EPS, which would run another program, nor what it would cut to 8 bits unasked."""

MAX_FILE = 1 << 29
"""Bytes of one encoded image; larger ones are refused unread."""
MAX_PIXELS = 80_000_000
"""Above this the header is taken for a decompression bomb; a little under the number at which Pillow warns."""

_NOT_RGB = {"CMYK", "YCbCr", "LAB", "HSV"}
_GRAY16 = {"I;16", "I;16L", "I;16B", "I;16N"}
NOT_FINITE = "has values that are NaN or infinite; put numbers in their place first (numpy.nan_to_num)"
TO_RGB = "`channels=rgb` converts it"
"""Ends the reason of files that are read once they may be converted."""
_CONVERTIBLE = ("CMYK", "YCbCr")
"""Colour that Pillow makes RGB of, by formulas without a colour profile."""
_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


class UnreadableError(Exception):
    """The reason why one file cannot be used; the data set goes on without it."""


class ForTheEyeError(UnreadableError):
    """A picture that undiffuse made to be looked at (`own_pictures`): no data, and nothing bad."""


@dataclass(frozen=True)
class Header:
    """The form of an image before its pixels are read; height and width as seen, after EXIF orientation."""

    height: int
    width: int
    channels: int
    dtype: str


def too_large(size: int) -> str:
    """The reason to refuse an encoded image of so many bytes; '' for none."""
    return f"has {size >> 20:,} MiB; more than {MAX_FILE >> 20} are refused" if size > MAX_FILE else ""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow's warning of decompression bombs becomes an error; its remarks on odd tags are dropped.

    Warning filters belong to the process, so this stands around a whole pass and not inside the threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(file: BinaryIO, convert: bool = False) -> Header:
    """Shape and depth of an image, without decoding it; ``convert`` as for `decode`. Raises `UnreadableError`."""
    with refusing(), _open(file, data=True) as image:
        channels, dtype = page_kind(image, convert)
        width, height = image.size
        # TIFF is turned by Pillow itself, and PNG would be decoded to look for a late tag
        if image.format != "TIFF" and _orientation(image, look_further=image.format != "PNG") >= 5:
            width, height = height, width
        return Header(height, width, channels, dtype)


def decode(data: bytes, at_least: tuple[int, int] | None = None, convert: bool = False) -> NDArray[Any]:
    """The pixels of an image file.

    Args:
        data: the file's bytes.
        at_least: height and width that suffice (as seen). A JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size,
            which is several times faster, as long as it stays twice as large as this.
        convert: CMYK and YCbCr colour may become RGB, because the user has asked for other channels.

    Returns:
        (height, width, channels), uint8, uint16 or float32.

    Raises:
        UnreadableError: with the reason.
    """
    with refusing():
        with _open(io.BytesIO(data)) as image:
            page_kind(image, convert)
            if at_least and image.format in ("JPEG", "MPO"):
                turned = _orientation(image, look_further=True) >= 5
                height, width = at_least[::-1] if turned else at_least
                image.draft(None, (2 * width, 2 * height))
            pixels = _deep_color(data) if _is_deep_color(image) else page_pixels(image, convert)
            orientation = _orientation(image, look_further=True)
        if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
            raise UnreadableError(NOT_FINITE)
        return _turn(pixels, orientation)


@contextmanager
def refusing() -> Iterator[None]:
    """Turns whatever a decoder raises on damaged bytes (it may be anything) into a reason."""
    try:
        yield
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError(f"is no image that can be read ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombWarning as error:
        raise UnreadableError(f"is a decompression bomb: {error}") from error
    except Exception as error:
        said = " ".join(str(error).split()) or "no reason given"
        raise UnreadableError(f"cannot be decoded: {said[:160]} ({type(error).__name__})") from error


def _open(file: BinaryIO, data: bool = False) -> ImageFile:
    image = Image.open(file, formats=FORMATS)
    if data and (shown := made_for_the_eye(image)):
        raise ForTheEyeError(shown)
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(f"claims {image.width} x {image.height} pixels; more than {MAX_PIXELS:,} are refused")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # an MPO's further frames are previews
        raise UnreadableError("has more than one frame or page; save each as a file")
    return image


def page_kind(image: ImageFile, convert: bool | None = None) -> tuple[int, str]:
    """Channels and type, or the reason why Pillow cannot give the values unchanged.

    Where ``convert``, colour that has no exact RGB is RGB all the same; where None, there is no asking for it.
    """
    mode, seen_through = image.mode, image.has_transparency_data
    if mode in _CONVERTIBLE and convert:
        return 3, "uint8"
    if mode in _NOT_RGB:
        may = convert is not None and mode in _CONVERTIBLE
        raise UnreadableError(f"is {mode}, which has no exact RGB; {TO_RGB if may else 'convert it to RGB'}")
    if mode in _GRAY16 or mode == "I":
        if "transparency" in image.info:
            raise UnreadableError("is 16-bit grey with a transparent value; convert it to 16-bit grey")
        _check_scale(image)
        return 1, "uint16"
    if mode == "F":
        return 1, "float32"
    _check_scale(image)
    if _is_deep_color(image):
        if image.format != "PNG" or _rawmode(image).startswith("LA"):
            raise UnreadableError("has 16-bit colour in a form that would be cut to 8 bits; save it as 16-bit RGB PNG")
        if mode == "RGB" and seen_through:
            raise UnreadableError("is 16-bit RGB with a transparent value; convert it to 16-bit RGBA")
        return _BANDS[mode], "uint16"
    if mode in ("1", "L", "LA", "La"):
        return (2 if seen_through else 1), "uint8"
    if mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        return (4 if seen_through else 3), "uint8"
    raise UnreadableError(f"has pixels of the unusual kind '{mode}'; convert it to RGB or grey")


def _rawmode(image: ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _is_deep_color(image: ImageFile) -> bool:
    """A 16-bit file that Pillow would hand out in an 8-bit mode."""
    return image.mode in _BANDS and ";16" in _rawmode(image)


def _check_scale(image: ImageFile) -> None:
    """Pillow stretches PPM values to 255 or 65535, and cuts colour above 255 to 8 bits."""
    if image.format == "PPM" and image.tile and image.tile[0].codec_name != "raw":
        args = image.tile[0].args
        if isinstance(args, tuple) and args[-1] != 255:
            raise UnreadableError(f"is a PPM with values up to {args[-1]}, which would be rescaled; save it as PNG")


def page_pixels(image: ImageFile, convert: bool | None = None) -> NDArray[Any]:
    """The values of the current page, (height, width, channels)."""
    channels, dtype = page_kind(image, convert)
    image.load()
    if dtype == "uint8":
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        plain = image.mode == mode and "transparency" not in image.info
        return np.atleast_3d(np.array(image if plain else image.convert(mode)))
    pixels = np.atleast_3d(np.array(image))
    if pixels.dtype.itemsize > 2 and dtype == "uint16" and (pixels.min() < 0 or pixels.max() > 65535):
        raise UnreadableError(
            f"has integers from {pixels.min()} to {pixels.max()}, outside 0..65535; save them as 32-bit floats"
        )
    return pixels.astype(dtype)


def _deep_color(data: bytes) -> NDArray[Any]:
    """16-bit RGB(A) PNG, which Pillow has no mode for.

    PNG stores the high byte first. Asked for big-endian values, Pillow keeps the first byte of each pair; asked for
    little-endian ones, the second. Two passes together lose nothing.
    """
    halves = []
    for order in ("16B", "16L"):
        with _open(io.BytesIO(data)) as image:
            image.tile = [tile._replace(args=str(tile.args).replace("16B", order)) for tile in image.tile]
            image.load()
            halves.append(np.array(image, dtype=np.uint16))
    return (halves[0] << 8) | halves[1]


def _orientation(image: ImageFile, look_further: bool) -> int:
    """EXIF orientation, 1 to 8. For PNG, ``look_further`` reads the whole file."""
    if not look_further and not any("exif" in str(key) for key in image.info):
        return 1
    value = image.getexif().get(0x0112, 1)
    return value if value in range(1, 9) else 1


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the camera's orientation (EXIF 2.3, tag 274): rows and columns as the eye sees them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
