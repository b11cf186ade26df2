"""Volumes, a file each; nibabel and Pillow write them."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from undiffuse.data.files.decode import UnreadableError
from undiffuse.data.formats.nifti import decode_nifti
from undiffuse.errors import UndiffuseError

nibabel = pytest.importorskip("nibabel")


def save_nifti(path, values, kind=None, slope=None):
    image = (kind or nibabel.Nifti1Image)(values, np.diag([2.0, 2, 3, 1]))
    if slope:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_nifti_values_are_those_that_nibabel_reads(tmp_path, rng, kind, suffix, dtype):
    values = rng.integers(0, 100, (3, 4, 5)).astype(dtype)
    path = save_nifti(tmp_path / f"x{suffix}", values, kind)
    found = decode_nifti(path.read_bytes())
    assert found.dtype == (values.dtype.newbyteorder("=") if dtype in ("u1", "u2") else np.float32)
    assert np.array_equal(found, nibabel.load(path).get_fdata()[None])


def test_nifti_scales_and_its_fourth_axis(tmp_path, rng):
    values = rng.integers(-500, 500, (3, 4, 5, 2)).astype("<i2")
    whole = bytearray(save_nifti(tmp_path / "x.nii", values).read_bytes())
    struct.pack_into("<2f", whole, 112, 0.5, -3.0)
    found = decode_nifti(bytes(whole))
    assert np.array_equal(found, np.moveaxis(values * 0.5 - 3, -1, 0).astype(np.float32))


def test_a_folder_of_nifti_with_classes(tmp_path, opened, rng):
    values = rng.normal(size=(6, 4, 5, 3)).astype(np.float32)
    for k, one in enumerate(values):
        (tmp_path / "scans" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        save_nifti(tmp_path / "scans" / "ab"[k % 2] / f"{k}.nii.gz", one)
    dataset = opened(tmp_path / "scans")
    order = [0, 2, 4, 1, 3, 5]
    assert np.array_equal(dataset.images[:, 0], values[order])
    assert (dataset.labels.tolist(), dataset.info.classes) == ([0, 0, 0, 1, 1, 1], ("a", "b"))
    assert (dataset.info.low, dataset.info.high) == (values.min(), values.max())


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (42, "<3h", (32767, 32767, 32767), "claims"),
        (42, "<3h", (-1, 4, 5), "axes"),
        (40, "<h", (0,), "axes"),
        (70, "<h", (128,), "type 128"),
        (108, "<f", (float("nan"),), "begin at byte"),
        (108, "<f", (0.0,), "begin at byte"),
        (344, "<4s", (b"ni1\0",), "another file"),
        (344, "<4s", (b"????",), "no NIfTI header"),
        (0, "<i", (1,), "no NIfTI header"),
        (46, "<h", (6,), "cut short"),
    ],
)
def test_forged_nifti_headers_are_refused_before_anything_is_allocated(tmp_path, rng, at, form, value, words):
    whole = bytearray(save_nifti(tmp_path / "x.nii", rng.normal(size=(3, 4, 5)).astype(np.float32)).read_bytes())
    struct.pack_into(form, whole, at, *value)
    for data in (bytes(whole), gzip.compress(bytes(whole))):
        with pytest.raises(UnreadableError, match=words):
            decode_nifti(data)


def test_a_second_generation_header_that_claims_ten_to_the_nine_is_refused(tmp_path):
    whole = bytearray(save_nifti(tmp_path / "x.nii", np.zeros((3, 4, 5)), nibabel.Nifti2Image).read_bytes())
    struct.pack_into("<3q", whole, 24, 10**9, 10**9, 10**9)
    with pytest.raises(UnreadableError, match="claims"):
        decode_nifti(bytes(whole))


def test_integers_that_float32_cannot_hold_are_refused(tmp_path):
    path = save_nifti(tmp_path / "x.nii", np.full((3, 4, 5), 2**24 + 1, np.int32))
    with pytest.raises(UnreadableError, match="float32 cannot hold"):
        decode_nifti(path.read_bytes())


# --- TIFF and .npy ----------------------------------------------------------------------------------------------------


def save_pages(path, pages):
    first, *more = [Image.fromarray(page) for page in pages]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, "TIFF", save_all=True, append_images=more)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_one_tiff_of_pages_is_as_many_samples(tmp_path, opened, rng, dtype):
    pages = rng.integers(0, 200, (5, 6, 7)).astype(dtype)
    dataset = opened(save_pages(tmp_path / "stack.tif", pages))
    assert np.array_equal(dataset.images[:, 0], pages)
    assert dataset.images.dtype == dtype


@pytest.mark.parametrize("shape", [(4, 5, 6, 7), (4, 5, 6, 7, 3)])
def test_a_folder_of_tiffs_with_pages_is_volumes(tmp_path, opened, rng, shape):
    pages = rng.integers(0, 256, shape, dtype=np.uint8)
    for k, one in enumerate(pages):
        save_pages(tmp_path / "stacks" / f"{k}.tif", one)
    dataset = opened(tmp_path / "stacks")
    assert np.array_equal(dataset.images, pages[:, None] if pages.ndim == 4 else np.moveaxis(pages, -1, 1))


def test_pages_of_different_sizes_are_refused(tmp_path, opened):
    pages = [np.zeros((6, 7), np.uint8), np.zeros((5, 7), np.uint8)]
    with pytest.raises(UndiffuseError, match="others on page 2"):
        opened(save_pages(tmp_path / "stack.tif", pages))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "float16"])
def test_a_folder_of_npy_is_volumes(tmp_path, opened, rng, dtype):
    values = rng.integers(0, 200, (4, 2, 5, 6, 7)).astype(dtype)
    (tmp_path / "arrays").mkdir()
    for k, one in enumerate(values):
        np.save(tmp_path / "arrays" / f"{k}.npy", one)
    dataset = opened(tmp_path / "arrays")
    assert np.array_equal(dataset.images, values)
    assert dataset.images.dtype == ("float32" if "float" in dtype else dtype)


def test_volumes_that_do_not_agree_are_counted(tmp_path, opened):
    (tmp_path / "arrays").mkdir()
    for k in range(5):
        np.save(tmp_path / "arrays" / f"{k}.npy", np.full((4, 5, 6 + (k == 4)), k, np.uint8))
    with pytest.raises(UndiffuseError, match="4 of 1 x 4 x 5 x 6 uint8, 1 of 1 x 4 x 5 x 7 uint8"):
        opened(tmp_path / "arrays")
    with pytest.raises(UndiffuseError, match="2-D images"):
        opened(tmp_path / "arrays", size=8)


def test_bad_volumes_are_refused_with_reasons(tmp_path, opened, rng):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for k in range(100):
        np.save(folder / f"{k:03}.npy", rng.normal(size=(3, 4, 5)).astype(np.float32))
    whole = (folder / "000.npy").read_bytes()
    (folder / "a.npy").write_bytes(whole[:-8])
    (folder / "b.npy").write_bytes(whole.replace(b"(3, 4, 5)", b"(9**9,5,)"))
    (folder / "c.npy").write_bytes(b"")
    np.save(folder / "d.npy", np.full((3, 4, 5), np.nan, np.float32))
    np.save(folder / "e.npy", np.array([[[{}]]]), allow_pickle=True)
    dataset = opened(folder)
    reasons = dict(dataset.refused)
    assert len(dataset) == 100
    assert "more than its" in reasons["a.npy"]
    assert "cannot be decoded" in reasons["b.npy"]
    assert "empty" in reasons["c.npy"]
    assert "NaN" in reasons["d.npy"]
    assert "never opened" in reasons["e.npy"]


def test_one_volume_alone_is_no_data_set(tmp_path, opened):
    with pytest.raises(UndiffuseError, match="one volume"):
        opened(save_nifti(tmp_path / "x.nii.gz", np.zeros((3, 4, 5), np.float32)))
