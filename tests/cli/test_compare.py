"""``undiffuse samplers``, ``undiffuse sample --compare`` and ``undiffuse timesteps``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from undiffuse import load, register
from undiffuse.config import registry
from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.samplers import DDIM, SAMPLERS
from undiffuse.evaluation.samplers.comparison import Contest, compare, steps_within
from undiffuse.evaluation.samplers.energy_distance import energy_distance, energy_floor
from undiffuse.visualization.captions import labeled

Command = Any


@dataclass(frozen=True)
class Halves:
    """Two of DDIM's steps for one."""

    first: float = 0.25
    second: float = 0.75
    order: ClassVar[int] = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Any, x: Any, t: Any, s: Any, state: Any, noise: Any) -> tuple[Any, None]:
        middle = t + (s - t) * self.first
        for a, b in ((t, middle), (middle, s)):
            x, _ = DDIM().step(denoiser, x, a, b, None, noise)
        return x, None


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = registry._KINDS["sampler"]
    monkeypatch.setattr(sampler, "pieces", dict(sampler.pieces))
    monkeypatch.setitem(SAMPLERS, "halves", SAMPLERS["ddim"])  # so that it is taken away again
    register.sampler("halves", evaluations_per_step=2)(Halves)


def table(text: str) -> list[dict[str, str]]:
    """The rows of a markdown table by their heads."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_samplers_are_listed_in_a_line_each(undiffuse: Command) -> None:
    lines = undiffuse("samplers").out.splitlines()
    assert max(map(len, lines)) <= 120
    for info, line in zip(SAMPLERS.values(), lines[1:], strict=False):
        name, order, evaluations, noise, note = line.split(maxsplit=4)
        assert (name, int(order), note) == (info.name, info.order, in_flags(info.note))
        assert evaluations == ("any" if info.evaluations_per_step is None else str(info.evaluations_per_step))
        assert noise == ("yes" if info.stochastic else "no")


def test_every_sampler_gets_the_steps_that_its_budget_pays() -> None:
    paid = {name: steps_within(SampleConfig.of(sampler=name), 9) for name in SAMPLERS if name != "ode"}
    assert paid["ddim"] == paid["dpm++2m"] == 9
    assert paid["plms"] == 8  # its first step takes one more
    assert paid["heun"] == 5  # its last step takes one less
    assert paid["dpm3s"] == 3
    assert all(steps >= 1 for steps in paid.values())


def test_one_evaluation_pays_one_step_of_every_sampler() -> None:
    assert {steps_within(SampleConfig.of(sampler=name), 1) for name in SAMPLERS if name != "ode"} == {1}


def test_comparison_draws_what_sample_draws_and_counts(run: Path) -> None:
    model = load(run)
    found = compare(model, Contest(("ddim", "heun"), (3, 6), 2, seed=5))
    for name, row in zip(found.contest.samplers, found.cells, strict=True):
        for budget, cell in zip(found.contest.budgets, row, strict=True):
            assert cell is not None
            assert budget - 1 <= cell.evaluations <= budget
            drawn = model.sample(2, seed=5, sampler=name, steps=cell.settings.solver.steps)
            np.testing.assert_array_equal(cell.array, drawn.array)


def test_registered_samplers_are_compared_by_their_texts(
    undiffuse: Command, run: Path, tmp_path: Path, halves: None
) -> None:
    words = ["--compare", "--samplers", "ddim,halves(first=0.5, second=0.5)", "--evaluations", "4", "-n", 2]
    said = undiffuse("sample", run, *words, "--out", tmp_path / "out")
    rows = {row["sampler"]: row for row in table(said.out)}
    assert {name: row["steps"] for name, row in rows.items()} == {"ddim": "4", "halves(first=0.5, second=0.5)": "2"}
    said = undiffuse("sample", run, "--compare", "--samplers", "halves(third=1)")
    assert "The sampler 'halves' has no option 'third'" in said.err
    said = undiffuse("sample", run, "--compare", "--samplers", "halves", "--evaluations", "1", "--out", tmp_path / "b")
    assert "'halves' asks the network 2 times in one step, and --evaluations allows 1: allow more" in said.err


def test_compare_writes_and_prints_one_table_and_one_picture(undiffuse: Command, run: Path) -> None:
    words = ["sample", run, "--compare", "--samplers", "ddim,plms,heun", "--evaluations", "1,4", "-n", 2]
    said = undiffuse(*words)
    assert said.status == 0, said.err
    folder = run / "pictures" / "compare-seed-0"
    rows = table((folder / "compare.md").read_text())
    assert rows == table(said.out)
    assert [(row["sampler"], row["budget"]) for row in rows] == [
        (name, n) for name in ("ddim", "plms", "heun") for n in ("1", "4")
    ]
    assert [row["evaluations"] for row in rows] == ["1", "4", "1", "4", "1", "3"]
    assert all(float(row["ms an image"]) > 0 for row in rows)
    assert "distance" not in rows[0]
    with Image.open(folder / "compare.png") as picture:
        assert picture.mode == "RGB"
    again = undiffuse(*words)
    assert (again.status, "--overwrite" in again.err) == (2, True)


def test_compare_measures_a_distance_and_its_floor(undiffuse: Command, run: Path, data: Path, tmp_path: Path) -> None:
    words = ["--compare", "--samplers", "ddim", "--evaluations", "2", "--reference", data, "--out", tmp_path / "out"]
    said = undiffuse("sample", run, *words, "-n", 8)
    assert said.status == 0, said.err
    assert float(table(said.out)[0]["distance"]) > 0.05
    assert "between 8 samples and 8 images of 'squares.npy'" in said.out
    assert "the floor" in said.out
    refused = undiffuse("sample", run, *words, "--overwrite", "-n", 13)
    assert (refused.status, "26 reference images" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--compare", "--steps", 5], "--steps does not go with --compare, which takes --evaluations"),
        (["--compare", "--sampler", "ddim"], "which takes --samplers"),
        (["--samplers", "ddim"], "--samplers goes with --compare"),
        (["--compare", "--samplers", "ddmi"], "perhaps you meant"),
        (["--compare", "--samplers", "ode"], "decides itself"),
        (["--compare", "--samplers", "ddim(eta=1)"], "its options are settings: give the name alone and --eta 1"),
        (["--sampler", "ddim(eta=1)"], "its options are settings: give the name alone and --eta 1"),
        (["--compare", "--evaluations", "0,5"], "whole numbers from 1 on"),
        (["--compare", "--evaluations", "100"], "has 60 timesteps"),
        (["--compare", "--times", "50,20"], "not --times"),
        (["--timesteps", "learned", "--spacing", "karras"], "Give one of"),
        (["--spacing", "learned", "--steps", "4"], "undiffuse timesteps"),
        (["--from", "a.png", "--steps", 5], "as its file says that it was made: leave out --steps"),
        (["--from", "a.png", "--class", "a"], "leave out --class"),
        (["--from", "a.png", "-n", 4], "leave out -n"),
        (["--times", "10,20"], "must fall"),
        (["--times", "61,20"], "at most 60"),
    ],
)
def test_wrong_combinations_are_one_sentence(undiffuse: Command, run: Path, words: list[Any], match: str) -> None:
    said = undiffuse("sample", run, *words)
    assert said.status == 2
    assert match in said.err


@pytest.mark.parametrize(("words", "option"), [(["digits"], "DATA"), (["--size", 8], "--size")])
def test_images_that_a_cost_does_not_look_at_are_refused(
    undiffuse: Command, run: Path, words: list[Any], option: str
) -> None:
    said = undiffuse("timesteps", run, *words)
    assert (said.status, f"looks at no images: leave out {option}, or take --cost bound" in said.err) == (2, True)


@pytest.mark.parametrize("cost", ["error", "bound"])
def test_learned_timesteps_are_stored_and_used(undiffuse: Command, run: Path, tmp_path: Path, cost: str) -> None:
    said = undiffuse(
        "timesteps", run, "--evaluations", "3,5", "--cost", cost, "--candidates", 10, "--limit", 4, "--device", "cpu"
    )
    assert said.status == 0, said.err
    lines = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()[1:9]}
    learned = [float(value) for value in lines["learned"]]
    assert len(learned) == 2
    for spacing in ("trailing", "leading", "linspace", "log-snr", "karras", "quadratic"):
        assert all(a <= float(b) for a, b in zip(learned, lines[spacing], strict=True))
    stored = json.loads((run / "timesteps-5.json").read_text())
    assert len(stored["times"]) == 5
    for words in (
        ["--spacing", "learned"],
        ["--timesteps", "learned"],
        ["--times", ",".join(map(str, stored["times"]))],
    ):
        out = tmp_path / words[0]
        said = undiffuse("sample", run, "-n", 1, *words, *([] if "--times" in words else ["--steps", 5]), "--out", out)
        assert said.status == 0, said.err
    first, *others = ((tmp_path / word / "00000.png") for word in ("--spacing", "--timesteps", "--times"))
    pixels = np.asarray(Image.open(first))
    assert all(np.array_equal(pixels, np.asarray(Image.open(other))) for other in others)
    (run / "timesteps-5.json").unlink()  # the picture says its times itself
    assert "identical" in undiffuse("sample", run, "--from", first).out
    refused = undiffuse("timesteps", run, "--evaluations", "3")
    assert (refused.status, "--overwrite" in refused.err) == (2, True)


def test_learned_timesteps_are_refused_with_other_weights(undiffuse: Command, run: Path) -> None:
    undiffuse("timesteps", run, "--evaluations", "3", "--candidates", 5, "--limit", 2)
    said = undiffuse("sample", run, "-n", 1, "--timesteps", "learned", "--steps", 3, "--weights", "raw")
    assert said.status == 2
    assert "made for other weights" in said.err


def test_energy_distance_of_two_points_is_by_hand() -> None:
    """x = {0, 2}, y = {1, 5}: 2 mean(1, 5, 1, 3) - 2 - 4 = -1."""
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    assert energy_distance(x, y) == pytest.approx(-1)


def test_energy_distance_sees_a_shift_and_stays_at_its_floor_without_one() -> None:
    dice = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 300, 2, 4, generator=dice)
    floor = energy_floor(torch.cat([one, two]))
    assert abs(energy_distance(one, two)) < 4 * floor
    assert energy_distance(one, two + 0.5) > 10 * floor


def test_a_table_of_pictures_shows_every_cell_at_its_place() -> None:
    colors = [["red", "lime"], ["blue", "black"]]
    cells = [[Image.new("RGB", (40, 30), c) for c in row] for row in colors]
    sheet = labeled(cells, ["one", "two"], ["5", "10"], ("sampler", "network evaluations"))
    pixels = np.asarray(sheet)
    where = {
        c: np.argwhere((pixels == Image.new("RGB", (1, 1), c).getpixel((0, 0))).all(-1))
        for c in ("red", "lime", "blue", "black")
    }
    assert all(len(found) == 40 * 30 for found in where.values())
    top, left = {c: found.min(0)[0] for c, found in where.items()}, {c: found.min(0)[1] for c, found in where.items()}
    assert top["red"] == top["lime"] < top["blue"] == top["black"]
    assert left["red"] == left["blue"] < left["lime"] == left["black"]


@pytest.mark.filterwarnings("default")
def test_settings_of_one_sampler_are_heeded_in_its_row_alone(undiffuse: Command, run: Path, tmp_path: Path) -> None:
    words = (
        "--compare",
        "--evaluations",
        2,
        "-n",
        2,
        "--out",
        tmp_path,
        "--overwrite",
        "--eta",
        0.5,
        "--device",
        "cpu",
    )
    both = undiffuse("sample", run, *words, "--samplers", "ddim,ddpm")
    assert (both.status, "changes nothing" in both.err) == (0, False), both.err
    none = undiffuse("sample", run, *words, "--samplers", "ddpm")
    assert none.err.count("--eta 0.5 changes nothing here: it acts with --sampler ddim") == 1
