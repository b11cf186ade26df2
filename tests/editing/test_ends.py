"""Every edit by a model whose process ends in pure noise, with no threshold to hide numbers that are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.editing import Editor, Inverter, deblur, denoise, inpaint, interpolate, invert, upscale, vary
from undiffuse.factories.schedule import make_schedule

# one list of options for all methods
pytestmark = pytest.mark.filterwarnings("ignore:.*changes nothing here")

PROCESS = DiffusionConfig(timesteps=50, parameterization="v", zero_terminal_snr=True)
KNOWN = torch.ones(1, 1, 8, 8)
KNOWN[..., 2:6, 3:7] = 0
EDITS = {
    "inpaint": lambda e, x, method: inpaint(e, x, KNOWN, method=method, jump=2, repeats=2),
    "upscale": lambda e, x, method: upscale(e, x[..., ::2, ::2], 2, method=method),
    "deblur": lambda e, x, method: deblur(e, x, 0.8, method=method),
}
METHODS = {"inpaint": ("replace", "repaint", "ddnm", "pigdm", "dps")}


@pytest.fixture
def editor(model, monkeypatch):
    """Of the exact denoiser of N(-0.2, 0.3^2)."""
    schedule = make_schedule(PROCESS)
    assert float(schedule.alpha_bar[-1]) == 0
    ended = replace(model, config=replace(model.config, diffusion=PROCESS))
    exact = gaussian_denoiser(schedule, (1, 8, 8), -0.2, 0.3)
    monkeypatch.setattr(type(model), "denoiser", property(lambda self: exact))
    return Editor.of(ended, SampleConfig.of(sampler="ddpm", steps=5, threshold="none"))


@pytest.mark.parametrize(("edit", "method"), [(e, m) for e in EDITS for m in METHODS.get(e, ("ddnm", "pigdm", "dps"))])
@pytest.mark.parametrize("sampler", ["ddpm", "dpm++2m", "heun"])
def test_what_is_known_in_part_is_finished_from_pure_noise(editor, pictures, edit, method, sampler):
    editor = Editor.of(editor.model, editor.plan.settings.changed(sampler=sampler))
    made = EDITS[edit](editor, pictures, method)
    assert bool(made.isfinite().all())
    if method != "dps" and sampler == "ddpm" and edit != "deblur":  # its pictures are of the model's spread
        assert float(made.abs().max()) < 3


@pytest.mark.parametrize(
    "edit",
    [
        lambda e, x: vary(e, x, 1.0),
        lambda e, x: invert(e, x).reconstructions,
        lambda e, x: invert(e, x, Inverter(exact=True)).reconstructions,
        lambda e, x: interpolate(e, x[0], x[1], 3),
        lambda e, x: interpolate(e, x[0], x[1], 3, way="shared", strength=1.0),
        lambda e, x: denoise(e, x, 50.0)[0],
    ],
)
def test_walks_to_pure_noise_and_back_are_finite(editor, pictures, edit):
    assert bool(edit(editor, pictures).isfinite().all())
