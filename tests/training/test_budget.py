"""Budgets become steps; time is a fake clock's, so nothing here depends on the machine."""

import pytest
import torch

from undiffuse import checkpoint
from undiffuse.config import LoopConfig
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.budget import SPARE, UNTIMED, Costs, fixed_total, measure_step, steps_that_fit
from undiffuse.training.check import check
from undiffuse.training.loop import training
from undiffuse.training.setup import make_learner, make_task


def test_a_budget_in_images_is_rounded_up_to_whole_batches():
    assert fixed_total(LoopConfig(batch=32, images=64)) == 2
    assert fixed_total(LoopConfig(batch=32, images=65)) == 3
    assert fixed_total(LoopConfig(steps=7)) == 7
    assert fixed_total(LoopConfig(minutes=1.0)) is None


def test_steps_grids_and_checkpoints_share_the_minutes():
    loop = LoopConfig(minutes=1.0, sample_every=10, checkpoint_every=20)
    costs = Costs(step=0.1, preview=2.0, checkpoint=1.0)
    steps = steps_that_fit(loop, costs, elapsed=5.0)

    def needed(n):
        return 5.0 + 0.1 * n + 2.0 * (n / 10 + 1) + 1.0 * (n / 20 + 1)

    assert needed(steps) <= 60 * (1 - SPARE) < needed(steps + 1)


def test_without_grids_only_steps_count():
    loop = LoopConfig(minutes=1.0, sample_every=0, checkpoint_every=0)
    assert steps_that_fit(loop, Costs(1.0, 99.0, 0.0), elapsed=0.0) == int(60 * (1 - SPARE))


def test_minutes_that_are_too_few_say_where_they_went():
    with pytest.raises(UndiffuseError, match=r"0\.1 minutes are too few: 9 s went into preparations"):
        steps_that_fit(LoopConfig(minutes=0.1), Costs(1.0, 1.0, 0.0), elapsed=9.0)


class StepClock:
    """A clock on which a step takes ``seconds`` and nothing else takes any time."""

    def __init__(self, learner, seconds):
        self.learner, self.seconds = learner, seconds

    def __call__(self):
        return self.learner.step * self.seconds


def test_measuring_leaves_no_trace(data, settings):
    states = []
    for measured in (False, True):
        model = build_model(settings(), data.info)
        learner = make_learner(model)
        task = make_task(model, data, 12)
        if measured:
            seconds = measure_step(task, learner, seconds=2.0, clock=StepClock(learner, 0.25))
            assert seconds == 0.25
            assert (learner.step, learner.images, learner.seconds, learner.optimizer.state) == (0, 0, 0.0, {})
        results = [(r.loss, r.grad_norm, r.lr) for r in training(task, learner)]
        tensors = [*learner.network.parameters(), *learner.ema.averages[0.99], *learner.ema.averages[0.9]]
        states.append((results, [t.detach().clone() for t in tensors]))
    assert states[0][0] == states[1][0]
    assert all(map(torch.equal, states[0][1], states[1][1]))


def test_the_first_steps_are_not_timed(data, settings):
    model = build_model(settings(), data.info)
    learner = make_learner(model)

    def clock():
        return 100.0 * min(learner.step, UNTIMED) + 0.5 * max(0, learner.step - UNTIMED)

    assert measure_step(make_task(model, data, 12), learner, seconds=0.0, clock=clock) == 0.5


def test_minutes_are_fixed_as_steps_which_a_resumed_run_keeps(data, settings, console, tmp_path):
    ticks = iter(range(10**6))
    config = settings(minutes=0.5, sample_every=4, checkpoint_every=4)
    start_run(config, data, tmp_path / "run", console=console, clock=lambda: next(ticks) / 4)
    states = [checkpoint.load(path).state for path in checkpoint.checkpoints(tmp_path / "run" / "checkpoints")]
    total = states[-1].total
    assert states[-1].step == total > 4
    assert f"{total} steps fit into 0.5 minutes" in console.text()
    last = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[-1]
    hashes = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    resume_run(tmp_path / "run", dataset=data, console=console, minutes=0.5)
    assert {path.name: path.read_bytes() for path in last.glob("*.safetensors")} == hashes


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"steps": 5, "images": 5}, "steps=5 and images=5"),
        ({"steps": 5, "minutes": 1.0}, "steps=5 and minutes=1"),
        ({"steps": 0}, "'steps' must be more than 0"),
        ({"minutes": float("nan")}, "'minutes' must be more than 0"),
        ({"clip": 0.0}, "'clip' must be more than 0"),
        ({"beta2": 1.0}, "'beta2' must be at least 0 and less than 1"),
        ({"seed": -1}, "'seed' must be at least 0"),
        ({"ema": ()}, "'ema' must be one or more different rates"),
        ({"ema": (0.9, 0.9)}, "different"),
        ({"batch": 4, "accumulate": 5}, "at most 'batch'"),
    ],
)
def test_settings_that_cannot_work_are_refused(flat, words, settings):
    with pytest.raises(UndiffuseError, match=words):
        check(settings(**flat))


def test_no_budget_is_refused(settings):
    with pytest.raises(UndiffuseError, match=r"exactly one budget.*got none"):
        check(settings(steps=None))
