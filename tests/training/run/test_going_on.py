"""A run that is finished goes on: its learning rate rises and falls once more, and that is resumed exactly, too."""

import os
import shutil
import signal
from dataclasses import replace

import pytest

from undiffuse.checkpoints.training_checkpoint import State, checkpoints, load, save
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.training import budget
from undiffuse.training.api import resume_run, start_run, unused_classes
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.pace import Timer
from undiffuse.training.run import session
from undiffuse.training.run.replay import recorded
from undiffuse.training.run.resume import reconcile
from undiffuse.training.run.signals import StoppedError
from undiffuse.training.step_plan import Decision, Plan

FLAT = {"sample_every": 0, "checkpoint_every": 0, "keep": 0, "log_every": 1, "ema": (0.9,)}


def stop_at(step, patch):
    """SIGTERM after a step."""
    real = session.training

    def training(task, train_state):
        for result in real(task, train_state):
            if result.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield result

    patch.setattr(session, "training", training)


def end(run):
    last = checkpoints(run / "checkpoints")[-1]
    return last.name, {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def lines(run):
    found = read_metrics(run / "metrics.jsonl", keep=lambda line: True)
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def rates(run):
    return {line["step"]: line["lr"] for line in read_metrics(run / "metrics.jsonl")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    import tiny
    import torch

    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("finished") / "run"
    start_run(tiny.tiny_settings(steps=4, warmup=2, **FLAT), tiny.tiny_data(), run)
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_steps_are_counted_from_the_beginning_and_the_rate_rises_once_more(run, data, console):
    resume_run(run, dataset=data, console=console, steps=12)
    state = load(checkpoints(run / "checkpoints")[-1]).state
    assert (state.step, state.total, state.decisions) == (12, 12, ((4, 0.0, 12, 4, 0.0),))
    found = rates(run)
    assert found[4] < found[5] == 1e-3 > found[6] > found[12] > 0
    assert found[7] == pytest.approx(1e-3 * 0.5 * (1 + 2**-0.5))  # a fourth of the new steps is spent before it
    assert "from step 4, where it was finished" in console.text()
    assert read_config(run / "config.yaml").loop.steps == 12


@pytest.mark.parametrize("step", [5, 9])
def test_a_stop_after_going_on_changes_no_bit(step, run, data, console, tmp_path, monkeypatch):
    whole = shutil.copytree(run, tmp_path / "whole")
    resume_run(whole, dataset=data, console=console, steps=12)
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        with pytest.raises(StoppedError):
            resume_run(run, dataset=data, console=console, steps=12)
    resume_run(run, dataset=data, console=console)
    assert end(run) == end(whole)
    assert lines(run) == lines(whole)


def test_what_was_killed_before_anything_was_saved_goes_on_all_the_same(run, data, console, tmp_path):
    whole = shutil.copytree(run, tmp_path / "whole")
    resume_run(whole, dataset=data, console=console, steps=12)
    shutil.copy(whole / "metrics.jsonl", run / "metrics.jsonl")  # all that a kill at its end would have left
    resume_run(run, dataset=data, console=console)
    assert end(run) == end(whole)
    assert lines(run) == lines(whole)
    assert load(checkpoints(run / "checkpoints")[-1]).config.loop.steps == 12


def test_minutes_are_added_and_hold(run, data, console, monkeypatch):
    now, real = [0.0], session.training

    def training(task, train_state):
        for result in real(task, train_state):
            now[0] += 0.5
            yield result

    monkeypatch.setattr(session, "training", training)
    monkeypatch.setattr(budget, "training", training)
    resume_run(run, dataset=data, console=console, timer=Timer(lambda: now[0]), minutes=0.1)
    assert 5 <= now[0] <= 6.5
    checkpoint = load(checkpoints(run / "checkpoints")[-1])
    assert checkpoint.config.loop.minutes == 0.1
    assert checkpoint.config.loop.steps is None
    assert 12 <= checkpoint.state.step <= 4 + 13
    assert checkpoint.state.decisions[0][3] == 4
    again = len(checkpoints(run / "checkpoints"))
    resume_run(run, dataset=data, console=console, timer=Timer(lambda: now[0]))  # finished: nothing is left to do
    assert len(checkpoints(run / "checkpoints")) == again


def test_minutes_that_are_over_at_once_leave_the_run_as_it_was(run, data, console):
    """They were written into config.yaml first, and then said to have been edited there."""
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(UndiffuseError, match="too few"):
        resume_run(run, dataset=data, console=console, minutes=1e-9)
    assert (run / "config.yaml").read_bytes() == before


def test_it_can_go_on_twice(run, data, console):
    resume_run(run, dataset=data, console=console, steps=6)
    resume_run(run, dataset=data, console=console, images=4 * 9)
    state = load(checkpoints(run / "checkpoints")[-1]).state
    assert [decision[0] for decision in state.decisions] == [4, 6]
    assert state.step == 9


def test_fewer_steps_than_were_taken_are_refused_with_what_to_type(finished, data, console):
    with pytest.raises(UndiffuseError, match=r"has 4 steps already.*steps=3, which counts all of them.*`steps=1004`"):
        resume_run(finished, dataset=data, console=console, steps=3)


def test_an_unfinished_run_takes_another_budget_from_the_share_that_is_spent(settings):
    config, state = settings(steps=100, decay="linear", warmup=0), State(50, 100, 200, 5.0)
    going = reconcile(config, state, {"steps": 200})
    assert going.budget.decision == Decision(50, 0.5, 200)
    plan = Plan(100, [going.budget.decision])
    assert [plan.share(step) for step in (50, 125, 200)] == [0.5, 0.75, 1.0]
    assert reconcile(config, state, {"steps": 100}).budget is None
    timed = reconcile(config, state, {"minutes": 3.0}).budget
    assert timed.decision.spent == 0
    with pytest.raises(UndiffuseError, match="has spent 2 minutes already"):
        reconcile(settings(minutes=5.0), State(50, 100, 200, 120.0), {"minutes": 1.0})


def test_a_run_in_minutes_from_before_there_were_decisions_keeps_its_steps(run, data, settings, console):
    last = load(checkpoints(run / "checkpoints")[-1])
    shutil.rmtree(run / "checkpoints")
    old = State(step=4, total=7, images=16, seconds=1.0, window=last.state.window)
    config = settings(minutes=1.0, warmup=2, **FLAT)
    save(replace(last, config=config, state=old), run / "checkpoints")
    resume_run(run, dataset=data, console=console)
    state = load(checkpoints(run / "checkpoints")[-1]).state
    assert (state.step, state.total, state.decisions) == (7, 7, ())
    plan = Plan(7)
    assert rates(run)[6] == plan.learning_rate(config.optimizer, 5)


def test_lines_that_no_training_wrote_are_not_followed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    budget = '{"step": 5, "plan": {"total": 9, "share": 0.5, "budget": {"lr": 9}}}'
    early, number = '{"step": 5, "plan": {"total": 2, "share": 0.0}}', '{"step": 5, "plan": 3}'
    for text in (early, number, budget, "none", '{"step": "a"}'):
        path.write_text(text + "\n")
        assert recorded(path, 0).decisions == ()
    assert recorded(tmp_path / "none", 0).until == 0


@pytest.mark.parametrize(
    "numbers", [(5, 0.0, 5, 0, 0.0), (5, 1.0, 9, 0, 0.0), (5, 0.0, 9, 6, 0.0), (-1, 0.0, 9, 0, 0.0)]
)
def test_decisions_that_cannot_be_are_refused(numbers):
    with pytest.raises(UndiffuseError, match="it is torn"):
        Plan.of(9, [numbers])


def test_classes_that_are_not_used_are_told_of_once(data, settings):
    classes = replace(data.info, classes=("cat", "dog"))
    assert "2 classes (cat, dog)" in unused_classes(settings(), classes)
    assert "`condition=class`" in unused_classes(settings(), classes)
    assert unused_classes(settings(), data.info) == ""
    assert unused_classes(settings(condition=("class",)), classes) == ""
    assert unused_classes(settings(condition=("text",)), classes) == ""
    assert unused_classes(settings(upscale=2), classes) == ""
