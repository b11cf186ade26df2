"""`undiffuse sample` writes as it draws, and goes on where it was interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from undiffuse.model.plan import SamplePlan
from undiffuse.model.samples import Samples

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def words(run: Path, out: Path) -> list[object]:
    return ["sample", run, "-n", 7, "--steps", 2, "--micro-batch", 2, "--npz", "--out", out]


def test_ctrl_c_leaves_what_is_drawn_and_resume_goes_on(
    undiffuse: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undiffuse(*words(run, tmp_path / "whole")).status == 0
    draw = SamplePlan.draw

    def interrupted(self: SamplePlan, indices: range, *arguments: Any, **options: Any) -> Iterator[Samples]:
        if indices.start >= 4:
            raise KeyboardInterrupt
        yield from draw(self, indices, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SamplePlan, "draw", interrupted)
        said = undiffuse(*words(run, tmp_path / "torn"))
    assert said.status == 130
    assert "the same command with --resume goes on" in said.err
    assert sorted(path.name for path in (tmp_path / "torn").glob("*.png")) == [f"{i:05d}.png" for i in range(4)]
    said = undiffuse(*words(run, tmp_path / "torn"))
    assert said.status == 2
    assert "00000.png exists already" in said.err
    said = undiffuse(*words(run, tmp_path / "torn"), "--resume")
    assert "7 pictures and grid.png and samples.npz; 4 of them were there already" in said.out
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def test_one_picture_is_one(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    assert ": 1 picture and grid.png" in undiffuse("sample", run, "-n", 1, "--steps", 1, "--out", tmp_path / "one").out


def test_a_file_in_the_place_of_the_folder_is_not_gone_on_with(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "seven").write_bytes(b"mine")
    said = undiffuse("sample", run, "-n", 1, "--steps", 1, "--out", tmp_path / "seven")
    assert said.status == 2
    assert "seven is no folder; give another place with --out" in said.err
    assert "--resume" not in said.err


@pytest.mark.parametrize("words", [("sample",), ("edit", "upscale")])
def test_a_folder_called_like_a_picture_is_not_made(
    undiffuse: Command, run: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """`--out seven.png` made a folder of that name."""
    out = tmp_path / "seven.PNG"
    said = undiffuse(*words, run, *(["missing.png"] if len(words) > 1 else []), "--out", out)
    assert said.status == 2
    assert f"is called like one of them: --out {tmp_path / 'seven'}" in said.err
    assert not out.exists()


def test_resume_refuses_pictures_of_another_seed(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    assert undiffuse(*words(run, tmp_path)).status == 0
    said = undiffuse(*words(run, tmp_path), "--resume", "--seed", 3)
    assert said.status == 2
    assert "was made with seed 0, not 3" in said.err
    assert len(said.err.splitlines()) == 1


def test_resume_where_nothing_is_there_begins(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    assert undiffuse(*words(run, tmp_path / "a"), "--resume").status == 0
    assert len(list((tmp_path / "a").glob("0*.png"))) == 7


def test_resume_does_not_go_with_compare(undiffuse: Command, run: Path) -> None:
    assert "--resume does not go with --compare" in undiffuse("sample", run, "--compare", "--resume").err


def test_a_grid_says_how_many_it_shows(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    options = ["--steps", 1, "--micro-batch", 64, "--sampler", "ddim", "--out", tmp_path]
    said = undiffuse("sample", run, "-n", 401, *options)
    assert "401 pictures and grid.png (the first 400)" in said.out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_killed_process_goes_on_to_the_same_files(undiffuse: Command, run: Path, tmp_path: Path, name: str) -> None:
    argv = [str(word) for word in (*words(run, tmp_path / "torn"), "-n", 3000)]
    # A shell's background jobs, which tests may be among, ignore SIGINT, and so would their children.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "undiffuse", *argv]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    while not (tmp_path / "torn" / "00002.png").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, getattr(signal, name))
    process.communicate(timeout=60)
    assert process.returncode != 0
    there = len(list((tmp_path / "torn").glob("0*.png")))
    assert there < 3000
    n = ["-n", there + 5]
    assert undiffuse(*words(run, tmp_path / "torn"), *n, "--resume").status == 0
    assert undiffuse(*words(run, tmp_path / "whole"), *n).status == 0
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")
