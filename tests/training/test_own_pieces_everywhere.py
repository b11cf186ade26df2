"""A program's own network, loss, schedule and optimizer under everything that a model is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import undiffuse
from tests.training.test_own_pieces import HOW, OWN, Charbonnier, FiLM, HalfSteps, descent, pictures
from undiffuse.checkpoints.training_checkpoint import latest
from undiffuse.config import registry
from undiffuse.data.preparation.prepare import prepare
from undiffuse.diffusion.schedules import cosine
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.make import make_extractor
from undiffuse.evaluation.images import choose
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.quality.evaluate import QualitySettings, evaluate
from undiffuse.evaluation.quality.image_source import ModelSamples
from undiffuse.evaluation.quality.reference import Reference
from undiffuse.factories.network import _checked
from undiffuse.studio.library.models import ModelLibrary


class Enlarger(nn.Module):
    """A stage's network, of what it is told."""

    def __init__(self, channels, outputs, conditions):
        super().__init__()
        told = next(condition.size for condition in conditions if condition.name == "small")
        self.mix = nn.Conv2d(channels + told, outputs, 3, padding=1)

    def forward(self, x, time, small, small_noise):
        return self.mix(torch.cat([x, small], 1))


class Alone(nn.Module):
    """A network that is told nothing."""

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, time):
        return self.only(x)


@pytest.fixture(scope="module")
def runs(own_cache, tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def own(runs):
    return undiffuse.train(pictures(), name="own", runs=runs, condition="class", steps=2, **HOW, **OWN)


def test_what_traces_is_exported_and_agrees(own, tmp_path):
    for target, suffix in (("pt2", ".pt2"), ("onnx", ".onnx")):
        lines = undiffuse.convert(own, tmp_path / f"own{suffix}", target)
        assert "inputs x, time, label" in lines[0]
        assert "parity" in lines[1]


def test_other_exports_say_how_it_is_loaded_or_that_they_cannot_hold_it(own, tmp_path):
    path = tmp_path / "own.safetensors"
    assert f"undiffuse.load({str(path)!r}, network=FiLM)" in undiffuse.convert(own, path, "file")[0]
    with pytest.raises(UndiffuseError, match=r"cannot hold this model.*`architecture=FiLM`"):
        undiffuse.convert(own, tmp_path / "folder", "diffusers")


def test_likelihoods_and_an_evaluation(own):
    dataset = prepare(own.config.data)
    images = choose(dataset, own.info, 4)
    assert bound(own, images, count=8).prior.isfinite().all()
    assert ode(own, images).total.isfinite().all()
    real = Reference(dataset)
    samples = ModelSamples(own.plan(steps=2, sampler=HalfSteps()), count=10)
    found = evaluate(samples, real, [make_extractor("pixels", reference=dataset)], QualitySettings(repeat=1))
    assert np.isfinite(found.figure("frechet").value)


def test_an_edit_by_an_own_sampler(own):
    picture = own.sample(1, steps=2).array[0, 0]
    filled = own.inpaint(picture, np.eye(8) > 0, steps=2, sampler=HalfSteps())
    assert np.array_equal(filled[np.eye(8) == 0], picture[np.eye(8) == 0])


@pytest.mark.parametrize(
    ("method", "more"),
    [("regression", {}), ("consistency", {}), ("progressive", {"steps": 2}), ("distribution", {"steps": 1})],
)
def test_students_have_its_network(own, runs, method, more):
    fast = undiffuse.distill(
        runs / "own", method=method, updates=1, runs=runs, quiet=True, optimizer=descent, threshold="clip", **more
    )
    assert isinstance(fast.network, FiLM)
    assert fast.config.optimizer.optimizer == "descent"
    assert fast.sample(1).evaluations <= 4


@pytest.mark.parametrize(("method", "told"), [("jump", "label, until"), ("distribution", "label, since, until")])
def test_a_student_that_is_told_more_needs_a_network_that_takes_it(own, runs, method, told):
    with pytest.raises(UndiffuseError, match=rf"'FiLM' is called as network\(x, time, {told}\).* unexpected keyword"):
        undiffuse.distill(runs / "own", method=method, updates=1, runs=runs / method, quiet=True)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Alone, r"'Alone' is called as network\(x, time, label\).* unexpected keyword argument 'label'"),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1)),
            r"'Sequential' is called as network\(x, time, label\).* too many positional",
        ),
    ],
)
def test_a_network_that_cannot_be_called_as_it_will_be_is_a_sentence(own_cache, tmp_path, network, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.train(pictures(), runs=tmp_path, condition="class", network=network, steps=1, **HOW)


def test_a_network_that_does_not_say_what_it_takes_is_built(own):
    traced = torch.jit.trace(Alone(), (torch.zeros(1, 1, 8, 8), torch.zeros(1)))
    assert _checked(traced, "Traced", ()) is traced


def test_a_cascade_of_own_networks(own, runs, tmp_path):
    large = [(np.kron(image, np.ones((2, 2), np.uint8)), name) for image, name in pictures()]
    pieces = {"objective": Charbonnier(0.5), "schedule": cosine(64), "optimizer": descent}
    undiffuse.train(large, name="up", runs=tmp_path, network=Enlarger, upscale=2, steps=2, **HOW, **pieces)
    made = undiffuse.make_cascade([runs / "own", tmp_path / "up"], tmp_path / "whole")
    assert made.sample(2, classes="odd", steps=2).array.shape == (2, 1, 16, 16)
    assert isinstance(made.top.network, Enlarger)


SCRIPT = """
import sys
import torch
import undiffuse
from tests.training.test_own_pieces import HOW, Charbonnier, FiLM, cosine, descent

torch.set_num_threads(1)


class Steady(FiLM):  # dropout that is no module draws masks of its own in each process
    def forward(self, x, time, label=None):
        with_dropout, self.training = self.training, False
        try:
            return super().forward(x, time, label)
        finally:
            self.training = with_dropout


how = {**HOW, "batch": 6, "steps": 6, "condition": "class"}
undiffuse.train(sys.argv[1], name=sys.argv[2], runs=sys.argv[3], network=Steady, objective=Charbonnier(0.5),
                schedule=cosine(64), optimizer=descent, parallel=sys.argv[4], **how)
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(tmp_path, parallel):
    dice = np.random.default_rng(0)
    data, script = tmp_path / "data.npz", tmp_path / "script.py"
    np.savez(data, images=dice.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8), labels=np.arange(12) % 2)
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "UNDIFFUSE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    many = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint=localhost:0",
    ]
    for name, launcher in (("one", []), ("two", many)):
        words = [sys.executable, *launcher, script, data, name, tmp_path / "runs", parallel if launcher else "ddp"]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (weights(tmp_path / "runs" / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    a, b = (torch.cat([found[name].double().flatten() for name in sorted(found)]) for found in (one, two))
    assert (a - b).norm() <= 1e-5 * a.norm()


def weights(run):
    path, _ = latest(run / "checkpoints")
    return {**load_file(path / "model.safetensors"), **load_file(path / "optimizer.safetensors")}


def test_the_studio_opens_it_where_the_process_has_the_network_and_says_so_elsewhere(own, runs, monkeypatch):
    assert isinstance(ModelLibrary([], runs).load("own").model.network, FiLM)
    monkeypatch.setattr(registry._KINDS["architecture"], "kept", {})
    library = ModelLibrary([], runs)
    assert "own" in library.entries()
    with pytest.raises(UndiffuseError, match="which a program gave and no file holds: give it again"):
        library.load("own")
