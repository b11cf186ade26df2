from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.data.files.decode import Header, UnreadableError, decode, quiet_pillow, read_header

Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_pillow():
        yield


def both(data: bytes) -> tuple[Header, np.ndarray[Any, Any]]:
    """Header and pixels; they must agree: the first pass of a preparation promises what the second has to keep."""
    header, pixels = read_header(io.BytesIO(data)), decode(data)
    assert (header.height, header.width, header.channels) == pixels.shape
    assert header.dtype == str(pixels.dtype)
    return header, pixels


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [*((kind, shape) for kind in ("PNG", "TIFF", "BMP", "PPM") for shape in ((7, 5), (7, 5, 3))), ("WEBP", (7, 5, 3))],
)
def test_8_bit_pixels_are_exact_in_lossless_formats(
    kind: str, shape: tuple[int, ...], rng: np.random.Generator, encoded: Encode
) -> None:
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    found = both(encoded(pixels, kind, **({"lossless": True} if kind == "WEBP" else {})))[1]
    assert np.array_equal(found, pixels.reshape(7, 5, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_stays_16_bit(kind: str, rng: np.random.Generator, encoded: Encode) -> None:
    pixels = rng.integers(0, 65536, (9, 4), dtype=np.uint16)
    assert np.array_equal(both(encoded(pixels, kind))[1][..., 0], pixels)


def test_16_bit_big_endian_tiff_is_read_in_the_right_order(rng: np.random.Generator, encoded: Encode) -> None:
    pixels = rng.integers(0, 65536, (9, 4), dtype=np.uint16)
    assert np.array_equal(both(encoded(pixels.astype(">u2"), "TIFF"))[1][..., 0], pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_keeps_every_bit_of_every_channel(
    channels: int, rng: np.random.Generator, deep_png: Callable[..., bytes]
) -> None:
    pixels = rng.integers(0, 65536, (11, 6, channels), dtype=np.uint16)
    assert np.array_equal(both(deep_png(pixels))[1], pixels)


def test_16_bit_grey_with_alpha_is_refused_rather_than_cut(
    rng: np.random.Generator, deep_png: Callable[..., bytes]
) -> None:
    with pytest.raises(UnreadableError, match="16-bit colour"):
        decode(deep_png(rng.integers(0, 65536, (4, 4, 2), dtype=np.uint16)))


def test_16_bit_ppm_colour_is_refused_rather_than_cut(rng: np.random.Generator) -> None:
    with pytest.raises(UnreadableError, match="65535"):
        decode(b"P6 5 4 65535\n" + rng.bytes(5 * 4 * 6))
    with pytest.raises(UnreadableError, match="100"):
        decode(b"P5 5 4 100\n" + bytes(20))


def test_float_tiff_stays_float(rng: np.random.Generator, encoded: Encode) -> None:
    pixels = rng.normal(size=(5, 8)).astype(np.float32) * 1e4
    assert np.array_equal(both(encoded(pixels, "TIFF"))[1][..., 0], pixels)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_float_tiff_with_nan_or_infinity_is_refused(bad: float, encoded: Encode) -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 2] = bad
    with pytest.raises(UnreadableError, match="NaN"):
        decode(encoded(pixels, "TIFF"))


def test_32_bit_integers_are_16_bit_if_they_fit_and_refused_otherwise(encoded: Encode) -> None:
    pixels = np.array([[0, 65535], [300, 70]], np.int32)
    assert np.array_equal(both(encoded(pixels, "TIFF"))[1][..., 0], pixels)
    with pytest.raises(UnreadableError, match=r"outside 0\.\.65535"):
        decode(encoded(pixels + 1, "TIFF"))
    with pytest.raises(UnreadableError, match=r"outside 0\.\.65535"):
        decode(encoded(pixels - 1, "TIFF"))


def test_one_bit_is_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    assert both(save(Image.fromarray(bits), "PNG"))[1][..., 0].tolist() == [[255, 0, 255]]


def test_palette_is_the_colours_it_stands_for(rng: np.random.Generator) -> None:
    indices = rng.integers(0, 3, (6, 6), dtype=np.uint8)
    colors = np.array([[9, 8, 7], [200, 100, 50], [0, 255, 1]], np.uint8)
    image = Image.frombytes("P", (6, 6), indices.tobytes())
    image.putpalette(colors.tobytes())
    assert np.array_equal(both(save(image, "PNG"))[1], colors[indices])
    transparent = both(save(image, "PNG", transparency=1))[1]
    assert np.array_equal(transparent[..., :3], colors[indices])
    assert np.array_equal(transparent[..., 3], np.where(indices == 1, 0, 255))


def test_alpha_is_a_channel(rng: np.random.Generator, encoded: Encode) -> None:
    for channels in (2, 4):
        pixels = rng.integers(0, 256, (5, 5, channels), dtype=np.uint8)
        assert np.array_equal(both(encoded(pixels))[1], pixels)


def test_a_transparent_colour_is_alpha(encoded: Encode) -> None:
    gray = both(encoded(np.array([[3, 9]], np.uint8), transparency=9))[1]
    assert gray.tolist() == [[[3, 255], [9, 0]]]
    rgb = both(encoded(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), transparency=(4, 5, 6)))[1]
    assert rgb[..., 3].tolist() == [[255, 0]]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_colour_that_has_no_exact_rgb_is_refused(mode: str) -> None:
    with pytest.raises(UnreadableError, match=mode):
        decode(save(Image.new(mode, (4, 4)), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_several_frames_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableError, match="more than one"):
        decode(data)
    with pytest.raises(UnreadableError, match="more than one"):
        read_header(io.BytesIO(data))


def test_a_phones_jpeg_with_a_preview_is_its_first_picture(rng: np.random.Generator) -> None:
    main, preview = Image.new("RGB", (16, 8), "red"), Image.new("RGB", (4, 2), "blue")
    header, pixels = both(save(main, "MPO", save_all=True, append_images=[preview]))
    assert (header.height, header.width) == (8, 16)
    assert pixels[..., 0].min() > 200


def orient(pixels: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """What a camera in this position stores, so that undoing it gives ``pixels`` (EXIF 2.3, table of tag 274)."""
    stored_row0_col0 = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: np.transpose(a, (1, 0, 2)),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(stored_row0_col0[orientation](pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_undone(kind: str, orientation: int, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = save(Image.fromarray(orient(pixels, orientation)), kind, exif=exif, **options)
    assert np.array_equal(both(data)[1], pixels)


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_is_drafted_only_down_to_twice_what_is_wanted(orientation: int) -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[None].repeat(128, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(Image.fromarray(orient(ramp[..., None], orientation)[..., 0]), "JPEG", exif=exif, quality=95)
    assert decode(data).shape == (128, 256, 1)
    assert decode(data, at_least=(16, 32)).shape == (32, 64, 1)
    assert decode(data, at_least=(128, 256)).shape == (128, 256, 1)
    small = decode(data, at_least=(16, 32))[..., 0].astype(int)
    assert np.abs(small - ramp.reshape(32, 4, 64, 4).mean((1, 3))).max() < 3


def test_bombs_are_refused_by_their_header(bomb: bytes) -> None:
    for read in (lambda: decode(bomb), lambda: read_header(io.BytesIO(bomb))):
        with pytest.raises(UnreadableError, match=r"bomb|claims"):
            read()


def test_our_limit_holds_where_pillow_has_none(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnreadableError, match="60000 x 60000"):
        decode(bomb)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
def test_truncated_files_are_refused(kind: str, rng: np.random.Generator, encoded: Encode) -> None:
    data = encoded(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), kind)
    for length in (0, 1, 10, len(data) // 2):
        with pytest.raises(UnreadableError):
            decode(data[:length])


def test_content_decides_and_not_the_name(encoded: Encode) -> None:
    with pytest.raises(UnreadableError, match="no image"):
        decode(b"Dear Sir, this is a letter, and not the PNG file that its name promises.")


def test_postscript_is_never_run() -> None:
    with pytest.raises(UnreadableError, match="no image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_16_bit_colour_with_a_transparent_value_is_refused_rather_than_made_opaque(
    rng: np.random.Generator, deep_png: Callable[[Any], bytes]
) -> None:
    data = deep_png(rng.integers(0, 65536, (4, 4, 3), dtype=np.uint16))
    content = b"tRNS" + bytes(6)
    at = data.index(b"IDAT") - 4
    told = data[:at] + struct.pack(">I", 6) + content + struct.pack(">I", zlib.crc32(content)) + data[at:]
    for read in (decode, lambda given: read_header(io.BytesIO(given))):
        with pytest.raises(UnreadableError, match="transparent value; convert it to 16-bit RGBA"):
            read(told)


def test_integers_below_zero_are_told_to_be_saved_as_floats(encoded: Encode) -> None:
    with pytest.raises(UnreadableError, match=r"from -5 to 3, .*; save them as 32-bit floats"):
        decode(encoded(np.array([[-5, 3]], np.int32), "TIFF"))
