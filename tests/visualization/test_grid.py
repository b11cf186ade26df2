"""Pictures become one picture that shows them all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from undiffuse.data.info import DataInfo
from undiffuse.visualization.grid import default_scale, enlarge, grid, to_image, viewable
from undiffuse.visualization.strip import evenly, flatten, strip


def info(shape: tuple[int, ...], dtype: str = "uint8", low: float = 0, high: float | None = None) -> DataInfo:
    top = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype] if high is None else high
    return DataInfo("x", "", 1, shape, dtype, low, top, (0.0,) * shape[0], (1.0,) * shape[0])


def test_sixteen_bit_grey_is_scaled_for_the_eye_and_not_clipped() -> None:
    image = to_image(np.array([[[0, 257 * 100, 65535]]], np.uint16), info((1, 1, 3), "uint16"))
    assert np.asarray(viewable(image)).tolist() == [[0, 100, 255]]


@pytest.mark.parametrize(("side", "scale"), [(28, 3), (32, 2), (64, 1), (65, 1), (256, 1), (1, 64)])
def test_small_pictures_are_enlarged_by_a_whole_factor(side: int, scale: int) -> None:
    assert default_scale(side, side) == scale


def test_enlarging_repeats_pixels_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4), np.uint8)
    assert np.array_equal(np.asarray(enlarge(Image.fromarray(pixels), 3)), np.kron(pixels, np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_grid_holds_every_picture_at_its_place(mode: str) -> None:
    random = np.random.default_rng(0)
    bands = len(mode)
    arrays = [random.integers(0, 256, (4, 6, bands), np.uint8) for _ in range(5)]
    sheet = grid([Image.fromarray(a.squeeze()) for a in arrays], columns=3, padding=2, scale=1)
    assert (sheet.mode, sheet.size) == (mode, (3 * 8 + 2, 2 * 6 + 2))
    pixels = np.asarray(sheet).reshape(sheet.height, sheet.width, bands)
    for k, array in enumerate(arrays):
        top, left = 2 + k // 3 * 6, 2 + k % 3 * 8
        assert np.array_equal(pixels[top : top + 4, left : left + 6], array)


def test_a_grid_of_sixty_four_is_eight_by_eight_and_one_of_two_has_no_empty_place() -> None:
    tile = Image.new("L", (64, 64))
    assert grid([tile] * 64, padding=0).size == (512, 512)
    assert grid([tile] * 2, padding=0).size == (128, 64)


def test_a_strip_puts_pictures_in_a_row_with_words_below() -> None:
    tiles = [Image.new("L", (28, 28), value) for value in (0, 255)]
    bare, worded = strip(tiles, scale=1, padding=6), strip(tiles, ["t = 0", "t = 9"], scale=1, padding=6)
    assert bare.size == (2 * 34 + 6, 28 + 12)
    assert worded.height > bare.height
    assert worded.getpixel((8, 8)) == (0, 0, 0)
    assert np.asarray(worded.crop((0, 36, worded.width, worded.height))).min() < 200


def test_transparent_pictures_stand_on_white() -> None:
    assert flatten(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert flatten(Image.new("LA", (1, 1), (0, 0))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("count", "wanted"), [(1, 8), (2, 8), (8, 8), (60, 8), (1001, 60)])
def test_evenly_chosen_places_begin_at_the_first_and_end_at_the_last(count: int, wanted: int) -> None:
    places = evenly(count, wanted)
    assert len(places) == len(set(places)) == min(count, wanted)
    assert (places[0], places[-1]) == (0, count - 1)
