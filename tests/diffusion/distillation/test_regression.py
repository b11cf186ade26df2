"""Regression: its one optimum is the teacher's walk, by whatever sampler that goes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from oracles import COSINE, DDIM_STD, Answers, Gaussian, LinearStudent, Mixture, learn, linear_map, walk_by, walk_of
from torch import Tensor

from undiffuse.diffusion.distillation import OnGrid, Regression
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.samplers import DDIM, SAMPLERS

DISTANCE = Objective(V, UniformWeight())
WALKED_BY = {name: SAMPLERS[name].make() for name in ("ddim", "unipc2", "dpm++2m")}
EPS = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ends(student, sampler, walk) -> tuple[float, float]:
    """Mean and standard deviation of what is drawn from noise N(0, 1)."""
    slope, mean = linear_map(student, sampler, walk)
    return mean, abs(slope)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("sampler", WALKED_BY)
def test_a_linear_student_learns_the_walk_of_any_sampler(sampler, steps):
    """On a Gaussian a walk is a linear map, whoever walks, and so are its parts."""
    data, walk = Gaussian(mean=0.2), walk_of(COSINE, 4)
    own = walk[:: 4 // steps]
    student = LinearStudent(COSINE, own)
    loss = Regression(DISTANCE, data.denoiser(), WALKED_BY[sampler], walk, steps)
    learn(loss, student, OnGrid(own), data, 100, 0.1)
    found = ends(student, DDIM(), own)
    assert found == pytest.approx(ends(data.denoiser(), WALKED_BY[sampler], walk), rel=0.02)
    if sampler == "ddim":
        assert found[1] == pytest.approx(DDIM_STD["cosine"][4], rel=0.02)


def test_the_samplers_of_these_walks_end_apart():
    teacher = Gaussian().denoiser()
    stds = sorted(ends(teacher, sampler, walk_of(COSINE, 4))[1] for sampler in WALKED_BY.values())
    assert all(after - before > 0.005 for before, after in pairwise(stds))


@pytest.mark.parametrize("sampler", WALKED_BY)
def test_the_student_that_ends_where_the_teacher_does_has_no_loss_and_no_other_has(sampler):
    """The points are those of the teacher's walk from the noise: the data are not looked at."""
    teacher, walk = Mixture().denoiser(), walk_of(COSINE, 8)
    t = torch.full((len(EPS),), 1000.0, dtype=torch.float64)

    def losses(steps: int, x0: Tensor) -> Tensor:
        def way(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            end, q_t = walk_by(teacher, WALKED_BY[sampler], walk_of(COSINE, steps), x_t), COSINE(t)
            return end, (x_t - expand(q_t.alpha, x_t) * end) / expand(q_t.sigma, x_t)

        return Regression(DISTANCE, teacher, WALKED_BY[sampler], walk, 1)(Answers(COSINE, way), x0, t, EPS)

    assert float(losses(8, EPS).max()) < 1e-24
    assert float(losses(4, EPS).min()) > 1e-8
    assert torch.equal(losses(4, EPS), losses(4, -EPS))
