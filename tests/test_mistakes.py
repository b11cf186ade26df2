"""What a program shows of a mistake: the user's line and a sentence; of anything else, every frame."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
from typing import get_type_hints

import pytest

import undiffuse
from undiffuse.errors import FRAMES, in_one_sentence
from undiffuse.model.plan import SamplePlan

SCRIPT = """
import json, sys, traceback
import numpy as np
from torch import nn
import undiffuse
from undiffuse import UndiffuseError, register
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion import DDIM

model = undiffuse.load("digits")
images = [np.full((8, 8), k, np.uint8) for k in range(0, 240, 20)]
how = dict(name="one", runs=sys.argv[1], quiet=True, device="cpu", batch=2, steps=2, base=8, multipliers=(1,), blocks=1,
           attention_levels=(), middle_attention=False, sample_every=0)


class Calls(undiffuse.Callback):
    def __init__(self, work):
        self.work = work

    def step(self, training, result):
        self.work()


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(2, 2)

    def forward(self, x, time):
        return work_of_network()


def work_of_network():
    raise UndiffuseError("mine")


def say(error):
    raise error


@register.sampler("broken")
def make_broken(strength=1.0):
    if strength > 1:
        raise ValueError("no such strength")
    return DDIM()


def mistakes():
    yield "train", lambda: undiffuse.train(images, lr=-1, **how)
    yield "no setting", lambda: undiffuse.train(images, stepz=3, **how)
    yield "sample", lambda: model.sample(4, steps=0)
    yield "draw", lambda: model.draw(range(2), steps=0)
    yield "generator", lambda: next(model.plan(steps=2).draw(range(2), seed=-1))
    yield "edit", lambda: model.inpaint(images[0], images[1])
    yield "load", lambda: undiffuse.load("nowhere")
    yield "save", lambda: model.save("model.txt")
    yield "distill", lambda: undiffuse.distill("nowhere")
    yield "sweep", lambda: undiffuse.sweep(images, {}, name="x")
    yield "cascade", lambda: undiffuse.make_cascade(["nowhere", "here"], sys.argv[1])
    yield "settings", lambda: SampleConfig.of(steps="many")
    yield "register", lambda: register.sampler("ddim")(object)
    yield "own piece", lambda: model.sample(1, sampler="broken(strength=2.0)")
    yield "callback", lambda: undiffuse.train(images, callbacks=[Calls(lambda: say(KeyError("mine")))], **how)
    yield "callback's sentence", lambda: undiffuse.train(
        images, callbacks=[Calls(lambda: say(UndiffuseError("mine")))], **how | {"name": "two"})
    yield "callback's mistake", lambda: undiffuse.train(
        images, callbacks=[Calls(lambda: model.sample(4, steps=0))], **how | {"name": "three"})
    yield "network", lambda: undiffuse.train(images, network=Broken, **{
        k: v for k, v in how.items() if k in ("runs", "quiet", "device", "batch", "steps", "sample_every")} | {
        "name": "four"})


found = {}
for name, make in mistakes():
    try:
        make()
    except Exception as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)[1:]]
        found[name] = type(error).__name__, frames, repr(error.__cause__)
print(json.dumps(found))
model.sample(4, steps=0)
"""


def run(folder, **more):
    """Names of the frames of each error below its call, what it was, and its cause; and what Python prints of one."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "UNDIFFUSE_CACHE": str(folder / "cache"), **more}
    words = [sys.executable, str(script), str(folder / "runs")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("mistakes"))


MISTAKES = [
    *("train", "no setting", "sample", "draw", "generator", "edit", "load", "save"),
    *("distill", "sweep", "cascade", "settings", "register", "own piece"),
]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_the_users_line_and_one_frame_of_ours(found, name):
    kind, frames, _ = found[0][name]
    assert kind == "UndiffuseError"
    assert frames == ["<lambda>", "each" if name == "generator" else "call"]


def test_what_python_prints_of_a_mistake_is_a_sentence_below_the_users_line(found):
    lines = found[1].splitlines()
    assert lines[-1] == "undiffuse.errors.UndiffuseError: Sampling takes at least 1 step; `steps` is 0"
    assert [line.split(", in ")[1] for line in lines if line.startswith("  File")] == ["<module>", "call"]
    assert "model.sample(4, steps=0)" in lines[2]
    assert "UNDIFFUSE_TRACEBACK=full" in found[1]


@pytest.mark.parametrize(("name", "kind"), [("callback", "KeyError"), ("callback's sentence", "UndiffuseError")])
def test_an_error_in_a_users_callback_keeps_every_frame(found, name, kind):
    was, frames, _ = found[0][name]
    assert was == kind
    assert {"train", "start_run", "run_training"} < {*frames}
    assert frames[-3:] == ["step", "<lambda>", "say"]


def test_a_mistake_in_a_users_callback_is_one_frame_below_it_and_keeps_those_above(found):
    _, frames, _ = found[0]["callback's mistake"]
    assert {"train", "start_run", "run_training"} < {*frames}
    assert frames[-3:] == ["step", "<lambda>", "call"]


def test_an_error_in_a_users_network_keeps_every_frame(found):
    _, frames, _ = found[0]["network"]
    assert {"train", "run_training", "_losses"} < {*frames}
    assert frames[-2:] == ["forward", "work_of_network"]


def test_a_cause_is_kept_where_it_is_the_users_own(found):
    causes = {name: cause for name, (_, _, cause) in found[0].items()}
    assert causes["own piece"] == repr(ValueError("no such strength"))
    assert {causes[name] for name in MISTAKES if name != "own piece"} == {"None"}


def test_a_variable_shows_every_frame(tmp_path):
    script = "from undiffuse.config.sampling import SampleConfig; SampleConfig.of(steps='many')"
    for value, frames in (("", ["<module>", "call"]), ("full", ["<module>", "call", "of", "change"])):
        environment = {**os.environ, FRAMES: value}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        shown = [line.split(", in ")[1] for line in done.stderr.splitlines() if line.startswith("  File")]
        assert shown[: len(frames)] == frames
        assert (len(shown) > 2) == (value == "full")


def test_doors_keep_their_names_signatures_and_types():
    assert pickle.loads(pickle.dumps(undiffuse.train)) is undiffuse.train
    assert pickle.loads(pickle.dumps(undiffuse.Model.sample)) is undiffuse.Model.sample
    assert list(inspect.signature(undiffuse.load).parameters) == ["path", "weights", "device", "revision", "network"]
    assert undiffuse.train.__doc__.startswith("Learn from a data set")
    assert inspect.isgeneratorfunction(SamplePlan.draw)
    assert "overrides" in get_type_hints(undiffuse.train)


def test_every_function_of_the_package_and_every_edit_is_a_door():
    functions = [getattr(undiffuse, name) for name in undiffuse.__all__]
    edits = [getattr(undiffuse.editing, name) for name in undiffuse.editing.__all__ if name != "slerp"]
    of_models = [
        getattr(cls, name)
        for cls in (undiffuse.Model, undiffuse.Cascade)
        for name in ("plan", "sample", "draw", *vars(undiffuse.model.edits.EditsPictures))
        if not name.startswith("_")
    ]
    doors = [one for one in (*functions, *edits, *of_models) if inspect.isfunction(one)]
    assert len(doors) > 40
    assert [one.__qualname__ for one in doors if one.__code__.co_filename != in_one_sentence.__code__.co_filename] == []
