"""U-Nets of diffusers, read: the same outputs, the same images; and written again: the same bits."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.export import convert
from undiffuse.model import Model, load

_spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("folders.py"))
folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(folders)
CASES, random_unet, saved, diffusers = folders.CASES, folders.random_unet, folders.saved, folders.diffusers

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def their_walk(unet, scheduler, x, steps, **options):
    """diffusers' own sampling loop."""
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, **options).prev_sample
    return x


def our_walk(denoiser, x, steps, spacing):
    times = make_timesteps(denoiser.schedule, steps, spacing)
    with torch.no_grad():
        return list(trajectory(denoiser, DDIM(), times, x, Noise(0, range(len(x)))))[-1]


@dataclass(frozen=True)
class Case:
    """A U-Net of diffusers, the model that was read from its folder, and the folder that was written of that."""

    name: str
    unet: Any
    theirs: Path
    model: Model
    written: Path

    def told(self, *labels):
        """The arguments that say a class, theirs and ours."""
        numbers = torch.tensor(labels)
        return ({"class_labels": numbers}, {"label": numbers}) if self.name == "classes" else ({}, {})


QUICK = ("google", "training-script", "scale-shift", "residual-down-only", "classes")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    unet = random_unet(**CASES[request.param])
    model = load(saved(folder / "theirs", unet))
    convert(model, folder / "written", "diffusers")
    return Case(request.param, unet, folder / "theirs", model, folder / "written")


def both(case, unet, time, theirs, ours):
    x = torch.randn(len(time), *case.model.info.shape)
    with torch.no_grad():
        return unet(x, time, **theirs).sample, case.model.network(x, time, **ours)


def test_a_network_gives_the_same_outputs_from_the_same_weights(case):
    expected, actual = both(case, case.unet, torch.tensor([0.0, 500.0, 999.0]), *case.told(0, 4, 2))
    assert expected.std() > 0.05
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_twenty_steps_of_ddim_give_the_same_images_from_the_same_noise(case):
    if case.name in ("classes", "learned-variance"):
        pytest.skip("diffusers' DDIM can neither say a class nor take a learned variance")
    x = torch.randn(2, *case.model.info.shape)
    expected = their_walk(case.unet, diffusers.DDIMScheduler(clip_sample=False), x, 20)
    actual = our_walk(case.model.denoiser, x, 20, "leading")
    assert expected.std() > 0.05
    torch.testing.assert_close(actual / expected.std(), expected / expected.std(), rtol=0, atol=1e-4)


def test_a_network_that_is_read_and_written_and_read_is_the_same_to_the_bit(case):
    again = load(case.written)
    assert (again.config, again.info) == (case.model.config, case.model.info)
    tensors = again.network.state_dict()
    for name, tensor in case.model.network.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def test_what_is_written_holds_the_very_tensors_that_diffusers_wrote(case):
    if case.name in ("classes", "cosines-first-ho", "sines-first-adm"):
        pytest.skip("a row more, for no class; or a matrix turned, as the sines come in the other order")
    theirs, ours = load_file(case.theirs / WEIGHTS), load_file(case.written / WEIGHTS)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_diffusers_loads_what_is_written_and_gives_the_same_outputs(case):
    unet = diffusers.DDPMPipeline.from_pretrained(case.written).unet.eval()
    no_class = 5
    expected, actual = both(case, unet, torch.tensor([3.0, 700.0]), *case.told(1, no_class))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("prediction", "curve"), [("epsilon", "linear"), ("sample", "squaredcos_cap_v2"), ("v_prediction", "scaled_linear")]
)
def test_clipped_ddim_gives_the_same_images_from_what_is_predicted_on_a_curve(prediction, curve, tmp_path):
    unet = random_unet()
    scheduler = diffusers.DDIMScheduler(beta_schedule=curve, prediction_type=prediction, timestep_spacing="trailing")
    model = load(saved(tmp_path / "pipeline", unet, scheduler))
    x = torch.randn(2, *model.info.shape)
    expected = their_walk(unet, scheduler, x, 20, use_clipped_model_output=True)
    actual = our_walk(Clip(model.denoiser), x, 20, "trailing")
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
