"""Runs side by side: what differs, the same noise for all, and nothing compared that cannot be."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.files import override, read_config
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten, sections
from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.reports.compare import compare, default_file
from undiffuse.reports.compared_figures import LossCurve
from undiffuse.reports.run_comparison import Lineup, tell_apart
from undiffuse.training.api import train
from undiffuse.visualization.grid import grid, to_image

TINY: dict[str, Any] = {
    "recipe": "small",
    "base": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "timesteps": 40,
    "batch": 4,
    "steps": 6,
    "log_every": 2,
    "sample_every": 0,
    "checkpoint_every": 3,
    "device": "cpu",
    "quiet": True,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs a and b of one data set, and c of another, with another shape."""
    place = tmp_path_factory.mktemp("runs")
    dice = np.random.default_rng(0)
    for name, side in (("squares", 8), ("larger", 12)):
        np.save(place / f"{name}.npy", dice.integers(0, 256, (24, side, side), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(place / "cache"))
        train(place / "squares.npy", name="a", runs=place, **TINY)
        train(place / "squares.npy", name="b", runs=place, **{**TINY, "lr": 1e-3, "parameterization": "epsilon"})
        train(place / "larger.npy", name="c", runs=place, **TINY)
        yield place


@pytest.fixture
def runs(originals: Path, tmp_path: Path) -> list[Path]:
    """Copies for one test."""
    return [Path(shutil.copytree(originals / name, tmp_path / name)) for name in "abc"]


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_only_settings_that_differ_are_listed_and_the_others_are_counted(runs: list[Path]) -> None:
    lineup = Lineup.of(runs[:2])
    assert lineup.differing == ("parameterization", "lr")
    assert lineup.settings_matrix().rows == (("parameterization", "x0", "epsilon"), ("lr", "0.002", "0.001"))
    flat, homes = flatten(read_config(runs[0] / "config.yaml")), sections(TrainConfig)
    assert len(lineup.shared) + 2 == len([name for name in flat if homes[name] != "distillation"])  # no student is here
    text = compare(runs[:2], n=1).text()
    assert f"2 settings differ; {len(lineup.shared)} are the same." in text
    assert "| lr " in text
    assert "beta1" not in text


def test_a_setting_is_shown_with_every_digit(runs: list[Path]) -> None:
    lineup = Lineup.of(runs[:2])
    lineup.stories[0].model.config = override(lineup.stories[0].model.config, lr=0.00050000001)
    assert lineup.settings_matrix().rows[-1] == ("lr", "0.00050000001", "0.001")


def test_grids_are_the_samples_of_the_same_seed(runs: list[Path]) -> None:
    page = compare(runs, n=5, seed=3).html()
    shown = pictures(page)
    assert len(shown) == 3
    for picture, run in zip(shown, runs, strict=True):
        samples = load(run).sample(5, seed=3)
        drawn = grid([to_image(array, samples.info) for array in samples.array])
        assert picture.tobytes() == drawn.tobytes()


def test_noise_is_called_the_same_only_where_shapes_agree(runs: list[Path]) -> None:
    same, other = compare(runs[:2], n=1).html(), compare(runs, n=1).html()
    assert "began from the same noise in every grid" in same
    assert "began from the same noise in every grid" not in other
    assert "a and b: 1 x 8 x 8; c: 1 x 12 x 12" in other


def test_different_data_and_different_objectives_are_said_in_words(runs: list[Path]) -> None:
    assert not any("different data" in warning for warning in Lineup.of(runs[:2]).warnings())
    assert any("(parameterization differs)" in warning for warning in Lineup.of(runs[:2]).warnings())
    found = Lineup.of([runs[0], runs[2]]).warnings()
    assert len(found) == 1
    assert "a learned squares.npy" in found[0]
    assert "c learned larger.npy" in found[0]


def test_minutes_are_those_of_the_log_and_skipped_steps_count(runs: list[Path]) -> None:
    lines = [
        {"step": 2, "loss": 1.0, "time": {"seconds": 60}},
        {"step": 4, "loss": None, "time": {"seconds": 30}},
        {"step": 4, "samples": {}},
        {"step": 6, "loss": 0.5, "time": {"seconds": 90}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 8, "lo'
    (runs[0] / "metrics.jsonl").write_text(text)
    curve = LossCurve.of(Lineup.of(runs[:2]).stories[0])
    assert curve == LossCurve((2, 6), (1.0, 3.0), (1.0, 0.5))


def test_the_proxy_distance_is_shown_where_a_log_has_it(runs: list[Path]) -> None:
    without = compare(runs[:2], n=1)
    assert re.search(r"\| proxy distance +\| none +\| none +\|", without.text())
    assert "Proxy distance" not in without.html()
    lines = [{"step": step, "samples": {}, "proxy": {"distance": 1 / step, "floor": 0.02}} for step in (2, 4)]
    with (runs[0] / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    found = compare(runs[:2], n=1)
    assert re.search(r"\| proxy distance +\| 0.25 \(floor 0.02\) +\| none +\|", found.text())
    assert found.html().count("<polyline") == without.html().count("<polyline") + 1


def test_an_unfinished_run_is_shown_as_it_is(runs: list[Path]) -> None:
    shutil.rmtree(runs[0] / "checkpoints" / "step-00000006")
    for name in ("metrics.jsonl", "env.json", "config.yaml"):
        (runs[0] / name).unlink()
    found = compare(runs[:2], n=1)
    assert re.search(r"\| steps +\| 3 of 6 +\| 6 ", found.text())
    assert re.search(r"\| last loss +\| none yet +\| \d", found.text())
    assert "step 3, " in found.html()


def test_the_page_is_whole_loads_nothing_and_escapes_names(runs: list[Path]) -> None:
    strange = runs[0].rename(runs[0].with_name("<b>&amp;"))
    page = compare([strange, runs[1]], n=1).html()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;amp;" in page
    assert "<script" not in page
    assert not re.search(r"url\(|@import|src=\"(?!data:)|href=", page)
    assert page.count("<section>") == page.count("</section>") > 5
    assert page.count("<div") == page.count("</div>")


def test_the_commands_on_the_page_are_of_these_runs(runs: list[Path], tmp_path: Path) -> None:
    page = unescape(compare(runs[:2], n=2, seed=5).html(tmp_path / "x.html"))
    again = next(line for line in re.split(r"[\n<>]", page) if line.startswith("undiffuse compare"))
    assert shlex.split(again)[2:] == [
        *map(str, runs[:2]), "-n", "2", "--seed", "5", "--out", str(tmp_path / "x.html"), "--overwrite",
    ]  # fmt: skip
    assert page.count("undiffuse train") == 2
    assert f"undiffuse sample {runs[1]} -n 2 --seed 5" in page


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    assert tell_apart([Path("/x/a"), Path("/y/b")]) == ("a", "b")
    assert tell_apart([Path("/x/demo"), Path("/y/demo")]) == ("x/demo", "y/demo")
    assert tell_apart([Path("/x/1/demo"), Path("/y/1/demo"), Path("/z/other")]) == ("x/1/demo", "y/1/demo", "/z/other")


def test_the_page_goes_beside_the_first_run(runs: list[Path]) -> None:
    assert default_file(runs[:2]) == runs[0].parent / "compare-a-b.html"


def test_what_cannot_be_compared_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    a, b, _ = runs
    (tmp_path / "empty").mkdir()
    link = tmp_path / "link"
    link.symlink_to(a)
    for paths, words in (
        ([a], "two runs or more, and 1 came"),
        ([a, a], "came twice"),
        ([a, b, link], "came twice"),
        ([a, tmp_path / "nothing"], "is not there"),
        ([a, tmp_path / "empty"], "holds no run"),
        ([a, b / "checkpoints" / "step-00000006"], "is a checkpoint"),
    ):
        with pytest.raises(UndiffuseError, match=words):
            Lineup.of(paths)
