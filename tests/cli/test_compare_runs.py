"""The command that puts runs side by side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""


@pytest.fixture
def other(run: Path) -> Path:
    """A second run, whose training is the same."""
    return Path(shutil.copytree(run, run.parent / "other"))


def test_the_table_is_printed_and_the_page_written_beside_the_first_run(
    undiffuse: Command, run: Path, other: Path
) -> None:
    said = undiffuse("compare", run, other, "-n", 2)
    assert said.status == 0, said.err
    page = run.parent / "compare-tiny-other.html"
    assert str(page) in said.out
    assert "settings are the same." in said.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_is_there_is_replaced_only_where_that_was_typed(
    undiffuse: Command, run: Path, other: Path, tmp_path: Path
) -> None:
    page = tmp_path / "mine.html"
    page.write_text("mine")
    said = undiffuse("compare", run, other, "-n", 1, "--out", page)
    assert said.status == 2
    assert "exists already" in said.err
    assert page.read_text() == "mine"
    assert undiffuse("compare", run, other, "-n", 1, "--out", page, "--overwrite").status == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "This needs RUN"),
        (("tiny",), "two runs or more"),
        (("tiny", "tiny"), "came twice"),
        (("tiny", "nothing"), "is not there"),
        (("tiny", "."), "holds no run"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence_and_nothing_is_written(
    undiffuse: Command, run: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(run.parent)
    said = undiffuse("compare", *words)
    assert said.status == 2
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not list(run.parent.glob("*.html"))


def test_a_likelihood_of_the_command_is_compared(undiffuse: Command, run: Path, other: Path, data: Path) -> None:
    for folder in (run, other):
        out = folder / "likelihood" / "squares.json"
        words = ["likelihood", folder, data, "--limit", 4, "--method", "bound", "--timesteps", 4, "--out", out]
        assert undiffuse(*words).status == 0
    said = undiffuse("compare", run, other, "-n", 1)
    assert said.status == 0, said.err
    line = next(line for line in said.out.splitlines() if line.startswith("| variational bound"))
    first, second = line.split("|")[2:4]
    assert first.strip() == second.strip()  # the weights are the same, and so is every random stream
    assert "*" not in line
