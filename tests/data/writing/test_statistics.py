from __future__ import annotations

import numpy as np
import pytest

from undiffuse.data.writing import statistics
from undiffuse.data.writing.statistics import chunks, measure


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_streamed_moments_are_those_of_the_whole(
    dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = rng.integers(0, 250, (101, 3, 4, 5)).astype(dtype)
    monkeypatch.setattr(statistics.chunks, "__defaults__", (200,))  # chunks of three samples
    found = measure(images)
    flat = np.moveaxis(images, 1, 0).reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(1), rtol=1e-13)
    np.testing.assert_allclose(found.std, flat.std(1), rtol=1e-13)
    assert (found.low, found.high) == (flat.min(), flat.max())


def test_a_small_spread_beside_a_large_mean_is_not_lost() -> None:
    images = np.float32(2**23) + np.tile(np.float32([0, 1]), 50).reshape(100, 1, 1)
    assert measure(images).std[0] == pytest.approx(0.5, rel=1e-12)


def test_chunks_cover_every_sample_once() -> None:
    images = np.arange(70).reshape(10, 1, 7)
    assert np.array_equal(np.concatenate(list(chunks(images, 20))), images)
    assert [len(chunk) for chunk in chunks(images, 20)] == [2] * 5
    assert len(list(chunks(images, 1))) == 10
