"""Samples become pictures and files without losing a value where a PNG can hold them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.registry import MODALITIES, modality_of
from undiffuse.modalities.signals import Signals
from undiffuse.model.samples import Samples

SHAPES = [(2, 9), (3, 4, 5), (1, 4, 5, 6)]


def info(shape: tuple[int, ...], dtype: str = "uint8", low: float = 0, high: float | None = None) -> DataInfo:
    top = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype] if high is None else high
    return DataInfo("x", "", 1, shape, dtype, low, top, (0.0,) * shape[0], (1.0,) * shape[0])


def picture(values: Any, what: DataInfo) -> Image.Image:
    return modality_of(what).preview(values, what)


def through_png(image: Image.Image) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, "PNG")
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (2, "uint8"), (3, "uint8"), (4, "uint8"), (1, "uint16")])
def test_exact_pictures_keep_every_value_through_a_png_file(channels: int, dtype: str) -> None:
    what = info((channels, 5, 7), dtype)
    array = np.random.default_rng(0).integers(0, int(what.high) + 1, what.shape).astype(dtype)
    assert modality_of(what).exact(what)
    pixels = through_png(picture(array, what)).reshape(5, 7, channels)
    assert np.array_equal(np.moveaxis(pixels, -1, 0), array)


@pytest.mark.parametrize("shape", [(3, 4, 4), (5, 4, 4), (1, 4, 4, 4), (1, 4)])
def test_sixteen_bit_colour_volumes_and_signals_are_views(shape: tuple[int, ...]) -> None:
    what = info(shape, "uint16")
    assert not modality_of(what).exact(what)
    assert picture(np.full(shape, 65535, np.uint16), what).mode in ("L", "RGB")


def test_a_float_picture_maps_low_to_black_and_high_to_white() -> None:
    what = info((1, 1, 3), "float32", low=-2.0, high=6.0)
    assert np.asarray(picture(np.array([[[-2.0, 2.0, 6.0]]], np.float32), what)).tolist() == [[0, 128, 255]]


def test_a_float_picture_of_one_single_value_does_not_divide_by_zero() -> None:
    what = info((1, 2, 2), "float32", low=3.0, high=3.0)
    assert np.asarray(picture(np.full((1, 2, 2), 3.0, np.float32), what)).max() == 0


def test_five_channels_stand_side_by_side() -> None:
    array = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 3), np.uint8)
    image = picture(array, info((5, 2, 3)))
    assert image.size == (15, 2)
    assert np.asarray(image)[0].tolist() == [k for k in range(5) for _ in range(3)]


def test_a_volume_shows_its_three_middle_slices() -> None:
    array = np.zeros((1, 4, 5, 6), np.uint8)
    array[0, 2] = 100  # depth's middle slice
    pixels = np.asarray(picture(array, info((1, 4, 5, 6))))
    assert pixels.shape == (5, 6 + 6 + 5)
    assert (pixels[:, :6] == 100).all()
    assert (pixels[:4, 6:12] == 100)[2].all()
    assert not pixels[4, 6:].any()  # padding below the lower slices


def test_a_signal_is_plotted_with_high_values_above() -> None:
    rising = np.linspace(0, 255, 64).astype(np.uint8)[None]
    ink = np.asarray(picture(rising, info((1, 64))).convert("L")) < 120
    left, right = ink[:, :64].nonzero()[0].mean(), ink[:, -64:].nonzero()[0].mean()
    assert left > right


@pytest.mark.parametrize("shape", SHAPES)
def test_a_kind_is_told_by_its_axes_and_names_each_of_them(shape: tuple[int, ...]) -> None:
    kind = modality_of(info(shape))
    assert kind is MODALITIES[len(shape) - 1]
    assert len(kind.axes.split(" x ")) == len(shape) - 1


def test_a_tile_is_one_plane_of_the_values() -> None:
    volume = np.arange(2 * 5 * 3 * 4).reshape(2, 5, 3, 4)
    assert np.array_equal(modality_of(info(volume.shape)).tile(volume), volume[:, 2])
    signal = np.arange(16).reshape(1, 16)
    assert np.array_equal(modality_of(info(signal.shape)).tile(signal), np.repeat(signal[:, None], 2, axis=1))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_file_of_a_sample_is_the_one_that_sampling_writes(shape: tuple[int, ...], tmp_path: Path) -> None:
    what, values = info(shape), np.random.default_rng(1).integers(0, 256, (1, *shape), np.uint8)
    samples = Samples(values, what, 7, (3,), SampleConfig(), {"sha256": "0" * 64})
    samples.save_pictures(tmp_path)
    kind, path = modality_of(what), tmp_path / f"other{modality_of(what).suffix}"
    kind.write(path, values[0], what, samples.origin(3))
    assert path.read_bytes() == (tmp_path / f"00003{kind.suffix}").read_bytes()
    with pytest.raises(UndiffuseError, match="already"):
        kind.write(path, values[0], what, samples.origin(3))


class _Raw(Signals):
    suffix = ".raw"

    def write(self, path: Path, values: Any, info: DataInfo, origin: Any, overwrite: bool = False) -> None:
        path.write_bytes(values.tobytes())


def test_what_samples_are_kept_in_is_their_kinds_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODALITIES, 1, _Raw())
    values = np.arange(24, dtype=np.uint8).reshape(2, 1, 12)
    files = Samples(values, info((1, 12)), 7, (3, 4), SampleConfig(), {"sha256": "0" * 64}).save(tmp_path)
    assert [path.name for path in files] == ["00003.raw", "00004.raw", "grid.png", "samples.npz"]
    assert (tmp_path / "00004.raw").read_bytes() == values[1].tobytes()


def test_an_image_is_read_from_its_file_and_a_signal_is_not(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 256, (3, 4, 5), np.uint8)
    Image.fromarray(np.moveaxis(values, 0, -1)).save(tmp_path / "x.png")
    what = info((3, 8, 8))
    assert np.array_equal(modality_of(what).read(tmp_path / "x.png", what).values, values)
    what = info((3, 20))
    with pytest.raises(UndiffuseError, match="Only models of pictures"):
        modality_of(what).read(tmp_path / "x.png", what)


def test_looking_at_data_loads_no_torch() -> None:
    code = "import sys; import undiffuse.visualization.data_summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
