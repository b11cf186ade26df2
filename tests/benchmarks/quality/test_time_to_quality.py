from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.lib.contenders.averages import PowerEMA, rising_rate
from benchmarks.lib.contenders.others import CONTENDERS, MULTIPLE, Padded, jabri_sigmoid
from benchmarks.lib.contenders.training import Training
from benchmarks.lib.feature_judge import make_judge
from benchmarks.quality import time_to_quality
from benchmarks.quality.time_to_quality import Book, Entry, Plan, compare, curves, plot, table, verdict
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.training import EMAConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.diffusion.parameterization import V
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features import classifier_training
from undiffuse.factories.loss import make_weighting

TINY = "base=4 multipliers=[1] blocks=1 attention_levels=[] middle_attention=false patch=2 batch=4"


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """Coloured bars whose place is their class, of 16 x 16."""
    stream = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = stream.integers(0, 40, (60, 16, 16, 3)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        image[:, 8 * label : 8 * label + 4] += 200
    folder = tmp_path_factory.mktemp("bars")
    np.savez(folder / "bars.npz", x=x, y=y)
    return prepare(DataConfig(source=str(folder / "bars.npz")), folder / "cache")


@pytest.fixture(scope="module")
def judge(bars, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier_training, "EPOCHS", 1)
        return make_judge(bars)


def points(**curves):
    """Results as they stand in a book: name -> distances at 1, 2, ... minutes."""
    return [
        {"name": name.replace("_", "-"), "seed": 0, "mark": 60.0 * (k + 1), "fd": fd, "sampler": "common"}
        | {"steps": 10 * (k + 1), "parameters": 1000, "batch": 4, "ours": name.startswith("small")}
        for name, distances in curves.items()
        for k, fd in enumerate(distances)
    ]


def test_a_judge_finds_no_distance_between_the_reference_and_itself(bars, judge):
    assert judge.distance(bars.images) == pytest.approx(0, abs=1e-4)
    assert judge.distance(255 - bars.images) > judge.distance(bars.images[::2]) > 1e-4
    assert judge.extractor.sha256[:12] in str(judge)


def test_a_comparison_writes_every_point_once_and_goes_on_where_it_broke_off(bars, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_quality, "COMMON", SampleConfig.of(sampler="ddim", steps=1))
    plan = Plan(minutes=0.004, points=2, n=4, slice_seconds=0.1)
    entries = [Entry.parse(f"{name} {TINY}", plan.minutes) for name in ("small", "lucidrains-our-size")]
    book = Book(tmp_path / "results.jsonl", {"n": 4})
    compare(bars, judge, entries[:1], [0], plan, book)
    again = Book(tmp_path / "results.jsonl", {"n": 4})
    compare(bars, judge, entries, [0], plan, again)
    assert [p["name"].split()[0] for p in again.points] == ["small"] * 2 + ["lucidrains-our-size"] * 2
    assert [p["mark"] for p in again.points] == pytest.approx([0.24 / 5**0.5, 0.24] * 2)
    assert all(math.isfinite(p["fd"]) for p in again.points)
    assert len(list(tmp_path.glob("*.png"))) == 2
    compare(bars, judge, entries, [0], plan, Book(tmp_path / "results.jsonl", {"n": 4}))
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 5


def test_a_book_refuses_results_of_another_comparison(tmp_path):
    Book(tmp_path / "results.jsonl", {"judge": "a"})
    with pytest.raises(UndiffuseError, match="another comparison"):
        Book(tmp_path / "results.jsonl", {"judge": "b"})


def test_the_newest_of_two_results_for_one_point_counts(tmp_path):
    book = Book(tmp_path / "results.jsonl", {})
    for fd in (3.0, 2.0):
        book.add(points(small=[fd])[0])
    assert [p["fd"] for p in book.latest()] == [2.0]
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[-1])["fd"] == 2.0


def test_an_entry_has_a_contender_its_changes_and_a_budget(bars):
    entry = Entry.parse("small@2 lr=1e-3 multipliers=[1,2] optimizer=muon flip=true", 10)
    config = entry.contender.settings(bars.info)
    assert (entry.minutes, entry.contender.name) == (2, "small@2 lr=1e-3 multipliers=[1,2] optimizer=muon flip=true")
    assert (config.optimizer.lr, config.network.multipliers, config.optimizer.optimizer) == (1e-3, (1, 2), "muon")
    assert config.data.flip
    assert Entry.parse("slow one: small lr=1e-3", 10).contender.name == "slow one"


@pytest.mark.parametrize(("text", "words"), [("smal", "perhaps"), ("small lr", "setting=value")])
def test_an_entry_that_says_nothing_is_refused(text, words):
    with pytest.raises(UndiffuseError, match=words):
        Entry.parse(text, 10)


def test_marks_hold_a_fifth_of_the_budget_and_the_end():
    plan = Plan(minutes=10, points=6, n=1)
    assert plan.marks(10)[-3:] == pytest.approx([120, 600 / 5**0.5, 600])
    assert plan.marks(2) == pytest.approx(plan.marks(10)[:4])
    assert plan.marks(3)[-2:] == pytest.approx([120, 180])


def test_the_verdict_names_when_ours_were_as_good():
    found = verdict(points(small=[9, 4, 2], diffusers=[20, 9, 5], lucidrains=[30, 20, 10]))
    assert "diffusers, 5.0; as good: small at 2 min" in found
    assert "1 min: ours 9.0, others 20.0" in found
    assert "none of ours" in verdict(points(small=[9], diffusers=[5]))


def test_a_table_has_medians_and_extremes():
    rows = points(small=[9, 4]) + [p | {"seed": 1, "fd": p["fd"] + 2} for p in points(small=[9, 4])]
    text = table(rows, 1.5)
    assert "| small | 0.00 M | 80 | 10.0 (9.0-11.0) | 5.0 (4.0-6.0) |" in text
    assert "held-out images: 1.50" in text
    assert curves(rows)["small"] == {60.0: [9, 11], 120.0: [4, 6]}


def test_a_plot_names_every_contender():
    svg = plot(points(small=[9, 4], diffusers=[20, 9]), 1.5, Plan(2, 2, 10))
    assert all(f">{name}<" in svg for name in ("small", "diffusers", "held-out images"))


def test_jabris_schedule_is_a_sigmoid():
    schedule = jabri_sigmoid()
    assert schedule.alpha_bar[500] == pytest.approx(0.5)
    # sigmoid(-1.5) - sigmoid(-3) over sigmoid(3) - sigmoid(-3), by hand
    assert schedule.alpha_bar[750] == pytest.approx((0.182425524 - 0.047425873) / (0.952574127 - 0.047425873), abs=1e-6)


def test_lucidrains_weight_is_snr_over_snr_plus_one(bars):
    config = CONTENDERS["lucidrains"].settings(bars.info)
    schedule, t = jabri_sigmoid(), torch.tensor([10.0, 500.0, 990.0], dtype=torch.float64)
    snr = schedule.log_snr(t).exp()
    weight = make_weighting(config.objective).weight(schedule, t, V)
    torch.testing.assert_close(weight, snr / (snr + 1))


def test_averages_rise_by_their_power_and_start_as_copies():
    network = nn.Linear(1, 1, bias=False)
    ema = PowerEMA(network, EMAConfig(ema=(0.9999,)), power=0.75)
    # as diffusers' and ema-pytorch's documentation say
    assert rising_rate(0.9999, 3 / 4, 0, 9_999) == pytest.approx(0.999)
    assert rising_rate(0.9999, 2 / 3, 0, 31_622) == pytest.approx(0.999, abs=1e-6)
    with torch.no_grad():
        network.weight.fill_(3.0)
    ema.update(0)
    assert ema.state_dict(0.9999)["weight"].item() == 3


def test_an_average_of_every_ten_steps_copies_until_step_100():
    network = nn.Linear(1, 1, bias=False)
    ema = PowerEMA(network, EMAConfig(ema=(0.995,)), power=2 / 3, every=10, after=100)
    seen = {}
    for step in range(121):
        with torch.no_grad():
            network.weight.fill_(float(step))
        ema.update(step)
        seen[step] = ema.state_dict(0.995)["weight"].item()
    assert (seen[19], seen[100], seen[109]) == (10, 100, 100)
    assert seen[110] == pytest.approx(100 + 10 * 11 ** (-2 / 3), rel=1e-5)


def test_a_foreign_network_sees_sizes_it_can_halve():
    class Echo(nn.Module):
        def forward(self, x, time):
            assert not x.shape[2] % MULTIPLE
            assert not x.shape[3] % MULTIPLE
            return type("Output", (), {"sample": x})

    x = torch.randn(2, 1, 28, 33)
    torch.testing.assert_close(Padded(Echo())(x, torch.zeros(2)), x)


@pytest.mark.parametrize("name", ["diffusers-our-size", "lucidrains-our-size"])
def test_rivals_of_our_size_have_the_network_of_the_recipe(bars, name):
    theirs, ours = (CONTENDERS[key].settings(bars.info).network for key in (name, "small"))
    assert (theirs.base, theirs.multipliers, theirs.patch) == (ours.base, ours.multipliers, ours.patch)
    assert theirs.attention_levels == ours.attention_levels


def test_a_training_draws_samples_of_the_datas_shape(bars):
    contender = Entry.parse(f"diffusers-our-size {TINY}", 1).contender
    training = Training(contender, bars, seed=0, device="cpu", changes={"flip": True})
    training.plan(0.0, 1.0)
    training.step()
    samples = training.samples(3, SampleConfig.of(sampler="ddim", steps=2))
    assert samples.array.shape == (3, 3, 16, 16)
    assert training.config.data.flip


@pytest.mark.slow
def test_diffusers_network_is_the_scripts(bars):
    pytest.importorskip("diffusers")
    contender = CONTENDERS["diffusers"]
    assert contender.network is not None
    network = partial(contender.network, contender.settings(bars.info))(bars.info)
    assert sum(p.numel() for p in network.parameters()) == 113_673_219
