"""The stream from images to features: what it keeps, what it refuses, and that batches do not matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extract import batches, extract, unit_range
from undiffuse.evaluation.features.extractor import Identity, Outputs


def info_of(dtype: str, low: float, high: float, shape: tuple[int, ...] = (1, 4, 4)) -> DataInfo:
    return DataInfo("some", "0" * 64, 7, shape, dtype, low, high, (0.0,), (1.0,))


class Sums:
    """Features that are known: the mean of an image and its first value; logits are its last one."""

    identity = Identity("sums", "0" * 64, "none")

    def __call__(self, images: Tensor) -> Outputs:
        flat = images.flatten(1)
        return Outputs(torch.stack([flat.mean(1), flat[:, 0]], 1).double(), logits=flat[:, -1:])


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255), ("uint16", 65535)])
def test_every_integer_maps_to_its_share_of_the_largest(dtype: str, high: int) -> None:
    values = np.arange(high + 1, dtype=dtype)
    found = unit_range(values, info_of(dtype, 0.0, float(high)))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), values.astype(np.float32) / np.float32(high))
    assert (found[0], found[-1]) == (0, 1)


def test_the_ends_of_float_data_map_to_0_and_1() -> None:
    values = np.array([-3.0, -1.0, 5.0], np.float32)
    assert unit_range(values, info_of("float32", -3.0, 5.0)).tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_features_do_not_depend_on_the_size_of_batches(size: int) -> None:
    info = info_of("uint8", 0.0, 255.0)
    found = extract(Sums(), batches(IMAGES, info, size), 7)
    flat = IMAGES.reshape(7, 16) / 255
    assert found.features.dtype == torch.float32
    assert np.allclose(found.features.numpy(), np.stack([flat.mean(1), flat[:, 0]], 1), atol=1e-6)
    assert found.logits is not None
    assert np.allclose(found.logits.numpy()[:, 0], flat[:, -1], atol=1e-6)
    assert found.spatial is None


def test_a_batch_is_let_go_before_the_next_is_asked_for() -> None:
    alive: list[int] = []

    def watched() -> Iterator[Tensor]:
        for k in range(4):
            yield torch.full((2, 1, 2, 2), k / 4)
            alive.append(k)

    found = extract(Sums(), watched(), 8)
    assert alive == [0, 1, 2, 3]
    assert found.features[:, 0].tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_image_with_a_pixel_that_is_no_number_is_named(value: float) -> None:
    images = torch.zeros(6, 1, 2, 2)
    images[4, 0, 1, 1] = images[5] = value
    with pytest.raises(UndiffuseError, match=r"expected finite pixels, got NaN or infinity in image 4;"):
        extract(Sums(), images.split(2), 6)


def test_features_that_are_no_numbers_are_refused() -> None:
    class Broken:
        identity = Identity("broken", "0" * 64, "none")

        def __call__(self, images: Tensor) -> Outputs:
            return Outputs(torch.log(images.flatten(1).sum(1, keepdim=True)))

    images = torch.ones(5, 1, 2, 2)
    images[3] = 0
    with pytest.raises(UndiffuseError, match=r"finite features by 'broken', got NaN or infinity in image 3"):
        extract(Broken(), images.split(2), 5)


@pytest.mark.parametrize(("total", "said"), [(4, "expected 4 images .* got more"), (6, "expected 6 images .* got 5")])
def test_another_number_of_images_than_said_is_refused(total: int, said: str) -> None:
    with pytest.raises(UndiffuseError, match=said):
        extract(Sums(), torch.zeros(5, 1, 2, 2).split(2), total)


def test_no_images_are_refused() -> None:
    with pytest.raises(UndiffuseError, match="got none"):
        extract(Sums(), [], 0)


def test_taking_follows_the_indices_in_every_part() -> None:
    whole = Outputs(torch.arange(8.0).view(4, 2), logits=torch.arange(4.0).view(4, 1))
    part = whole.take([3, 0])
    assert len(part) == 2
    assert part.features.tolist() == [[6, 7], [0, 1]]
    assert part.logits is not None
    assert part.logits.tolist() == [[3], [0]]
    assert part.spatial is None
    assert torch.equal(whole.take(torch.tensor([3, 0])).features, part.features)


def test_tensors_are_a_round_trip() -> None:
    whole = Outputs(torch.rand(3, 2), torch.rand(3, 5), torch.rand(3, 4))
    assert set(whole.tensors()) == {"features", "spatial", "logits"}
    again = Outputs(**whole.tensors()).tensors()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.tensors().items())
    assert set(Outputs(torch.rand(3, 2)).tensors()) == {"features"}


def test_moments_are_those_of_the_features() -> None:
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    moments = Outputs(features).moments
    assert moments.count == 50
    assert np.allclose(moments.covariance.numpy(), np.cov(features.double().numpy().T), atol=1e-12)
