"""The loss on what is held out, and callbacks: what they see, what follows, and that a resumed run is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.checkpoints.training_checkpoint import latest
from undiffuse.data.order import held_out_samples
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import EPSILON
from undiffuse.diffusion.schedules import cosine
from undiffuse.errors import UndiffuseError
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.validation import BEST, even_times, validation_loss
from undiffuse.training.loop import HeldOut, TrainBatch

SMALL = {
    "base": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "batch": 4,
    "device": "cpu",
    "sample_every": 0,
    "quiet": True,
    "decay": "constant",
    "warmup": 0,
    "ema": (0.5,),
    "timesteps": 16,
}


def pictures(count=40, seed=0):
    dice = np.random.default_rng(seed)
    base = dice.integers(20, 200, (count, 1, 1)) + dice.integers(0, 50, (count, 8, 8))
    return [(values.astype(np.uint8), "even" if k % 2 else "odd") for k, values in enumerate(base)]


@pytest.fixture
def train(own_cache, tmp_path):
    return lambda **how: undiffuse.train(pictures(), **{**SMALL, "name": "run", "runs": tmp_path, **how})


def looks(folder):
    return read_metrics(folder / "metrics.jsonl", lambda line: "validation" in line)


def weights(folder):
    from safetensors.torch import load_file

    path, _ = latest(folder / "checkpoints")
    return {f"{file.name}/{k}": v for file in path.glob("*.safetensors") for k, v in load_file(file).items()}


def test_of_the_ideal_denoiser_it_is_the_error_that_nobody_is_below():
    """x0 ~ N(0, 1): the mean squared error of epsilon is alpha^2 at each t."""
    schedule = cosine(1000)
    x0 = torch.randn(1024, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    held_out = HeldOut(len(x0), lambda numbers: TrainBatch(x0[numbers.start : numbers.stop], torch.empty(0)))
    ideal = gaussian_denoiser(schedule, (1, 8, 8), 0.0, 1.0)
    loss, by_quarter = validation_loss(Objective(EPSILON, UniformWeight()), ideal, held_out, 100, seed=0)
    times = even_times(schedule, 1024, 0)
    alpha = schedule(times).alpha ** 2
    assert loss == pytest.approx(alpha.mean().item(), rel=0.01)
    quarter = torch.ceil(4 * times / 1000) - 1
    for k, found in enumerate(by_quarter):
        assert found == pytest.approx(alpha[quarter == k].mean().item(), rel=0.03)
    again = validation_loss(Objective(EPSILON, UniformWeight()), ideal, held_out, 100, seed=0)
    assert again == (loss, by_quarter), "the same noise at every look"


def test_what_is_held_out_is_never_learned_and_the_same_for_every_seed(train, tmp_path):
    class Seen(undiffuse.Callback):
        def begin(self, training):
            self.batches = [training.train_step.images(step) for step in range(40)]

    found = []
    for seed in (0, 1):
        seen = Seen()
        train(name=f"seed-{seed}", steps=1, validation=0.25, seed=seed, callbacks=[seen])
        found.append({tuple(x.flatten().tolist()) for batch in seen.batches for x in batch})
    assert len(found[0]) == 30, "all others are"
    assert found[0] == found[1]
    held_out = set(held_out_samples(40, 0.25).tolist())
    assert len(held_out) == 10
    values = [np.float32(values) / 127.5 - 1 for values, _ in pictures()]
    for k, picture in enumerate(values):
        near = any(np.allclose(picture.flatten(), one, atol=1e-5) for one in found[0])
        assert near == (k not in held_out)


def test_lines_and_the_best_weights(train, tmp_path):
    train(steps=20, validation=0.25, validate_every=4, condition=("class",))
    found = looks(tmp_path / "run")
    assert [line["step"] for line in found] == [4, 8, 12, 16, 20]
    assert found[0]["validation"]["count"] == 10
    losses = [line["validation"]["loss"] for line in found]
    assert len(set(losses)) == 5
    best = undiffuse.load(tmp_path / "run" / BEST)
    assert best.provenance["step"] == found[losses.index(min(losses))]["step"]
    assert best.sample(1, steps=1).array.shape == (1, 1, 8, 8)


def test_looks_come_by_parts_of_the_budget_and_change_nothing_of_the_training(train, tmp_path):
    train(steps=60, validation=0.25)
    assert [line["step"] for line in looks(tmp_path / "run")] == list(range(3, 61, 3))
    train(name="seldom", steps=60, validation=0.25, validate_every=60)
    one, two = weights(tmp_path / "run"), weights(tmp_path / "seldom")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_other_data(train, tmp_path):
    train(steps=4, validation=pictures(9, seed=1), validate_every=2, condition=("class",))
    assert [line["validation"]["count"] for line in looks(tmp_path / "run")] == [9, 9]
    with pytest.raises(UndiffuseError, match="has other classes than the data"):
        train(name="b", steps=1, validation=[(p, "x") for p, _ in pictures(9)], condition=("class",))
    with pytest.raises(UndiffuseError, match=r"samples of the shape \(1, 4, 4\)"):
        train(name="c", steps=1, validation=[p[:4, :4] for p, _ in pictures(9)])
    with pytest.raises(UndiffuseError, match="which does not exist"):
        train(name="d", steps=1, validation=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"validation": 1.0}, "`validation` is a share of the data below 1"),
        ({"validation": -0.1}, "`validation` is a share of the data below 1"),
        ({"validation": 0.999}, "holds out all of 40 samples"),
        ({"validation": 0.1, "validate_every": 0}, "`validate_every` must be at least 1"),
        ({"patience": -1}, "`patience` must be at least 0"),
        ({"callbacks": [undiffuse.Callback]}, "callbacks= is a list of"),
        ({"callbacks": print}, "callbacks= is a list of"),
    ],
)
def test_what_cannot_be_is_refused(train, how, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        train(steps=2, **how)


class Rising(undiffuse.Callback):
    """Makes every look after the second one worse, by weights that it spoils."""

    def __init__(self):
        self.steps = []

    def step(self, training, result):
        self.steps.append(result.step)
        if result.step >= 4:
            with torch.no_grad():
                for average in next(iter(training.train_state.ema.averages.values())):
                    average.mul_(1.5)


def test_a_training_ends_where_nothing_gets_better(train, tmp_path, capsys):
    rising = Rising()
    train(steps=100, validation=0.25, validate_every=2, patience=3, callbacks=[rising], quiet=False)
    said = capsys.readouterr().err
    assert "the validation loss has not fallen for 3 looks: the training ends" in said
    steps = [line["step"] for line in looks(tmp_path / "run")]
    assert rising.steps[-1] == steps[-1] < 100
    assert undiffuse.load(tmp_path / "run").provenance["step"] == rising.steps[-1]
    model = undiffuse.train(name="run", runs=tmp_path, resume=True, quiet=True)
    assert model.provenance["step"] == rising.steps[-1], "it is finished"


class Stops(undiffuse.Callback):
    """Stops the process as Ctrl-C does."""

    def __init__(self, at):
        self.at = at

    def step(self, training, result):
        if result.step == self.at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_was_stopped_goes_on_to_the_same_looks_and_the_same_end(train, tmp_path):
    how = {"steps": 30, "validation": 0.25, "validate_every": 3, "patience": 2}
    train(name="whole", **how)
    with pytest.raises(UndiffuseError, match="stopped at step 7"):
        train(name="parts", **how, callbacks=[Stops(7)])
    undiffuse.train(name="parts", runs=tmp_path, resume=True, quiet=True)
    assert looks(tmp_path / "parts") == looks(tmp_path / "whole")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_callbacks_see_the_training_and_log_to_its_metrics(train, tmp_path):
    heard = []

    class Listener(undiffuse.Callback):
        def begin(self, training):
            heard.append(("begin", training.step, training.total, training.folder.name))

        def step(self, training, result):
            if result.step == 2:
                training.log(twice=2 * result.step)
                average = training.averaged()
                assert not average.network.training
                assert training.model.network.training
                assert average.sample(1, steps=1).array.shape == (1, 1, 8, 8)

        def line(self, training, line):
            heard.append(("line", line["step"], sorted(set(line) & {"logged", "loss"})))

        def saved(self, training, checkpoint):
            heard.append(("saved", checkpoint.name))

        def end(self, training):
            heard.append(("end", training.step))

    train(steps=4, log_every=4, checkpoint_every=2, callbacks=[Listener()])
    assert heard == [
        ("begin", 0, 4, "run"),
        ("line", 2, ["logged"]),
        ("saved", "step-00000002"),
        ("line", 4, ["loss"]),
        ("saved", "step-00000004"),
        ("end", 4),
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"step": 2, "logged": {"twice": 4.0}} in lines


def test_a_callback_ends_a_training(train, tmp_path):
    class Enough(undiffuse.Callback):
        def step(self, training, result):
            if result.step == 5:
                training.stop("this is enough")

    model = train(steps=50, callbacks=[Enough()])
    assert model.provenance["step"] == 6


def test_a_loader_brings_its_batch_size(train, tmp_path):
    from torch.utils.data import DataLoader, TensorDataset

    images = torch.stack([torch.from_numpy(values)[None] for values, _ in pictures()])
    own = {key: value for key, value in SMALL.items() if key != "batch"}
    model = undiffuse.train(DataLoader(TensorDataset(images), batch_size=5), name="l", runs=tmp_path, steps=1, **own)
    assert model.config.loop.batch == 5
    model = undiffuse.train(DataLoader(images, batch_size=5), name="m", runs=tmp_path, steps=1, batch=3, **own)
    assert model.config.loop.batch == 3


def test_students_of_a_run_that_held_out_a_share_do_not_learn_it_either(train, tmp_path):
    train(steps=2, validation=0.25, patience=3, parameterization="v")
    how = {"method": "regression", "steps": 1, "teacher_steps": 2, "updates": 1, "quiet": True, "runs": tmp_path}
    student = undiffuse.distill(tmp_path / "run", name="fast", **how)
    assert student.config.data.validation == 0.25
    assert looks(tmp_path / "fast") == [], "its loss is a distance from its teacher"
    train(name="other", steps=2, validation=pictures(9, seed=1), parameterization="v")
    assert undiffuse.distill(tmp_path / "other", name="fast-2", **how).config.data.validation == 0.0
