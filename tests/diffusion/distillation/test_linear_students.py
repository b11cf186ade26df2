"""Students of two numbers a time, trained as networks are, on Gaussian data: each ends where its equations say.

Progressive distillation to one step, consistency with a teacher's 16 steps, and with data in place of the teacher, and
jumps have one optimum, the teacher's 16 steps: std .4530 for data of .5. So one table tests them all.
"""

from __future__ import annotations

import pytest
from oracles import COSINE, DDIM_STD, LINEAR, Gaussian, LinearStudent, learn, linear_map, walk_of

from undiffuse.diffusion.distillation import Consistency, Jump, Match, Neighbors, OnGrid, Progressive, jump_law
from undiffuse.diffusion.guidance import Autoguided, Guidance
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import FLOW, X0, V, edm
from undiffuse.diffusion.samplers import DDIM, JumpStep

DISTANCE = Objective(V, UniformWeight())
DATA = Gaussian(mean=0.2)
WALK = walk_of(COSINE, 16)


def ends(student, sampler, walk) -> tuple[float, float]:
    """Mean and standard deviation of what is drawn from noise N(0, 1)."""
    slope, mean = linear_map(student, sampler, walk)
    return mean, abs(slope)


def mean_of(walk) -> float:
    return ends(DATA.denoiser(), DDIM(), walk)[0]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("cosine", 4),
        pytest.param("cosine", 16, marks=pytest.mark.slow),
        pytest.param("linear", 16, marks=pytest.mark.slow),
    ],
)
def test_progressive_to_one_step(name, start):
    """Each stage's student is the next one's teacher; each has the std of the steps that the first teacher took."""
    data = Gaussian({"cosine": COSINE, "linear": LINEAR}[name], mean=0.2)
    teacher, walk, stds = data.denoiser(), walk_of(data.schedule, start), []
    mean = ends(teacher, DDIM(), walk)[0]
    while len(walk) > 1:
        student = LinearStudent(data.schedule, walk[::2])
        learn(Progressive(DISTANCE, teacher, walk), student, OnGrid(walk[::2]), data, 100, 0.1)
        teacher, walk = student, walk[::2]
        found = ends(student, DDIM(), walk)
        assert found[0] == pytest.approx(mean, abs=0.01)
        stds.append(found[1])
    assert stds == pytest.approx([DDIM_STD[name][start]] * {4: 2, 16: 4}[start], rel=0.02)


@pytest.mark.parametrize("row", [V, X0, FLOW, edm()], ids=lambda row: row.name)
def test_progressive_by_any_row_that_stands_pure_noise(row):
    """All 16 steps in one; the error is measured in the student's own row."""
    walk = walk_of(COSINE, 4)
    student = LinearStudent(COSINE, walk[:1], row)
    loss = Progressive(Objective(row, UniformWeight()), DATA.denoiser(), walk, stride=4)
    learn(loss, student, OnGrid(walk[:1]), DATA, 100, 0.1)
    assert ends(student, DDIM(), walk[:1]) == pytest.approx((mean_of(walk), DDIM_STD["cosine"][4]), rel=0.02)


# A student learns from its own answer at the next time, so that of 16 times takes longer than four times that of 4.
BRIEFLY, AT_LENGTH = (4, 400, 0.02, (16, 64)), (16, 2000, 0.03, (64, 64))


@pytest.mark.parametrize("teacher", ["teacher", "data"])
@pytest.mark.parametrize(
    ("weighting", "training"),
    [
        ("angle", BRIEFLY),
        pytest.param("angle", AT_LENGTH, marks=pytest.mark.slow),
        pytest.param("ratio", BRIEFLY, marks=pytest.mark.slow),
    ],
)
def test_consistency_by_neighbors(weighting, training, teacher):
    """On a Gaussian data say in the mean what the teacher says, so both end at its N steps, in one evaluation."""
    steps, updates, rate, shape = training
    walk = walk_of(COSINE, steps)
    who = DATA.denoiser() if teacher == "teacher" else None
    loss = Consistency(Neighbors(walk), who, c=1.0, weighting=weighting, clipped=False)
    student = LinearStudent(COSINE, walk)
    learn(loss, student, OnGrid(walk), DATA, updates, rate, shape)
    mean, std = ends(student, DDIM(), walk[:1])
    assert std == pytest.approx(DDIM_STD["cosine"][steps], rel=0.02)
    assert mean == pytest.approx(mean_of(walk), abs=0.01)
    # Two evaluations with new noise between them, at t = 500: var' = A^2 (alpha^2 var + sigma^2).
    again = linear_map(student, DDIM(), (500.0,))[0]
    alpha, sigma = (float(value) for value in COSINE(500))
    twice = again * (alpha**2 * std**2 + sigma**2) ** 0.5
    assert twice == pytest.approx({16: 0.451017105, 4: 0.329981113}[steps], rel=0.02)


@pytest.mark.parametrize(
    ("steps", "counts", "updates"),
    [(8, (1, 2, 4), 220), pytest.param(16, (1, 2, 4, 8), 600, marks=pytest.mark.slow)],
)
def test_jumps_of_several_counts(steps, counts, updates):
    """One set of numbers, told where its step ends, draws with any of its counts what the teacher's steps draw."""
    walk = walk_of(COSINE, steps)
    student = LinearStudent(COSINE, walk, jumps=True)
    loss = Jump(DISTANCE, DATA.denoiser(), walk, counts, clipped=False)
    learn(loss, student, jump_law(walk, counts), DATA, updates, 0.1, (128, 8))
    for count in counts:
        found = ends(student, JumpStep(), walk[:: steps // count])
        assert found == pytest.approx((mean_of(walk), DDIM_STD["cosine"][steps]), rel=0.02)


def test_match_is_the_teacher_at_every_time():
    """Its samples are the teacher's by any number of steps."""
    student = LinearStudent(COSINE, WALK)
    learn(Match(DISTANCE, DATA.denoiser()), student, OnGrid(WALK), DATA, 120, 0.1)
    for steps in (1, 2, 4, 8, 16):
        walk = WALK[:: 16 // steps]
        mean, std = ends(student, DDIM(), walk)
        assert std == pytest.approx(DDIM_STD["cosine"][steps], rel=0.02, abs=1e-4)
        assert mean == pytest.approx(mean_of(walk), rel=0.02)


def test_match_takes_guidance_into_one_evaluation():
    weak = Gaussian(mean=-0.1, std=0.6).denoiser()
    guided = Autoguided(DATA.denoiser(), weak, Guidance(1.5))
    student = LinearStudent(COSINE, WALK)
    learn(Match(DISTANCE, guided), student, OnGrid(WALK), DATA, 120, 0.1)
    assert ends(student, DDIM(), WALK) == pytest.approx(ends(guided, DDIM(), WALK), rel=0.02)
    assert abs(ends(guided, DDIM(), WALK)[0] - mean_of(WALK)) > 0.1
