from __future__ import annotations

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.parameterization import EPSILON, FLOW, ROWS, SCORE, X0, V, edm, make_parameterization
from undiffuse.diffusion.schedules import VE, VP, RectifiedFlow
from undiffuse.errors import UndiffuseError

ALL = [*ROWS.values(), edm(0.5), edm(1.3)]
SCHEDULES = [schedules.linear(), schedules.cosine(), VP(), VE(), RectifiedFlow()]


def draw(schedule, n=64):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.02, 0.98, n, dtype=torch.float64) * schedule.t_max
    return x0, eps, schedule(t)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_every_row_gives_back_what_it_was_made_of(row, schedule):
    x0, eps, q_t = draw(schedule)
    x0_again, eps_again = row.solve(row.mix(x0, eps, q_t), q_sample(x0, eps, q_t), q_t)
    torch.testing.assert_close(x0_again, x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(eps_again, eps, rtol=1e-7, atol=1e-7)


def test_rows_are_the_papers_targets():
    x0, eps, q_t = draw(schedules.cosine())
    alpha, sigma = (c[:, None] for c in q_t)
    assert torch.equal(EPSILON.mix(x0, eps, q_t), eps)
    assert torch.equal(X0.mix(x0, eps, q_t), x0)
    torch.testing.assert_close(V.mix(x0, eps, q_t), alpha * eps - sigma * x0)
    torch.testing.assert_close(FLOW.mix(x0, eps, q_t), eps - x0)
    # The score of q(x_t | x0), by automatic differentiation of its log density.
    x_t = q_sample(x0, eps, q_t).requires_grad_()
    (score,) = torch.autograd.grad((-((x_t - alpha * x0) ** 2) / (2 * sigma**2)).sum(), x_t)
    torch.testing.assert_close(SCORE.mix(x0, eps, q_t), score)


def test_flow_on_the_straight_line_is_its_velocity():
    flow = RectifiedFlow()
    x0, eps = torch.randn(2, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    h = 1e-6
    later, earlier = (q_sample(x0, eps, flow(torch.tensor([t], dtype=torch.float64))) for t in (0.5 + h, 0.5 - h))
    torch.testing.assert_close(FLOW.mix(x0, eps, flow(torch.tensor([0.5]))), (later - earlier) / (2 * h))


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_is_karras_preconditioning(sigma_data):
    """Table 1 of Karras et al. 2022, on the process they state it for (alpha = 1)."""
    ve, row = VE(), edm(sigma_data)
    x0, eps, q_t = draw(ve)
    sigma = q_t.sigma[:, None]
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma_data**2 + sigma**2) ** 0.5
    network_output = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x_t = q_sample(x0, eps, q_t)
    denoised, _ = row.solve(network_output, x_t, q_t)
    torch.testing.assert_close(denoised, c_skip * x_t + c_out * network_output)
    torch.testing.assert_close(row.input_scale(q_t), 1 / (q_t.sigma**2 + sigma_data**2) ** 0.5)


@pytest.mark.parametrize("schedule", [VE(), VP(), schedules.cosine()], ids=lambda s: type(s).__name__)
def test_edm_keeps_input_and_target_at_unit_variance(schedule):
    n, sigma_data, row = 200_000, 0.7, edm(0.7)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, n, generator=generator, dtype=torch.float64)
    q_t = schedule(torch.linspace(0.01, 0.99, n, dtype=torch.float64) * schedule.t_max)
    x0 = sigma_data * x0
    scaled_input = row.input_scale(q_t) * q_sample(x0[:, None], eps[:, None], q_t)[:, 0]
    assert float(scaled_input.var()) == pytest.approx(1, rel=0.02)
    assert float(row.mix(x0[:, None], eps[:, None], q_t).var()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("row", [EPSILON, SCORE], ids=lambda row: row.name)
def test_rows_that_mean_nothing_in_pure_noise_refuse_it(row):
    with pytest.raises(UndiffuseError, match="use `parameterization=v`"):
        row.check(schedules.zero_terminal_snr(schedules.linear()))


@pytest.mark.parametrize("row", [V, X0, FLOW, edm()], ids=lambda row: row.name)
def test_the_other_rows_are_exact_in_pure_noise(row):
    chain = schedules.zero_terminal_snr(schedules.linear())
    row.check(chain)
    q_T = chain(torch.tensor([1000.0]))
    x0, eps = torch.randn(2, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    solved = row.solve(row.mix(x0, eps, q_T), q_sample(x0, eps, q_T), q_T)
    if row.name != "edm":  # at alpha = 0 EDM's target is x0 / sigma_data alone, which is what matters there
        torch.testing.assert_close(solved[1], eps)
    torch.testing.assert_close(solved[0], x0)


def test_made_by_name():
    assert make_parameterization("v") is V
    assert make_parameterization("edm", 0.3).name == "edm"
    with pytest.raises(UndiffuseError, match="must be positive"):
        edm(0.0)
