from __future__ import annotations

from collections import Counter
from itertools import pairwise

import torch

from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.samplers import DDPM, DPMMultistep
from undiffuse.diffusion.samplers.exponential import DATA
from undiffuse.diffusion.schedules import linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.editing.repaint import resampled, with_returns

SCHEDULE = linear(1000)
TIMES = make_timesteps(SCHEDULE, 12)


def test_every_stretch_is_walked_as_often_as_asked():
    path = with_returns(TIMES, 3, 4)
    downward = Counter((float(t), float(s)) for t, s in pairwise(path) if s < t)
    grid = [(float(t), float(s)) for t, s in pairwise(TIMES)]
    assert downward == {step: 1 if step in grid[-3:] else 4 for step in grid}
    assert path[0] == TIMES[0]
    assert path[-1] == 0
    jumps = [(float(t), float(s)) for t, s in pairwise(path) if s > t]
    assert len(jumps) == 3 * 3
    assert all(float(TIMES.tolist().index(t) - TIMES.tolist().index(s)) == 3 for t, s in jumps)


def test_one_pass_is_the_plain_walk():
    assert torch.equal(with_returns(TIMES, 3, 1), TIMES)
    prior, x = gaussian_denoiser(SCHEDULE, (4,)), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for sampler in (DDPM(), DPMMultistep(DATA, 2)):
        *_, plain = trajectory(prior, sampler, TIMES, x, Noise(0, range(2)))
        *_, same = resampled(prior, sampler, with_returns(TIMES, 3, 1), x, Noise(0, range(2)))
        assert torch.equal(plain, same)


def test_going_back_and_forth_keeps_the_distribution_of_the_data():
    prior = gaussian_denoiser(SCHEDULE, (1,), 0.2, 0.5)
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    path = with_returns(make_timesteps(SCHEDULE, 100), 10, 2)
    *_, end = resampled(prior, DDPM(), path, x, Noise(0, range(4000)))
    assert abs(float(end.mean()) - 0.2) < 0.04
    assert abs(float(end.std()) - 0.5) < 0.04
