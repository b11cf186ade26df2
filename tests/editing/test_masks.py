"""How masks of files are read: by their brightness, by their transparency, and where they hold zeros and ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from undiffuse.editing.images import read_mask
from undiffuse.errors import UndiffuseError

PAINTED = np.zeros((6, 8), bool)
PAINTED[1:3, 2:7] = True


def layer(color, mode="RGBA", alpha=PAINTED):
    """One colour, opaque where ``alpha`` is."""
    values = np.zeros((*alpha.shape, 4), np.uint8)
    values[..., :3], values[..., 3] = color, 255 * alpha
    return Image.fromarray(values).convert(mode)


def read(tmp_path, image):
    image.save(tmp_path / "mask.png")
    said = []
    return read_mask(tmp_path / "mask.png", PAINTED.shape, said.append).numpy() == 0, " ".join(said)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_white_paint_on_a_transparent_layer_is_what_is_painted(tmp_path, mode):
    painted, said = read(tmp_path, layer(255, mode))
    assert np.array_equal(painted, PAINTED)
    assert "all of it white, is painted anew" in said


def test_black_paint_on_a_transparent_layer_is_what_is_kept(tmp_path):
    painted, said = read(tmp_path, layer(0))
    assert np.array_equal(painted, ~PAINTED)
    assert "all of it black, is kept" in said


def test_white_under_the_transparent_part_changes_nothing(tmp_path):
    values = np.full((*PAINTED.shape, 4), 255, np.uint8)
    values[..., 3] = 255 * PAINTED
    values[0, 0, 3] = 30  # a soft edge
    painted, _ = read(tmp_path, Image.fromarray(values))
    assert np.array_equal(painted, PAINTED)


def test_paint_of_a_soft_brush_is_paint(tmp_path):
    painted, _ = read(tmp_path, layer(255, alpha=0.3 * PAINTED))
    assert np.array_equal(painted, PAINTED)


def test_an_opaque_layer_is_read_by_its_brightness_and_nothing_is_said(tmp_path):
    values = np.repeat(255 * PAINTED[..., None].astype(np.uint8), 3, 2)
    opaque = np.full((*PAINTED.shape, 1), 255, np.uint8)
    for image in (values, np.concatenate([values, opaque], 2), values[..., 0], PAINTED):
        painted, said = read(tmp_path, Image.fromarray(image))
        assert np.array_equal(painted, PAINTED)
        assert said == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_zeros_and_ones_the_ones_are_white(tmp_path, dtype):
    painted, said = read(tmp_path, Image.fromarray(PAINTED.astype(dtype)))
    assert np.array_equal(painted, PAINTED)
    assert "ones are read as white" in said


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(40 * PAINTED.astype(np.uint8)), r"all black: .* are 0 to 40, and white begins above 127\.5"),
        (Image.fromarray(np.zeros((6, 8), np.uint8)), "all black: there is nothing to paint"),
        (layer(7, alpha=~PAINTED & PAINTED), r"all white: .* its transparency laid onto white are 255 to 255"),
    ],
)
def test_a_mask_of_one_colour_is_refused_with_what_was_found(tmp_path, image, words):
    with pytest.raises(UndiffuseError, match=words):
        read(tmp_path, image)


def photograph(alpha):
    values = np.random.default_rng(0).integers(0, 256, (*alpha.shape, 4), np.uint8)
    values[..., 3] = 255 * alpha
    return Image.fromarray(values)


@pytest.mark.parametrize(
    "image",
    [layer((255, 0, 0)), layer((0, 0, 255)), layer(110), photograph(PAINTED), photograph(~PAINTED)],
    ids=["red", "blue", "grey", "cut out", "hole"],
)
def test_what_neither_black_nor_white_on_a_transparent_layer_means_is_asked(tmp_path, image):
    """Red paint was taken for black, and so kept; of a photograph with a hole the bright parts were painted, too."""
    with pytest.raises(UndiffuseError, match=r"mask\.png is in part transparent, .* neither black nor white: which"):
        read(tmp_path, image)


def test_black_and_white_on_a_transparent_layer_is_laid_onto_white_and_said_to_be(tmp_path):
    values = np.zeros((*PAINTED.shape, 4), np.uint8)
    values[3:, :, 3] = 255
    values[4, 1:6] = 255
    painted, said = read(tmp_path, Image.fromarray(values))
    assert np.array_equal(painted, (values[..., 3] == 0) | (values[..., 0] == 255))
    assert "laid onto white, so that what is clear is painted anew, too" in said
