"""Budgets become steps; time is a fake clock's, so nothing here depends on the machine."""

import os
import shutil
import signal

import pytest
import torch

from undiffuse.checkpoints import training_checkpoint
from undiffuse.cli import main
from undiffuse.config.training import LoopConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.training import budget
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.budget import UNTIMED, StepCosts, fixed_total, measure_step, steps_that_fit, too_short
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.loop import training
from undiffuse.training.pace import SPARE, Timer
from undiffuse.training.run import session
from undiffuse.training.run.signals import StoppedError
from undiffuse.training.run.validate import check


def test_a_budget_in_images_is_rounded_up_to_whole_batches():
    assert fixed_total(LoopConfig(batch=32, images=64)) == 2
    assert fixed_total(LoopConfig(batch=32, images=65)) == 3
    assert fixed_total(LoopConfig(steps=7)) == 7
    assert fixed_total(LoopConfig(minutes=1.0)) is None


def test_steps_grids_and_checkpoints_share_the_minutes():
    loop = LoopConfig(minutes=1.0, sample_every=10, checkpoint_every=20)
    costs = StepCosts(step=0.1, preview=2.0, checkpoint=1.0)
    steps = steps_that_fit(loop, costs, elapsed=5.0)

    def needed(n):
        return 5.0 + 0.1 * n + 2.0 * (n / 10 + 1) + 1.0 * (n / 20 + 1)

    assert needed(steps) <= 60 * (1 - SPARE) < needed(steps + 1)


def test_without_grids_only_steps_count():
    loop = LoopConfig(minutes=1.0, sample_every=0, checkpoint_every=0)
    assert steps_that_fit(loop, StepCosts(1.0, 99.0, 0.0), elapsed=0.0) == int(60 * (1 - SPARE))


def test_a_slow_moment_at_the_start_refuses_nothing():
    assert (
        steps_that_fit(LoopConfig(minutes=1.0), StepCosts(step=50.0, preview=15.0, checkpoint=5.0), elapsed=20.0) == 2
    )


def test_minutes_that_are_too_few_say_where_they_went():
    with pytest.raises(UndiffuseError, match=r"0\.1 minutes are too few: 9 s went into preparations"):
        steps_that_fit(LoopConfig(minutes=0.1), StepCosts(1.0, 1.0, 0.0), elapsed=9.0)


class StepClock:
    """A clock on which a step takes ``seconds`` and nothing else takes any time."""

    def __init__(self, train_state, seconds):
        self.train_state, self.seconds = train_state, seconds

    def __call__(self):
        return self.train_state.step * self.seconds


def test_measuring_leaves_no_trace(data, settings):
    states = []
    for measured in (False, True):
        model = build_model(settings(), data.info)
        train_state = make_train_state(model)
        train_step = make_train_step(model, data, 12)
        if measured:
            seconds = measure_step(train_step, train_state, seconds=2.0, clock=StepClock(train_state, 0.25))
            assert seconds == 0.25
            assert (train_state.step, train_state.images, train_state.seconds, train_state.optimizer.state) == (
                0,
                0,
                0.0,
                {},
            )
        results = [(r.loss, r.grad_norm, r.lr) for r in training(train_step, train_state)]
        tensors = [*train_state.network.parameters(), *train_state.ema.averages[0.99], *train_state.ema.averages[0.9]]
        states.append((results, [t.detach().clone() for t in tensors]))
    assert states[0][0] == states[1][0]
    assert all(map(torch.equal, states[0][1], states[1][1]))


def test_the_first_steps_are_not_timed(data, settings):
    model = build_model(settings(), data.info)
    train_state = make_train_state(model)

    def clock():
        return 1.0 * min(train_state.step, UNTIMED) + 0.5 * max(0, train_state.step - UNTIMED)

    assert measure_step(make_train_step(model, data, 12), train_state, seconds=0.0, clock=clock) == 0.5


class Machine:
    """A clock that only training steps move, each by ``seconds(now)``; those that measure the speed, too."""

    def __init__(self, monkeypatch, seconds):
        self.now = 0.0
        real = session.training

        def training(train_step, train_state):
            for result in real(train_step, train_state):
                self.now += seconds(self.now)
                yield result

        monkeypatch.setattr(session, "training", training)
        monkeypatch.setattr(budget, "training", training)

    def __call__(self):
        return self.now


def newest(run):
    last = training_checkpoint.checkpoints(run / "checkpoints")[-1]
    return last.name, {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def lines(run):
    found = read_metrics(run / "metrics.jsonl", keep=lambda line: True)
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def decisions(run):
    return training_checkpoint.load(training_checkpoint.checkpoints(run / "checkpoints")[-1]).state.decisions


def learned(run):
    """The lines that the training itself decides: grids come by the clock, which nobody repeats."""
    return [line for line in lines(run) if "samples" not in line]


TIMED = {"minutes": 0.15, "decay": "linear", "sample_every": None, "checkpoint_every": 4, "keep": 0, "sample_count": 1}


def slower(now):
    return 0.25 if now < 4 else 0.75


def test_minutes_hold_on_a_machine_that_becomes_slower(data, settings, console, tmp_path, monkeypatch):
    machine = Machine(monkeypatch, slower)
    start_run(settings(**TIMED), data, tmp_path / "run", console=console, timer=Timer(machine))
    assert 8 <= machine.now <= 9.75
    plans = [line["plan"]["total"] for line in lines(tmp_path / "run") if "plan" in line]
    assert plans[0] > 28
    state = training_checkpoint.load(training_checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[-1]).state
    assert state.step == state.total == plans[-1] < 24
    assert len(state.decisions) == len(plans)
    assert "the plan is" in (tmp_path / "run" / "train.log").read_text()


def test_a_training_that_goes_on_repeats_what_was_decided(data, settings, console, tmp_path, monkeypatch):
    """Whatever the clock says now: the decisions after the checkpoint are in metrics.jsonl."""
    run = tmp_path / "run"
    start_run(settings(**TIMED), data, run, console=console, timer=Timer(Machine(monkeypatch, slower)))
    whole = newest(run), learned(run), decisions(run)
    assert len(whole[2]) > 2
    for path in training_checkpoint.checkpoints(run / "checkpoints")[2:]:
        shutil.rmtree(path)
    resume_run(run, dataset=data, console=console, minutes=0.15)
    assert (newest(run), learned(run), decisions(run)) == whole


@pytest.mark.parametrize("step", [5, 10])
def test_a_stopped_training_in_minutes_is_the_one_with_the_same_decisions(
    step, data, settings, console, tmp_path, monkeypatch
):
    run, machine = tmp_path / "run", Machine(monkeypatch, slower)

    def stopping(train_step, train_state, real=session.training):
        for result in real(train_step, train_state):
            if result.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(session, "training", stopping)
        with pytest.raises(StoppedError, match=f"stopped at step {step}"):
            start_run(settings(**TIMED), data, run, console=console, timer=Timer(machine))
    machine.now += 1000  # time in which nothing is trained is not counted
    resume_run(run, dataset=data, console=console, timer=Timer(machine))
    assert 7.5 <= machine.now - 1000 <= 9.75
    whole = newest(run), learned(run), decisions(run)
    for path in training_checkpoint.checkpoints(run / "checkpoints")[1:]:
        shutil.rmtree(path)
    resume_run(run, dataset=data, console=console)
    assert (newest(run), learned(run), decisions(run)) == whole


def test_a_budget_that_is_too_short_is_told_and_what_would_be_enough(data, settings, console, tmp_path, monkeypatch):
    config = settings(minutes=0.1, warmup=100, sample_every=0)
    start_run(config, data, tmp_path / "run", console=console, timer=Timer(Machine(monkeypatch, lambda now: 0.5)))
    assert console.text().count("steps are too few to learn from") == 2
    assert "`minutes=10` would be a beginning" in console.text()  # 1.1 * 1000 * 0.5 s
    assert "too few to learn from" in (tmp_path / "run" / "train.log").read_text()


def test_what_is_said_of_short_budgets_fits_them(settings):
    assert too_short(settings(steps=2000, warmup=100), 2000) == ""
    assert "all of them inside the warm-up of 400" in too_short(settings(steps=400, warmup=400), 400)
    assert "half of them" in too_short(settings(steps=700, warmup=400), 700)
    assert "`steps=4000`, 9 min here," in too_short(settings(steps=700, warmup=400), 700, 0.12)
    assert too_short(settings(minutes=1.0, warmup=400), 700) == ""  # whose warm-up is a tenth of it
    assert "1 step is too few" in too_short(settings(steps=1, warmup=0), 1)
    assert too_short(settings(steps=10, start_from="runs/old"), 10) == ""


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"steps": 5, "images": 5}, "`steps=5` and `images=5`"),
        ({"steps": 5, "minutes": 1.0}, "`steps=5` and `minutes=1"),
        ({"steps": 0}, "`steps` must be more than 0"),
        ({"minutes": float("nan")}, "`minutes` must be more than 0"),
        ({"clip": 0.0}, "`clip` must be more than 0"),
        ({"beta2": 1.0}, "`beta2` must be at least 0 and less than 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"ema": ()}, "`ema` must be one or more different rates"),
        ({"ema": (0.9, 0.9)}, "different"),
        ({"batch": 4, "accumulate": 5}, "at most `batch`"),
        ({"gamma": -5.0}, "`gamma` must be more than 0"),
        ({"logit_std": -1.0}, "`logit_std` must be at least 0"),
        ({"minutes": float("inf")}, "`minutes` must be a finite number, got inf"),
        ({"lr": float("inf")}, "`lr` must be a finite number, got inf"),
        ({"p2_gamma": float("nan")}, "`p2_gamma` must be a finite number, got nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(flat, words, settings):
    with pytest.raises(UndiffuseError, match=words):
        check(settings(**flat))


def test_no_budget_is_refused(settings):
    with pytest.raises(UndiffuseError, match=r"exactly one budget.*got none"):
        check(settings(steps=None))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("--steps", "2", "--lr", "-1"), "--lr must be more than 0, got -1.0"),
        (("--steps", "2", "--beta1", "1"), "--beta1 must be at least 0 and less than 1, got 1.0"),
        (("--steps", "2", "--batch", "2", "--accumulate", "4"), "--accumulate splits a batch of 2 into 4 parts"),
        (("--steps", "2", "--minutes", "1"), "budget: --steps, --images or --minutes (for example --steps 1000); got"),
    ],
)
def test_the_command_line_calls_what_is_out_of_range_by_its_option(capsys, tmp_path, typed, sentence):
    assert main(["train", "digits", "--runs", str(tmp_path), *typed]) == 2
    assert sentence in capsys.readouterr().err
