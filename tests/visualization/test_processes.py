"""Forward and reverse frames are the processes that they claim to show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.samplers import DDIM, DDPM
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, Recording, SamplingStep, iterate_steps, sample, start
from undiffuse.factories.schedule import make_schedule
from undiffuse.visualization.forward import caption, forward_frames
from undiffuse.visualization.frame import Frame, film, film_strip
from undiffuse.visualization.reverse import beside, reverse_frames

INFO = DataInfo("x", "", 1, (1, 64, 64), "float32", -1.0, 1.0, (0.0,), (1.0,))
CHAIN = make_schedule(DiffusionConfig(schedule="cosine", timesteps=100))


class Standard:
    """The exact denoiser of data that are N(0, v): E[x0 | x_t] = alpha v x_t / (alpha^2 v + sigma^2)."""

    def __init__(self, schedule: Schedule, variance: float) -> None:
        self.schedule, self.variance = schedule, variance

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor, **conditions: torch.Tensor) -> Prediction:
        q_t = self.schedule(t)
        x0 = float(q_t.alpha * self.variance / (q_t.alpha**2 * self.variance + q_t.sigma**2)) * x_t
        return Prediction(x0, x_t).with_x0(x0, x_t, q_t)


def unit(image: Image.Image) -> np.ndarray:
    """Grey values in [-1, 1] of the one picture in a grid, which is enlarged threefold and has a border."""
    return np.asarray(image.convert("L").crop((2, 2, 194, 194)), dtype=float)[1::3, 1::3] / 127.5 - 1


def test_the_first_frame_is_the_data_and_the_last_is_noise() -> None:
    x0 = torch.linspace(-1, 1, 64 * 64).reshape(1, 1, 64, 64)
    frames = list(forward_frames(x0, CHAIN, INFO, 5))
    assert [frame.t for frame in frames] == [0, 25, 50, 75, 100]
    assert np.allclose(unit(frames[0].image), x0[0, 0].numpy(), atol=1 / 127)
    correlation = np.corrcoef(unit(frames[-1].image).ravel(), x0.numpy().ravel())[0, 1]
    assert abs(correlation) < 4 / math.sqrt(64 * 64)


def test_one_noise_serves_all_times() -> None:
    frames = list(forward_frames(torch.zeros(1, 1, 64, 64), CHAIN, INFO, 100))
    inside = np.abs(unit(frames[-1].image)) < 0.9  # where nothing was clipped
    eps = unit(frames[-1].image) / float(CHAIN(torch.tensor(100.0)).sigma)
    for frame in frames[1::20]:
        sigma = float(CHAIN(torch.tensor(frame.t, dtype=torch.float64)).sigma)
        assert np.allclose(unit(frame.image)[inside], sigma * eps[inside], atol=2 / 127)


def test_captions_tell_alpha_bar_and_snr() -> None:
    q_t = CHAIN(torch.tensor(50.0, dtype=torch.float64))
    assert caption(50.0, q_t) == "t = 50\nalpha-bar = 0.49\nSNR = 0.98"
    assert caption(0.0, CHAIN(torch.tensor(0.0))) == "t = 0\nalpha-bar = 1\nSNR = infinite"
    assert caption(0.25, q_t).startswith("t = 0.25\n")


def steps_of(denoiser: Any, sampler: Any, times: Any, shape: Any, indices: range, seed: int = 0) -> list[SamplingStep]:
    noise = Noise(seed, indices)
    return list(iterate_steps(denoiser, sampler, times, start(denoiser, shape, noise), noise))


@pytest.mark.parametrize("sampler", [DDIM(eta=0.5), DDPM(variance="small")])
def test_the_walk_ends_in_the_sample_to_the_last_bit(sampler: DDIM | DDPM) -> None:
    denoiser, times = Standard(CHAIN, 0.25), make_timesteps(CHAIN, 10)
    drawn = sample(denoiser, sampler, times, (1, 4, 4), Noise(5, range(3)))
    walk = steps_of(denoiser, sampler, times, (1, 4, 4), range(3), seed=5)
    assert [step.t for step in walk] == times.tolist()
    assert torch.equal(walk[-1].x, drawn)
    assert torch.equal(walk[-1].x, walk[-1].x0)


def test_the_prediction_belongs_to_the_x_beside_it() -> None:
    denoiser, times = Standard(CHAIN, 0.25), make_timesteps(CHAIN, 10)
    for step in steps_of(denoiser, DDIM(), times, (1, 4, 4), range(2))[:-1]:
        expected = denoiser(step.x, torch.tensor(step.t, dtype=torch.float64))
        assert step.eps is not None
        assert torch.equal(step.x0, expected.x0)
        assert torch.equal(step.eps, expected.eps)


def test_of_several_evaluations_in_a_step_the_first_is_shown() -> None:
    recording = Recording(Standard(CHAIN, 0.25))
    first = recording(torch.ones(1, 1), torch.tensor(50.0, dtype=torch.float64)).x0
    recording(torch.zeros(1, 1), torch.tensor(40.0, dtype=torch.float64))
    assert torch.equal(recording.take().x0, first)
    with pytest.raises(AssertionError):
        recording.take()


def test_only_wanted_moments_are_drawn_with_x_left_and_x0_right() -> None:
    denoiser, times = Standard(CHAIN, 0.25), make_timesteps(CHAIN, 10)
    walk = steps_of(denoiser, DDIM(), times, INFO.shape, range(4))
    frames = list(reverse_frames(walk, CHAIN, INFO, [0, 4, 10], shown=1))
    assert [frame.t for frame in frames] == [times[0], times[4], 0]
    for frame, k in zip(frames, (0, 4, 10), strict=True):
        left = unit(frame.image)
        right = unit(frame.image.crop((frame.image.width - 196, 0, frame.image.width, 196)))
        assert np.allclose(left, walk[k].x[0, 0].clamp(-1, 1).numpy(), atol=1 / 127)
        assert np.allclose(right, walk[k].x0[0, 0].clamp(-1, 1).numpy(), atol=1 / 127)


def test_pictures_beside_each_other_keep_their_colours() -> None:
    both = beside(Image.new("RGBA", (4, 4), (255, 0, 0, 255)), Image.new("L", (4, 4), 9))
    assert both.getpixel((0, 0)) == (255, 0, 0)
    assert both.getpixel((both.width - 1, 0)) == (9, 9, 9)


@pytest.mark.parametrize("width", [64, 250, 600])
def test_captions_stand_below_and_never_wider_than_the_picture(width: int) -> None:
    frame = Frame(0.0, Image.new("L", (width, 40), 0), "t = 1000\nalpha-bar = 0.000123\nSNR = 0.000123")
    image, other = film([frame, Frame(1.0, frame.image, "t = 0\nalpha-bar = 1\nSNR = 1")])
    assert image.size == other.size
    assert image.width == width
    words = np.asarray(image.convert("L"))[40:]
    assert words.min() < 200
    assert (words[:, [0, 1, -2, -1]] > 250).all()


def test_frames_without_captions_stay_as_they_are() -> None:
    frames = [Frame(float(k), Image.new("L", (90, 90), k)) for k in range(20)]
    assert film(frames)[3] is frames[3].image
    assert film_strip(frames, 4).size == (4 * 96 + 6, 90 + 12)
