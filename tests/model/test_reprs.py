"""What a notebook shows: one line for an object, and the picture of samples."""

from __future__ import annotations

import io

from PIL import Image

import undiffuse
from undiffuse.runtime.standard_streams import hidden, of_notebook
from undiffuse.training.callbacks.console import Console


def test_objects_are_one_line():
    model = undiffuse.load("digits")
    assert repr(model).startswith("Model(1 x 28 x 28 of digits; ")
    assert "predicts v; told label; digits" in repr(model)
    assert repr(model.plan(steps=3)).startswith("SamplePlan(dpm++2m-sde in 3 steps; Model(")
    samples = model.sample(2, steps=1)
    assert repr(samples) == "Samples(2 of 1 x 28 x 28; seed 0; dpm++2m-sde in 1 step)"
    assert len(repr(model)) < 200


def test_samples_are_shown_as_a_picture():
    samples = undiffuse.load("digits").sample(3, steps=1)
    with Image.open(io.BytesIO(samples._repr_png_())) as shown:
        assert shown.size == samples.grid().size


class OutStream(io.StringIO):
    """As a notebook's."""


OutStream.__module__ = "ipykernel.iostream"


def test_progress_is_written_over_in_a_notebook(monkeypatch):
    stream = OutStream()
    assert of_notebook(stream)
    console = Console(stream=stream)
    console.status("step 1")
    console.status("step 2")
    console.say("done")
    shown = stream.getvalue().split("\r")
    assert shown[0] == ""
    assert [part.rstrip() for part in shown if part.strip()] == ["step 1", "step 2", "done"]
    monkeypatch.setattr("sys.stderr", stream)
    assert hidden(True) is False
    assert hidden(False) is True
