"""What an edit says of its own length, and tiles that go through the network several at once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.guidance import Tiled
from undiffuse.diffusion.guidance.tiled import count_tiles
from undiffuse.editing import Editor, forecast, inpaint, upscale
from undiffuse.editing.forecast import Forecast

T = torch.tensor(20.0, dtype=torch.float64)


@contextmanager
def sizes_of_batches(network):
    """The lengths of the batches that a network is shown, as they come."""
    seen = []
    handle = network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    yield seen
    handle.remove()


@pytest.mark.parametrize("told", [{}, {"classes": ("cats", "dogs")}, {"classes": ("cats", "dogs"), "guidance": 2.0}])
def test_tiles_of_a_model_of_classes_are_the_same_several_at_once_as_one_by_one(class_model, told):
    editor = Editor.of(class_model, SampleConfig.of(micro_batch=8, **told), overlap=2)
    x = torch.randn(2, 1, 20, 14, generator=torch.Generator().manual_seed(0))
    tiled = replace(editor.denoiser([0, 1]), batch=8)
    one_by_one = replace(tiled, batch=1)
    with torch.no_grad():
        torch.testing.assert_close(tiled(x, T).x0, one_by_one(x, T).x0, rtol=1e-5, atol=1e-5)
        with sizes_of_batches(class_model.network) as seen:
            tiled(x, T)
    twice = 2 if "guidance" in told else 1
    assert [size / twice for size in seen] == [8, 4]  # 2 pictures of 3 x 2 tiles: 4 tiles at once, then 2
    assert count_tiles((20, 14), (8, 8), 2) == 6


def steps_of(seconds, total=100):
    """What a forecast says in the course of steps that take so long."""
    said, times = [], iter(torch.tensor([0.0, *seconds]).cumsum(0).tolist())
    watched = Forecast(total, said.append, lambda: next(times))
    for _ in seconds:
        watched.tick()
    return said


def test_a_long_edit_says_after_its_first_step_how_long_it_takes():
    assert steps_of([4.0, 4.0, 4.0, 4.0]) == ["100 steps of 4 s: about 6 min 36 s from now"]


def test_a_short_edit_says_nothing():
    assert steps_of([0.2, 0.2, 0.2]) == []
    assert steps_of([30.0], total=1) == []


def test_a_second_step_that_takes_longer_corrects_the_first():
    assert [words.partition(":")[0] for words in steps_of([1.0, 3.0, 9.0])] == ["100 steps of 1 s", "100 steps of 3 s"]


def test_every_edit_with_a_bar_has_a_forecast_and_others_have_none(model, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "LEAST", 0.0)
    settings, small = SampleConfig.of(sampler="ddpm", steps=4), torch.zeros(1, 1, 8, 8)
    upscale(Editor.of(model, settings, overlap=2), small, 2)
    assert capsys.readouterr().err == ""
    upscale(Editor.of(model, settings, overlap=2, progress=True), small, 2)
    said = capsys.readouterr().err
    assert "4 steps of" in said
    assert "fewer `steps`, or `method=ddnm`, take less" in said


def wide_hole() -> torch.Tensor:
    """Known but for the last quarter of 40 columns."""
    known = torch.ones(1, 1, 8, 40)
    known[..., 30:] = 0
    return known


@pytest.mark.parametrize("method", ["ddnm", "replace", "repaint", "pigdm", "dps"])
def test_tiles_that_need_no_network_or_no_gradient_do_without_and_change_nothing(model, monkeypatch, method):
    known, settings = wide_hole(), SampleConfig.of(sampler="ddpm", steps=4)
    if method in ("pigdm", "dps"):
        known = 1 - known  # an outpainting: most tiles see nothing that is known
    x0 = torch.randn(1, 1, 8, 40, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    editor, graphs = Editor.of(model, settings, overlap=2), []

    def run() -> torch.Tensor:
        graphs.clear()
        handle = model.network.register_forward_hook(
            lambda module, args, out: graphs.append((len(out), out.requires_grad))
        )
        back = {"jump": 2, "repeats": 2} if method == "repaint" else {}
        made = inpaint(editor, x0, known, method=method, **back)
        handle.remove()
        return made

    made, fewer = run(), list(graphs)
    monkeypatch.setattr(Tiled, "_groups", lambda self, windows, x_t: [(torch.is_grad_enabled(), windows)])
    torch.testing.assert_close(made, run(), rtol=0, atol=1e-4)
    if method in ("pigdm", "dps"):
        assert sum(size for size, graph in fewer if graph) < sum(size for size, graph in graphs if graph) / 2
    else:
        assert sum(size for size, _ in fewer) < sum(size for size, _ in graphs) / 2
