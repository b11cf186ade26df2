"""The exact ways that students are held against are those of the samplers, to the last digit that was written down."""

from __future__ import annotations

from math import prod

import pytest
import torch
from oracles import COSINE, DDIM_STD, LINEAR, Gaussian, Mixture, chain, ddim, linear_map, numbers, walk_of

from undiffuse.diffusion.samplers import DDIM

DIGITS = 6e-10  # the tables have nine digits


@pytest.mark.parametrize("name", DDIM_STD)
@pytest.mark.parametrize("steps", [pytest.param(n, marks=[pytest.mark.slow] * (n > 500)) for n in DDIM_STD["cosine"]])
def test_the_std_of_few_ddim_steps_on_a_gaussian(name, steps):
    data = Gaussian({"cosine": COSINE, "linear": LINEAR}[name])
    walk = walk_of(data.schedule, steps)
    std, mean = linear_map(data.denoiser(), DDIM(), walk)
    assert std == pytest.approx(DDIM_STD[name][steps], abs=DIGITS)
    assert std == pytest.approx(prod(data.factor(t, s) for t, s in chain(walk)), rel=1e-10)
    assert mean == 0


def test_ddim_grids_nest():
    """Half the steps of a trailing walk are every second one, so the middle of each long step was trained."""
    for steps in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        assert walk_of(COSINE, 2 * steps)[::2] == walk_of(COSINE, steps)


def test_the_flow_of_a_gaussian():
    data, one = Gaussian(), numbers(1)
    found = [float(data.flow(one, t, 0)) for t in (1, 250, 500, 750, 1000)]
    assert found == pytest.approx([0.999938079, 0.827899812, 0.630132204, 0.529465008, 0.5], abs=DIGITS)
    assert float(data.flow(one, 750, 250)) == pytest.approx(0.639527875, abs=DIGITS)
    assert data.factor(750, 250) == pytest.approx(0.503720603, abs=DIGITS)


MIXTURE = {
    0.1: (0.859260856, 0.851549033, 0.136691739, 0.097551739, 0.543762691, 0.888899078, 0.861757636),
    0.5: (0.970219218, 0.959329976, 0.597476382, 0.454037141, 0.973300913, 0.973066346, 0.970411718),
    1.0: (1.047523285, 1.039236875, 0.885068384, 0.754827712, 1.000318619, 1.024702026, 1.045593686),
    2.0: (1.169014338, 1.181356398, 1.009774349, 0.971105695, 1.031211555, 1.102982918, 1.163516792),
}
"""At x: the flow's end from t = 1000 and 500, E[x0 | x] at 500, the end of 2, 4, 16 and 256 DDIM steps."""


@pytest.mark.parametrize("x", MIXTURE)
def test_the_ways_of_a_mixture(x):
    data = Mixture()
    walks = [walk_of(COSINE, steps) for steps in (2, 4, 16, 256)]
    found = [
        data.flow(x, 1000, 0),
        data.flow(x, 500, 0),
        float(data.denoiser()(numbers(x), 500).x0),
        *(float(ddim(data.denoiser(), walk, numbers(x))) for walk in walks),
    ]
    assert found == pytest.approx(MIXTURE[x], abs=DIGITS)


def test_quantiles_go_where_the_flow_goes():
    """DDIM of many steps nears the map of quantiles, with an error that falls with the step."""
    data = Mixture()
    assert data.flow(0.5, 1000, 500) == pytest.approx(0.561092407, abs=DIGITS)
    x, exact = numbers(0.3, 0.5, -1.2), torch.tensor([[data.flow(x, 1000, 0)] for x in (0.3, 0.5, -1.2)]).double()
    errors = [float((ddim(data.denoiser(), walk_of(COSINE, n), x) - exact).abs().max()) for n in (64, 128, 256)]
    assert errors[2] < 4e-3
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]


@pytest.mark.parametrize("data", [Gaussian(mean=0.3), Mixture()], ids=["gaussian", "mixture"])
def test_ways_compose(data):
    x = numbers(0.7) if isinstance(data, Gaussian) else 0.7
    assert float(data.flow(data.flow(x, 1000, 500), 500, 250)) == pytest.approx(
        float(data.flow(x, 1000, 250)), abs=1e-9
    )
