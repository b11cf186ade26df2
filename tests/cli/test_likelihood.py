from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.cli import main

Command = Callable[..., Any]
QUICK = ("--limit", 6, "--timesteps", 4, "--probes", 2, "--rtol", 0.01, "--atol", 0.01, "--device", "cpu")


def test_both_ways_and_every_image_in_a_file(undiffuse: Command, run: Path, data: Path) -> None:
    said = undiffuse("likelihood", run, data, *QUICK, "--curve")
    assert said.status == 0, said.err
    assert "bits/dim at most, 4 timesteps" in said.out
    assert "ODE" in said.out
    assert "6 of 24 images" in said.out
    rows = list(csv.DictReader((run / "likelihood" / "squares.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert {"index", "name", "bound", "bound_error", "ode", "ode_error", "ode_evaluations"} == set(rows[0])
    mean = np.mean([float(row["bound"]) for row in rows])
    assert f"{mean:.4f} +-" in said.out
    assert (run / "likelihood" / "squares-curve.svg").read_text().startswith("<svg")
    assert len((run / "likelihood" / "squares-curve.csv").read_text().splitlines()) == 6


def test_nothing_is_overwritten_unless_told(undiffuse: Command, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    words = ("likelihood", run, data, *QUICK[:4], "--method", "bound", "--out", out)
    assert undiffuse(*words).status == 0
    before = json.loads(out.read_text())
    assert before["units"] == "bits/dim"
    assert before["typed"]["timesteps"] == 4
    assert set(before["images"]) == {"index", "name", "bound", "bound_error"}
    again = undiffuse(*words)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert undiffuse(*words, "--overwrite").status == 0
    assert json.loads(out.read_text())["images"] == before["images"]


def test_an_image_costs_the_same_in_any_selection(undiffuse: Command, run: Path, data: Path, tmp_path: Path) -> None:
    found = []
    for limit, batch in ((6, 4), (24, 32)):
        out = tmp_path / f"{limit}.json"
        words = ("--method", "bound", "--timesteps", 4, "--device", "cpu", "--batch", batch, "--out", out)
        assert undiffuse("likelihood", run, data, "--limit", limit, *words).status == 0
        images = json.loads(out.read_text())["images"]
        found.append(dict(zip(images["index"], images["bound"], strict=True)))
    for index, value in found[0].items():
        assert value == pytest.approx(found[1][index], rel=1e-4)


def test_floats_are_told_in_nats(undiffuse: Command, tmp_path: Path, tiny: list[str]) -> None:
    source = tmp_path / "waves.npy"
    np.save(source, np.random.default_rng(0).normal(5, 2, (12, 8, 8)).astype(np.float32))
    assert main(["train", str(source), "--runs", str(tmp_path), "--name", "waves", *tiny]) == 0
    said = undiffuse("likelihood", tmp_path / "waves", source, *QUICK)
    assert said.status == 0, said.err
    assert "nats/dim" in said.out
    assert "not comparable to bits/dim" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--method", "flow"), "choose from both, bound, ode"),
        (("--method", "ode", "--curve"), "--method bound"),
        (("--timesteps", 61), "between 2 and 60"),
        (("--out", "here.txt"), ".csv or .json"),
        (("--variance", "learned"), "did not learn"),
        (("--weights", "0.5"), "no weights '0.5'"),
    ],
)
def test_mistakes_are_one_sentence(
    undiffuse: Command, finished: Path, data: Path, tmp_path: Path, words: tuple[Any, ...], sentence: str
) -> None:
    where = () if "--out" in words else ("--out", tmp_path / "out.csv")
    said = undiffuse("likelihood", finished, data, "--limit", 2, "--device", "cpu", *where, *words)
    assert said.status == 2
    assert sentence in said.err.splitlines()[-1]


@pytest.mark.filterwarnings("default")
def test_options_of_the_other_method_are_said_to_change_nothing(
    undiffuse: Command, finished: Path, data: Path, tmp_path: Path
) -> None:
    said = undiffuse(
        "likelihood", finished, data, *QUICK, "--method", "bound", "--rtol", 0.1, "--out", tmp_path / "out.csv"
    )
    assert said.status == 0, said.err
    assert "--rtol 0.1 changes nothing here: it acts with --method ode" in said.err
    assert "--timesteps" not in said.err


def test_pictures_of_another_shape_are_refused(undiffuse: Command, finished: Path, tmp_path: Path) -> None:
    for k in range(3):
        Image.effect_noise((12, 12), 50 + k).save(tmp_path / f"{k}.png")
    said = undiffuse("likelihood", finished, tmp_path)
    assert said.status == 2
    assert "(1, 8, 8)" in said.err
    assert "--size 8" in said.err
    assert undiffuse("likelihood", finished, tmp_path, "--size", 8, *QUICK, "--out", tmp_path / "a.csv").status == 0
