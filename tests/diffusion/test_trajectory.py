from __future__ import annotations

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.schedules import VE
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, NoiseBetween, sample, slerp, start, trajectory
from undiffuse.runtime.random_streams import generator, stream_seed

CHAIN = schedules.linear()
TIMES = make_timesteps(CHAIN, 5, "trailing")


def test_seeds_and_samples_differ():
    images = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), Noise(0, range(3)))
    others = sample(gaussian_denoiser(CHAIN), DDIM(), TIMES, (8,), Noise(1, range(3)))
    assert len({tuple(row.tolist()) for row in torch.cat([images, others])}) == 6


def test_noise_of_a_sample_does_not_depend_on_its_neighbours():
    alone, together = Noise(3, [5]), Noise(3, [4, 5, 6])
    for shape in ((2, 3), (2, 3), (4,)):
        assert torch.equal(alone.normal(shape)[0], together.normal(shape)[1])
    assert alone.like(torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_trajectory_yields_after_every_step_and_ends_in_data():
    points = torch.tensor([[0.5, -0.5]])
    noise = Noise(0, range(2))
    denoiser = MixtureDenoiser(CHAIN, points)
    steps = list(trajectory(denoiser, DDIM(), TIMES, start(denoiser, (2,), noise), noise))
    assert len(steps) == 5
    torch.testing.assert_close(steps[-1], points.expand(2, 2), rtol=0, atol=1e-5)


def test_variance_exploding_starts_at_its_own_width():
    x = start(gaussian_denoiser(VE()), (1000,), Noise(0, range(4)))
    assert float(x.std()) == pytest.approx(80, rel=0.05)


def test_streams_are_functions_of_seed_and_path():
    draws = {
        stream_seed(*path) for path in ((0,), (1,), (0, "noise"), (0, "noise", 1), (0, "noise", 2), (0, "time", 1))
    }
    assert len(draws) == 6
    assert stream_seed(5, "noise", 3) == stream_seed(5, "noise", 3)
    a, b = (torch.randn(4, generator=generator(5, "noise", 3)) for _ in range(2))
    assert torch.equal(a, b)


def between(part: float, shape: tuple[int, ...] = (3, 4)) -> list[torch.Tensor]:
    """Two draws of each of three samples, from seed 1 to seed 7."""
    noise = NoiseBetween(Noise(1, range(3)), Noise(7, range(3)), part)
    return [noise.normal(shape), noise.like(torch.zeros(3, *shape, dtype=torch.float64))]


@pytest.mark.parametrize(("part", "seed"), [(0.0, 1), (1.0, 7)])
def test_noise_between_two_seeds_ends_at_theirs_to_the_bit(part, seed):
    own = Noise(seed, range(3))
    first, second = between(part)
    assert torch.equal(first, own.normal((3, 4)))
    assert torch.equal(second, own.like(torch.zeros(3, 3, 4, dtype=torch.float64)))
    assert (first.dtype, second.dtype) == (torch.float32, torch.float64)


def test_noise_between_two_seeds_keeps_length_and_variance():
    (a, _), (b, _) = between(0.0, (100, 100)), between(1.0, (100, 100))
    for part in (0.1, 0.5, 0.9):
        z, _ = between(part, (100, 100))
        lengths = [x.double().flatten(1).norm(dim=1) for x in (a, b, z)]
        assert bool((lengths[2] >= torch.minimum(*lengths[:2]) - 0.1).all())
        assert bool((lengths[2] <= torch.maximum(*lengths[:2]) + 0.1).all())
        torch.testing.assert_close(z.var(dim=(1, 2)), torch.ones(3), rtol=0, atol=0.05)
        angles = [torch.cosine_similarity(x.flatten(1).double(), z.flatten(1).double()).acos() for x in (a, b)]
        torch.testing.assert_close(
            angles[0] / (angles[0] + angles[1]), torch.full((3,), part).double(), rtol=0, atol=0.01
        )


def test_a_seed_morphs_to_itself_without_a_change():
    noise = NoiseBetween(Noise(4, range(2)), Noise(4, range(2)), 0.3)
    assert torch.equal(noise.normal((5, 5)), Noise(4, range(2)).normal((5, 5)))


def test_a_row_on_one_line_leaves_the_arcs_of_others_alone():
    a, b = torch.randn(2, 2, 8, generator=generator(0, "rows"))
    b[0] = 2 * a[0]
    assert torch.equal(slerp(a, b, torch.tensor(0.3))[1], slerp(a[1:], b[1:], torch.tensor(0.3))[0])
