from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from undiffuse.data.transform import convert_channels, keeps_aspect, resize


def test_grey_of_8_bit_rgb_is_pillows(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(convert_channels(image, 1)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


def test_grey_of_16_bits_keeps_16_bits(rng: np.random.Generator) -> None:
    gray = rng.integers(0, 65536, (32, 32, 1), dtype=np.uint16)
    assert np.array_equal(convert_channels(np.repeat(gray, 3, axis=2), 1), gray)


def test_grey_of_float_weights_the_channels() -> None:
    image = np.eye(3, dtype=np.float32)[None]
    np.testing.assert_allclose(convert_channels(image, 1).ravel(), [0.299, 0.587, 0.114], atol=1e-5)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_alpha_goes_onto_white(dtype: type, white: int) -> None:
    half = white // 2 + 1
    image = np.array([[[10, 20, 30, white], [10, 20, 30, 0], [0, 0, 0, half]]], dtype)
    rgb = convert_channels(image, 3)
    assert rgb[0, 0].tolist() == [10, 20, 30]
    assert rgb[0, 1].tolist() == [white] * 3
    assert rgb[0, 2].tolist() == [white - half] * 3
    assert convert_channels(image, 1)[0, 1, 0] == white


def test_every_kind_becomes_every_other(rng: np.random.Generator) -> None:
    for channels in (1, 2, 3, 4):
        image = rng.integers(0, 256, (2, 2, channels), dtype=np.uint8)
        for wanted in (1, 3, 4):
            assert convert_channels(image, wanted).shape == (2, 2, wanted)


def test_new_alpha_is_opaque_and_old_alpha_stays(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    assert (convert_channels(rgb, 4)[..., 3] == 255).all()
    gray_alpha = rng.integers(0, 256, (3, 3, 2), dtype=np.uint8)
    assert np.array_equal(convert_channels(gray_alpha, 4)[..., [0, 3]], gray_alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(16, 12), (61, 90)])
def test_resize_agrees_with_torchs_antialiased_bicubic(
    dtype: type, size: tuple[int, int], rng: np.random.Generator
) -> None:
    coarse = rng.uniform(0.2, 0.8, (8, 6, 3)).repeat(5, 0).repeat(5, 1)
    top = 255 if dtype == np.uint8 else 65535 if dtype == np.uint16 else 1
    image = (coarse * top).astype(dtype)
    ours = resize(image, size, "none", alpha=False)
    assert ours.dtype == dtype
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
    low, high = (image.min((0, 1)), image.max((0, 1))) if dtype == np.float32 else (0, top)
    error = np.abs(ours.astype(np.float64) - theirs.clip(low, high)).max()
    assert error <= (2e-6 if dtype == np.float32 else 1.01)


def test_16_bit_resize_keeps_more_than_8_bits() -> None:
    ramp = np.linspace(20000, 20400, 64).astype(np.uint16)[None].repeat(64, 0)[..., None]
    small = resize(ramp, (32, 32), "none", alpha=False)
    assert len(np.unique(small)) == 32
    assert abs(small.astype(int).mean() - ramp.mean()) < 1


def test_center_crop_is_the_middle(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(resize(image, (20, 20), "center", alpha=False), image[:, 5:25])
    assert np.array_equal(resize(image, (20, 30), "center", alpha=False), image)


def test_invisible_colours_do_not_bleed() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, :4] = (200, 0, 0, 255)
    image[:, 4:] = (0, 255, 0, 0)
    small = resize(image, (3, 3), "none", alpha=True)
    visible = small[small[..., 3] > 8]
    assert (visible[:, 1] == 0).all()
    assert (abs(visible[:, 0].astype(int) - 200) <= 1).all()


def test_the_same_size_is_the_same_array(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (5, 7, 1), dtype=np.uint8)
    assert resize(image, (5, 7), "none", alpha=False) is image


def test_aspect_ratio_fits_to_the_nearest_pixel() -> None:
    assert keeps_aspect(480, 640, (48, 64))
    assert keeps_aspect(333, 500, (64, 96))
    assert not keeps_aspect(480, 640, (64, 64))
