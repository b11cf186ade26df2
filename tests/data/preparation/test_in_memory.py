from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset, WeightedRandomSampler

from undiffuse.data.preparation.in_memory import is_given, keep_given
from undiffuse.errors import UndiffuseError


def loader(**how):
    return DataLoader(torch.zeros(8, 1, 4, 4), batch_size=4, **how)


@pytest.fixture
def given(cache, opened):
    return lambda data, **settings: opened(keep_given(data, cache), **settings)


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (7, 3, 6, 5), dtype=np.uint8)


def test_tensors_and_arrays_and_what_yields_them_are_one_data_set(given, pixels):
    last = np.moveaxis(pixels, 1, -1)
    kinds = [
        torch.from_numpy(pixels),
        pixels,
        last,
        [Image.fromarray(one) for one in last],
        (one for one in torch.from_numpy(pixels)),
        list(last),
    ]
    found = [given(data) for data in kinds]
    assert all(np.array_equal(dataset.images, pixels) for dataset in found)
    assert len({dataset.info.fingerprint for dataset in found}) == 1


def test_labels_come_along(given, pixels):
    words = ["b", "a", "c", "a", "b", "b", "c"]
    pairs = given(zip(torch.from_numpy(pixels), words, strict=True))
    assert [pairs.info.classes[k] for k in pairs.labels] == words
    numbers = torch.tensor([4, 1, 4, 1, 9, 9, 9])
    for data in ((torch.from_numpy(pixels), numbers), [(p, n) for p, n in zip(pixels, numbers, strict=True)]):
        found = given(data)
        assert [found.info.classes[k] for k in found.labels] == [str(int(n)) for n in numbers]


def test_a_torch_data_set_is_read_by_its_length(given, pixels):
    data = torch.utils.data.TensorDataset(torch.from_numpy(pixels), torch.arange(7) % 2)
    found = given(data)
    assert np.array_equal(found.images, pixels)
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_sizes_and_floats_and_volumes(given, rng):
    values = torch.randn(5, 2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(given(values).images, values.numpy())
    assert np.array_equal(given(values.bfloat16()).images, values.bfloat16().float().numpy())
    assert given(rng.integers(0, 256, (5, 8, 8), dtype=np.uint8), size=4).images.shape == (5, 1, 4, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "at least one"),
        (["a.png"], "got a str as number 0"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], "one shape"),
        ([(np.zeros((4, 4)), 1), (np.zeros((4, 4)), None)], "label of every image"),
        ([(np.zeros((4, 4)), 1.5)], "whole number or a text"),
        ([Image.new("CMYK", (4, 4))], "mode"),
        (loader(sampler=WeightedRandomSampler([1.0] * 8, 8)), r"its WeightedRandomSampler.*loader\.dataset"),
        (loader(collate_fn=lambda items: items), r"its collate_fn.*loader\.dataset"),
        (loader(sampler=RandomSampler(range(8), replacement=True)), r"its RandomSampler.*loader\.dataset"),
        ([(torch.zeros(4, 1, 4, 4), torch.zeros(4))], "a batch of 4 labels"),
    ],
)
def test_what_is_no_images_is_said(given, data, words):
    with pytest.raises(UndiffuseError, match=words):
        given(data)


def test_names_are_no_data(tmp_path):
    assert [is_given(name) for name in (None, "digits", tmp_path)] == [False] * 3
    assert is_given(torch.zeros(1))
    with pytest.raises(UndiffuseError, match="got a int"):
        is_given(3)


def test_nothing_is_left_beside_what_is_kept(cache, pixels):
    first, again = keep_given(pixels, cache), keep_given(pixels, cache)
    assert first == again
    with pytest.raises(UndiffuseError):
        keep_given(["x"], cache)
    assert [path.name for path in (cache / "given").iterdir()] == [first.parent.name]


def test_a_loader_is_its_data_set_and_a_data_set_of_tensors_its_samples(tmp_path):
    images, labels = torch.arange(8 * 16, dtype=torch.uint8).reshape(8, 1, 4, 4), torch.tensor([0, 1] * 4)
    plain = keep_given((images, labels), tmp_path)
    for data in (TensorDataset(images, labels), DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=True)):
        assert keep_given(data, tmp_path) == plain
    alone = keep_given(images, tmp_path)
    for data in (TensorDataset(images), DataLoader(images, batch_size=3), DataLoader(TensorDataset(images))):
        assert keep_given(data, tmp_path) == alone


def test_a_data_set_without_an_end_of_its_own_is_as_long_as_it_says(tmp_path):
    class Endless(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, k):
            return torch.full((1, 4, 4), k)  # never an IndexError

    with np.load(keep_given(Endless(), tmp_path)) as found:
        assert found["channels_first"].shape == (5, 1, 4, 4)
