from __future__ import annotations

import json

import pytest
import torch

from benchmarks.lib.alternation import Load, alternate, write_json, write_plot
from benchmarks.lib.ours import Ours
from benchmarks.quality.demo_against_textbook import settings
from undiffuse.config.files import override
from undiffuse.model import load


class FakeTime:
    """A clock that others move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Sleeper:
    """Its steps take a fixed time and learn nothing."""

    def __init__(self, name, time, cost, log):
        self.name, self.time, self.cost, self.log, self.steps = name, time, cost, log, 0
        self.plans = []

    def plan(self, spent, left):
        self.plans.append((spent, left))

    def step(self):
        self.time.now += self.cost
        self.steps += 1
        self.log.append((self.name, self.time.now))


def two_sleepers():
    time, log = FakeTime(), []
    return time, log, [Sleeper("slow", time, 3.0, log), Sleeper("quick", time, 0.5, log)]


def test_everyone_gets_the_same_time():
    time, _, sleepers = two_sleepers()
    load = alternate(sleepers, [30, 60], lambda *_: None, slice_seconds=10, clock=time, wall=time)
    assert [sleeper.steps * sleeper.cost for sleeper in sleepers] == [60, 60]
    assert load.processor == load.wall == 120


def test_nobody_is_more_than_a_slice_and_a_step_ahead():
    time, log, sleepers = two_sleepers()
    alternate(sleepers, [60], lambda *_: None, slice_seconds=10, clock=time, wall=time)
    spent = {"slow": 0.0, "quick": 0.0}
    for name, _ in log:
        spent[name] += 3.0 if name == "slow" else 0.5
        assert abs(spent["slow"] - spent["quick"]) <= 10 + 3


def test_marks_are_met_once_each_and_looking_costs_nothing():
    time, _, sleepers = two_sleepers()
    seen = []

    def look(trainee, mark, spent):
        time.now += 1000
        seen.append((trainee.name, mark, spent))

    alternate(sleepers, [7, 20], look, slice_seconds=10, clock=time, wall=time)
    assert sorted(seen) == [("quick", 7, 7.0), ("quick", 20, 20.0), ("slow", 7, 9.0), ("slow", 20, 21.0)]


def test_plans_count_down_the_budget():
    time, _, sleepers = two_sleepers()
    alternate(sleepers, [20], lambda *_: None, slice_seconds=10, clock=time, wall=time)
    assert sleepers[1].plans == [(0.0, 20.0), (10.0, 10.0)]


def test_a_load_says_when_others_were_at_work():
    assert "under load" in str(Load(50, 100))
    assert "under load" not in str(Load(99, 100))


def test_a_training_in_slices_ends_its_learning_rate_with_its_budget(bench, monkeypatch):
    ours, time = Ours("demo", override(settings("demo", bench.data, 0), batch=2), bench.data), FakeTime()

    def step(real=ours.step):
        real()
        time.now += 1.0

    monkeypatch.setattr(ours, "step", step)
    alternate([ours], [6.0], lambda *_: None, slice_seconds=2, clock=time, wall=time)
    assert ours.steps == ours.task.plan.total == 6


def test_a_kept_training_is_loaded_with_its_average(bench, tmp_path):
    ours = Ours("textbook", override(settings("textbook", bench.data, 0), batch=2), bench.data)
    ours.plan(0, 1)
    ours.step()
    model = load(ours.keep(tmp_path))
    for name, tensor in ours.averaged().network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor)


def test_textbook_has_the_networks_and_the_batch_of_the_demo(bench):
    demo, textbook = (settings(name, bench.data, 0) for name in ("demo", "textbook"))
    assert textbook.network == demo.network
    assert textbook.loop == demo.loop
    assert textbook.ema == demo.ema
    assert (textbook.diffusion.schedule, textbook.diffusion.parameterization) == ("linear", "epsilon")
    assert (textbook.objective.weighting, textbook.objective.time_law) == ("uniform", "uniform")


def test_results_replace_a_file_whole(tmp_path):
    write_json(tmp_path / "new" / "results.json", {"a": 1})
    write_json(tmp_path / "new" / "results.json", {"a": 2})
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == {"a": 2}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_a_plot_in_a_file_has_its_own_ground(tmp_path):
    write_plot(tmp_path / "plot.svg", '<svg xmlns="x"></svg>')
    assert "background:#fff" in (tmp_path / "plot.svg").read_text()


@pytest.mark.parametrize("name", ["tuned", "unpatched", "trial"])
def test_every_rival_is_a_valid_recipe(bench, name):
    assert settings(name, bench.data, 3).loop.seed == 3
