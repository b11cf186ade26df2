"""One tiny run that all commands are tried on, and a way to call them in this process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from undiffuse.cli import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


class Command:
    """``undiffuse(...)`` in this process: torch is imported once for all tests."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: object) -> Outcome:
        self._capsys.readouterr()
        status = main([str(word) for word in argv])
        said = self._capsys.readouterr()
        return Outcome(status, said.out, said.err)


@pytest.fixture
def undiffuse(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: None) -> None:
    """Of all tests here."""


TINY = """
--recipe small --base 8 --multipliers 1,2 --blocks 1 --attention-levels none --no-middle-attention --timesteps 60
--batch 4 --steps 6 --log-every 2 --sample-every 3 --sample-count 4 --checkpoint-every 3 --quiet --device cpu
"""


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of the tiniest training."""
    return TINY.split()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 grey pictures of 8 x 8: a bright square somewhere."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 60, (24, 8, 8), np.uint8)
    for image in images:
        top, left = dice.integers(0, 5, 2)
        image[top : top + 3, left : left + 3] += 180
    path = tmp_path_factory.mktemp("data") / "squares.npy"
    np.save(path, images)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny: list[str]) -> Path:
    """A run that nothing writes to; see `run`."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(["train", str(data), "--runs", str(runs), "--name", "tiny", *tiny]) == 0
    return runs / "tiny"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, for one test alone."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "tiny"))
