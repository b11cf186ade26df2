from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]
QUICK = ("--draws", 1, "--timesteps", 3, "--device", "cpu")


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (9, 8, 8), np.uint8))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_second_set_is_told_apart_and_drawn(undiffuse: Command, run: Path, data: Path, noise: Path) -> None:
    said = undiffuse("anomaly", run, data, "--against", noise, *QUICK, "--pictures", 4)
    assert said.status == 0, said.err
    assert "normal  12 images" in said.out
    assert "AUROC of 9 strange among 21" in said.out
    assert "structure" in said.out
    assert "<- ranked by" in said.out
    rows = rows_of(run / "anomaly" / "squares.csv")
    assert [row["strange"] for row in rows].count("True") == 9
    assert {"bound", "reconstruction", "structure", "typicality", "ensemble"} < set(rows[0])
    with Image.open(run / "anomaly" / "squares.png") as picture:
        assert picture.mode == "RGB"
        assert picture.size == (8 * 130 + 2, 132)  # four pairs in a row, 8 pixels drawn as 128


def test_the_picture_shows_the_highest_scores_first(undiffuse: Command, run: Path, data: Path, noise: Path) -> None:
    assert undiffuse("anomaly", run, data, "--against", noise, *QUICK, "--pictures", 1).status == 0
    rows = rows_of(run / "anomaly" / "squares.csv")
    first = max(rows, key=lambda row: float(row["ensemble"]))
    source = np.load(noise if first["data"] == "noise.npy" else data)[int(first["index"])]
    with Image.open(run / "anomaly" / "squares.png") as picture:
        shown = np.asarray(picture.convert("L"))[2:130:16, 2:130:16]
    assert np.array_equal(shown, source)


def test_normal_data_are_the_standard(undiffuse: Command, run: Path, data: Path, noise: Path, tmp_path: Path) -> None:
    words = ("anomaly", run, noise, "--normal", data, *QUICK, "--pictures", 0, "--out", tmp_path / "a.json")
    said = undiffuse(*words)
    assert said.status == 0, said.err
    assert "normal  24 images of squares.npy" in said.out
    assert "above 3 standard deviations" in said.out
    images = json.loads((tmp_path / "a.json").read_text())["images"]
    assert len(images["structure"]) == 9
    assert np.isfinite(images["ensemble"]).all()
    assert "strange" not in images
    assert not (tmp_path / "a.png").exists()
    assert undiffuse(*words).status == 2


def test_classes_can_be_strange(undiffuse: Command, run: Path, data: Path, noise: Path, tmp_path: Path) -> None:
    labeled = tmp_path / "labelled.npz"
    images = np.concatenate([np.load(data), np.load(noise)])
    np.savez(labeled, x=images, y=np.array(["fine"] * 24 + ["torn"] * 9))
    words = ("anomaly", run, labeled, *QUICK, "--pictures", 0, "--out", tmp_path / "a.csv")
    said = undiffuse(*words, "--anomalies", "torn", "--denoise-steps", 2)
    assert said.status == 0, said.err
    assert "AUROC of 9 strange among 21" in said.out
    assert "perhaps you meant 'torn'" in undiffuse(*words, "--overwrite", "--anomalies", "torm").err
    assert "and 'squares.npy' has none" in undiffuse("anomaly", run, data, *QUICK, "--anomalies", "torn").err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--against", "x", "--anomalies", "y"), "not by both"),
        (("--score", "ode"), "needs --ode"),
        (("--score", "bound", "--timesteps", 0), "--timesteps of at least 2"),
        (("--score", "structur"), "perhaps you meant 'structure'"),
        (("--limit", 4), "at least 8 normal images"),
    ],
)
def test_mistakes_are_one_sentence(
    undiffuse: Command, run: Path, data: Path, words: tuple[Any, ...], sentence: str
) -> None:
    said = undiffuse("anomaly", run, data, *QUICK, *words)
    assert said.status == 2
    assert sentence in said.err.splitlines()[-1]
