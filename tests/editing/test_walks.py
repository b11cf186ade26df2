"""Variation, inversion, interpolation and denoising."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.schedules import cosine, linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.editing import (
    Editor,
    Inverter,
    denoise,
    estimate_noise,
    inpaint,
    interpolate,
    invert,
    slerp,
    upscale,
    vary,
)
from undiffuse.editing.editor import times_from
from undiffuse.editing.inversion import Inversion
from undiffuse.errors import UndiffuseError


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_strength_0_gives_the_picture_back_and_more_of_it_less(editor, pictures):
    assert torch.equal(vary(editor, pictures, 0.0), pictures)
    apart = [float((vary(editor, pictures, s) - pictures).square().mean()) for s in (0.1, 0.4, 1.0)]
    assert 0 < apart[0] < apart[1] < apart[2]


def test_strength_1_with_the_samplers_start_is_a_sample_of_the_model(model):
    """At the end of the process next to nothing of the picture is left: the sample of the same noise."""
    settings = SampleConfig.of(sampler="ddim", steps=6, micro_batch=4)
    q_T = model.schedule(torch.tensor(model.schedule.t_max, dtype=torch.float64))
    black, plain = torch.zeros(4, 1, 8, 8), vary(Editor.of(model, settings), torch.zeros(4, 1, 8, 8), 1.0)
    plan = model.plan(settings)
    with torch.no_grad():
        x, denoiser = q_T.sigma.float() * Noise(0, range(4)).like(black), plan.denoiser(range(4))
        *_, sampled = trajectory(denoiser, plan.sampler, plan.times, x, Noise(0, range(4)))
    torch.testing.assert_close(plain, sampled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strength", [-0.1, 1.01, math.nan])
def test_a_strength_outside_0_to_1_is_refused(editor, pictures, strength):
    with pytest.raises(UndiffuseError, match=r"strength lies in 0\.\.1"):
        vary(editor, pictures, strength)
    with pytest.raises(UndiffuseError, match=r"strength lies in 0\.\.1"):
        interpolate(editor, pictures[0], pictures[1], way="shared", strength=strength)


def test_a_model_in_place_of_a_plan_is_told_how_one_is_made(model):
    with pytest.raises(UndiffuseError, match=r"takes a plan, got Model: Editor\.of\(model, settings\)"):
        Editor(model)


def test_a_grid_is_cut_at_its_new_start():
    times = torch.tensor([50.0, 30, 10, 0]).double()
    assert times_from(times, torch.tensor(25.0).double()).tolist() == [25, 10, 0]
    assert times_from(times, torch.tensor(30.0).double()).tolist() == [30, 10, 0]
    assert times_from(times, torch.tensor(0.0).double()).tolist() == [0]


@pytest.mark.parametrize("schedule", [linear(1000), cosine(1000)], ids=["linear", "cosine"])
def test_exact_inversion_undoes_every_step_of_ddim(schedule):
    """Data with spread, so that no step, the last one included, throws anything away."""
    denoiser = gaussian_denoiser(schedule, (6,), 0.1, 0.5)
    x, inverter = draw(3, 6).double(), Inverter(exact=True, iterations=200, within=1e-10)
    for t, s in pairwise(make_timesteps(schedule, 10, "linspace")):
        x_s, _ = DDIM().step(denoiser, x, t, s, None, Noise(0, range(3)))
        found = inverter.step(denoiser, x_s, s, t)
        back, _ = DDIM().step(denoiser, found, t, s, None, Noise(0, range(3)))
        torch.testing.assert_close(back, x_s, rtol=1e-8, atol=1e-8)


def test_plain_inversion_gets_better_with_more_steps_and_exact_is_better_still():
    schedule = linear(1000)
    denoiser = gaussian_denoiser(schedule, (6,), 0.1, 0.5)
    x0 = 0.1 + 0.5 * draw(20, 6).double()
    errors = []
    for inverter, steps in ((Inverter(), 10), (Inverter(), 40), (Inverter(True, 100, 1e-9), 10)):
        times, x = make_timesteps(schedule, steps, "linspace"), x0
        for s, t in pairwise(times.flip(0)):
            x = inverter.step(denoiser, x, s, t)
        *_, back = trajectory(denoiser, DDIM(), times, x, Noise(0, range(20)))
        errors.append(float((back - x0).square().mean().sqrt()))
    assert errors[1] < errors[0] / 2
    assert errors[2] < 1e-6


def test_inversion_reports_the_error_of_its_reconstruction(model, pictures):
    editor = Editor.of(model, SampleConfig.of(sampler="ddim", steps=8, spacing="linspace"))
    plain, exact = invert(editor, pictures), invert(editor, pictures, Inverter(True, 50, 1e-5))
    for found in (plain, exact):
        error = (found.reconstructions - pictures).square().flatten(1).mean(1).sqrt()
        torch.testing.assert_close(found.error, error)
        assert found.latents.shape == pictures.shape
    assert exact.error.mean() < plain.error.mean()
    assert plain.evaluations == 8
    assert exact.evaluations == 8 * 51


def test_a_poor_reconstruction_is_said():
    x = torch.zeros(2, 1, 2, 2)
    assert Inversion(x, x, torch.tensor([0.01, 0.02]), 5).warning is None
    said = Inversion(x, x, torch.tensor([0.01, 0.5]), 5).warning
    assert said is not None
    assert said.startswith("1 of 2 pictures comes back with less than 25 dB")


def test_slerp_keeps_the_length_and_divides_the_angle():
    a, b = draw(1, 1, 8, 8).double(), draw(1, 1, 8, 8, seed=1).double()
    a, b = a / a.norm(), b / b.norm()
    parts = torch.linspace(0, 1, 5).double().reshape(-1, 1, 1, 1)
    arc = slerp(a, b, parts)
    torch.testing.assert_close(arc.flatten(1).norm(dim=1), torch.ones(5).double())
    angles = (arc[1:] * arc[:-1]).flatten(1).sum(1).acos()
    torch.testing.assert_close(angles, angles[:1].expand(4))
    torch.testing.assert_close(arc[[0, -1]], torch.cat([a, b]))
    torch.testing.assert_close(slerp(a, 2 * a, parts), torch.lerp(a, 2 * a, parts))


def test_the_ends_of_slerp_are_the_reconstructions(model, pictures):
    editor = Editor.of(model, SampleConfig.of(sampler="ddim", steps=8, spacing="linspace"))
    between = interpolate(editor, pictures[0], pictures[1], 5)
    assert between.shape == (5, 1, 8, 8)
    back = invert(editor, pictures[:2]).reconstructions
    torch.testing.assert_close(between[[0, -1]], back, rtol=1e-3, atol=1e-3)


def test_shared_noise_goes_from_near_the_one_to_near_the_other(model, pictures):
    editor = Editor.of(model, SampleConfig.of(sampler="ddpm", steps=20))
    between = interpolate(editor, pictures[0], pictures[1], 5, way="shared", strength=0.1)
    own = [vary(replace(editor, indices=(0,)), x[None], 0.1)[0] for x in pictures[:2]]
    torch.testing.assert_close(between[0], own[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(between[-1], own[1], rtol=1e-3, atol=1e-3)
    line = interpolate(editor, pictures[0], pictures[1], 3, way="shared", strength=0.0)
    torch.testing.assert_close(line[1], (pictures[0] + pictures[1]) / 2)


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_the_noise_of_a_smooth_picture_is_found(std):
    place = torch.linspace(-0.5, 0.5, 64)
    smooth = (place[:, None] * place)[None, None]
    noisy = smooth + std * draw(3, 1, 64, 64)
    torch.testing.assert_close(estimate_noise(noisy), torch.full((3,), std), rtol=0.08, atol=0)


def test_a_clipped_ground_does_not_hide_the_noise_of_the_rest():
    half = torch.cat([torch.full((1, 1, 64, 32), -1.5), torch.zeros(1, 1, 64, 32)], 3)
    noisy = (half + 0.1 * draw(1, 1, 64, 64)).clamp(-1, 1)
    assert abs(float(estimate_noise(noisy)) - 0.1) < 0.01


@pytest.mark.parametrize("end", [-1.0, 1.0])
@pytest.mark.parametrize("std", [0.05, 0.3, 0.8])
def test_noise_that_an_end_of_the_range_halves_is_found_whole(end, std):
    """Strokes on a black ground, or black ones on white: the ground's noise is clipped, pixel by pixel."""
    truth = torch.full((1, 1, 64, 64), end)
    truth[..., 20:30, 10:50] = -0.9 * end
    noisy = (truth + std * draw(1, 1, 64, 64)).clamp(-1, 1)
    assert float(estimate_noise(noisy)) == pytest.approx(std, rel=0.12)


def test_denoising_starts_at_the_t_of_the_noise_and_one_step_is_the_posterior_mean(model, pictures):
    std = 0.4
    editor = Editor.of(model, SampleConfig.of(sampler="ddim", steps=1, threshold="none"))
    made, found = denoise(editor, pictures, std)
    t = model.schedule.inverse_log_snr(torch.tensor(-2 * math.log(std), dtype=torch.float64))
    q_t = model.schedule(t)
    assert float(q_t.sigma / q_t.alpha) == pytest.approx(std)
    with torch.no_grad():
        expected = model.denoiser(q_t.alpha.float() * pictures, t).x0
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)
    assert found.tolist() == pytest.approx([std] * 5)


def test_noise_below_what_the_model_knows_is_left_alone(model, pictures):
    made, _ = denoise(Editor.of(model, SampleConfig.of(sampler="ddim", steps=5)), pictures, 1e-6)
    assert torch.equal(made, pictures)


@pytest.mark.parametrize(("noise", "said"), [(0.0, "above 0"), (1e6, "process ends")])
def test_impossible_noise_is_refused(editor, pictures, noise, said):
    with pytest.raises(UndiffuseError, match=said):
        denoise(editor, pictures, noise)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda e, x: interpolate(e, x[0], x[1, :, :4]), "one shape"),
        (lambda e, x: interpolate(e, x[0], x[1], 1), "`frames` takes a whole number from 2 on, and it is 1"),
        (lambda e, x: interpolate(e, x[0], x[1], way="slurp"), "perhaps you meant 'slerp'"),
        (lambda e, x: invert(e, x, Inverter(iterations=0)), "`iterations` takes a whole number from 1 on, and it is 0"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(editor, pictures, edit, said):
    with pytest.raises(UndiffuseError, match=said):
        edit(editor, pictures)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda e, x: inpaint(e, x, torch.eye(8)[None, None], method="ddnm", scale=2.0), "`scale=2` .*=pigdm or dps`"),
        (lambda e, x: inpaint(e, x, torch.eye(8)[None, None], method="replace", repeats=2), "`repeats=2` .*=repaint`"),
        (lambda e, x: upscale(e, x, 2, method="ddnm", scale=2.0), "`scale=2` .*=pigdm or dps`"),
        (lambda e, x: interpolate(e, x[0], x[1], 2, strength=0.7), "`strength=0.7` .* `way=shared`"),
        (lambda e, x: interpolate(e, x[0], x[1], 2, way="shared", inverter=Inverter(True)), "`exact` .* `way=slerp`"),
        (lambda e, x: Inverter(iterations=50), "`iterations=50` .* `exact`"),
    ],
)
def test_an_option_without_effect_is_said_to_be_so(editor, pictures, edit, said):
    with pytest.warns(UserWarning, match=said.replace(".*", "changes nothing here: it acts with.*")):
        edit(editor, pictures)


@pytest.mark.parametrize("shape", [(1, 4096), (4096, 1), (64, 64, 1)])
def test_the_noise_of_pictures_one_pixel_wide_is_that_along_the_other_axes(shape):
    noisy = 0.1 * draw(1, 1, *shape)
    assert float(estimate_noise(noisy)) == pytest.approx(0.1, rel=0.1)


def test_the_noise_of_one_pixel_has_to_be_said():
    with pytest.raises(UndiffuseError, match="one pixel cannot be estimated; say it with `noise`"):
        estimate_noise(draw(2, 3, 1, 1))
