"""Every wrapper at both ends of the process: at pure noise, where alpha = 0, and at data, where sigma = 0.

The oracle at alpha = 0 is what the same wrapper says just before, of an exact denoiser; at sigma = 0 it is the data.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.training import ObjectiveConfig
from undiffuse.diffusion.denoiser import Denoiser, NetworkDenoiser
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.guidance import (
    DDNM,
    DPS,
    Autoguided,
    ClassifierFree,
    ClassifierGuided,
    Clip,
    Conditioned,
    DynamicThreshold,
    Guidance,
    LinearMeasurement,
    PiGDM,
    ReplacementInpainting,
    Tiled,
)
from undiffuse.diffusion.linear_operators import Blur, Downsample, Mask
from undiffuse.diffusion.losses.variational_bound import bound_terms, prior_term
from undiffuse.diffusion.parameterization import ROWS, edm
from undiffuse.diffusion.schedules import DiscreteSchedule, RectifiedFlow, Schedule, cosine, linear, zero_terminal_snr
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.factories.loss import make_objective

SHAPE = (1, 8)
MEAN, STD = -0.2, 0.6
SCHEDULES: dict[str, Schedule] = {
    "linear": zero_terminal_snr(linear()),
    "cosine": zero_terminal_snr(cosine()),
    "short": zero_terminal_snr(linear(2)),
    "flow": RectifiedFlow(),
}
CENTRES = torch.stack([torch.linspace(-0.5, 0.5, 8), torch.linspace(0.6, -0.8, 8)]).double()[:, None]
KNOWN = torch.tensor([1.0, 0, 0, 1, 1, 0, 1, 0])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(t: float) -> torch.Tensor:
    return torch.tensor(float(t), dtype=torch.float64)


def gaussian(schedule: Schedule) -> MixtureDenoiser:
    return gaussian_denoiser(schedule, SHAPE, MEAN, STD)


def two(schedule: Schedule) -> MixtureDenoiser:
    return MixtureDenoiser(schedule, CENTRES, 0.2)


def classifier(schedule: Schedule) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """log p(k | x_t) + c of the two components, exactly."""

    def logits(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        q_t = schedule(t)
        alpha, v = (c.reshape(-1, 1, 1, 1) for c in (q_t.alpha, 0.04 * q_t.alpha**2 + q_t.sigma**2))
        return -(((x_t[:, None] - alpha * CENTRES) ** 2) / (2 * v)).flatten(2).sum(-1)

    return logits


def observed(operator, noise=0.0):
    return LinearMeasurement(operator, operator.A(draw(3, *SHAPE, seed=1)), noise, STD)


def guided_by(method, operator, noise=0.0):
    return lambda s: method(gaussian(s), observed(operator, noise))


def grid(schedule: Schedule) -> torch.Tensor:
    return make_timesteps(schedule, 2)


OPERATORS = {"mask": Mask(KNOWN), "downsample": Downsample(4), "blur": Blur.gaussian(0.5)}
POSTERIOR = {
    f"{method.__name__}-{name}-{noise}": guided_by(method, operator, noise)
    for method in (DDNM, PiGDM)
    for name, operator in OPERATORS.items()
    for noise in (0.0, 0.3)
}
WRAPPERS: dict[str, Callable[[Schedule], Denoiser]] = {
    **POSTERIOR,
    "dps": lambda s: DPS(gaussian(s), observed(OPERATORS["blur"]), grid(s)),
    "replaced": lambda s: ReplacementInpainting(
        two(s), draw(3, *SHAPE, seed=1), KNOWN.double(), draw(3, *SHAPE, seed=2)
    ),
    "classifier": lambda s: ClassifierGuided(two(s), classifier(s), torch.tensor([0, 1, 0]), 1.5),
    "classifier-free": lambda s: ClassifierFree(two(s), {}, {}, Guidance(3.0, 0.7)),
    "autoguided": lambda s: Autoguided(two(s), gaussian(s), Guidance(2.0)),
    "autoguided-rescaled": lambda s: Autoguided(two(s), gaussian(s), Guidance(2.0, 0.7)),
    "clip": lambda s: Clip(two(s)),
    "dynamic": lambda s: DynamicThreshold(two(s), 0.9),
    "given": lambda s: Conditioned(two(s), {}),
    "tiled": lambda s: Tiled(gaussian_denoiser(s, (1, 4), MEAN, STD), (4,), 1),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", WRAPPERS)
def test_at_pure_noise_every_wrapper_says_what_it_says_just_before(name, schedule):
    process = SCHEDULES[schedule]
    wrapped, x = WRAPPERS[name](process), draw(3, *SHAPE)
    last, before = at(process.t_max), process.inverse_log_snr(at(-30))  # alpha = 3e-7
    assert float(process(last).alpha) == 0
    seen, nearly = wrapped(x, last), wrapped(x, before)
    # The classifier is asked at t_last, as far from the end as one step of the chain.
    tolerance = {"classifier": 10 * float(process(at(process.t_last)).alpha)}.get(name, 0) + 1e-4
    torch.testing.assert_close(seen.x0, nearly.x0, rtol=0, atol=tolerance)
    torch.testing.assert_close(seen.eps, nearly.eps, rtol=0, atol=1e-4)
    if name not in ("replaced", "tiled"):
        torch.testing.assert_close(seen.eps, x)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_batch_of_pure_noise_and_less_is_what_each_time_is_alone(name):
    process = SCHEDULES["cosine"]
    times = torch.tensor([process.t_max, 700.0, process.t_max], dtype=torch.float64)
    wrapped, x = WRAPPERS[name](process), draw(3, *SHAPE)
    together = wrapped(x, times)
    for t in (process.t_max, 700.0):
        alone, rows = wrapped(x, at(t)), times == t
        torch.testing.assert_close(together.x0[rows], alone.x0[rows], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.eps[rows], alone.eps[rows], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("schedule", ["linear", "flow"])
def test_at_data_every_wrapper_is_finite_and_x0_is_what_it_is_just_after(name, schedule):
    process = SCHEDULES[schedule]
    wrapped, x = WRAPPERS[name](process), 0.3 * draw(3, *SHAPE)
    seen, nearly = wrapped(x, at(0)), wrapped(x, process.inverse_log_snr(at(40)))  # sigma = 2e-9
    assert bool(seen.eps.isfinite().all())
    if name != "dps":  # whose step is of one length down to t = 0
        torch.testing.assert_close(seen.x0, nearly.x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_data_the_ideal_denoiser_of_points_names_the_nearest(dtype):
    ideal = MixtureDenoiser(SCHEDULES["linear"], CENTRES)
    x = torch.cat([CENTRES, CENTRES]).to(dtype) + 0.1
    seen = ideal(x, at(0))
    torch.testing.assert_close(seen.x0, torch.cat([CENTRES, CENTRES]).to(dtype))
    assert torch.equal(seen.eps, torch.zeros_like(x))


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_the_interval_is_asked_of_each_sample_of_a_batch(rescale):
    process = SCHEDULES["cosine"]
    guided = Autoguided(two(process), gaussian(process), Guidance(2.0, rescale, (0.5, 2.0)))
    times = torch.tensor([900.0, 500.0, 100.0], dtype=torch.float64)  # sigma / alpha of 6.5, 1 and 0.2
    x = draw(3, *SHAPE)
    together = guided(x, times).x0
    for row, t in enumerate(times):
        torch.testing.assert_close(together[row : row + 1], guided(x[row : row + 1], t).x0)
    strong = two(process)(x, times).x0
    torch.testing.assert_close(together[[0, 2]], strong[[0, 2]])
    assert bool((together[1] - strong[1]).abs().max() > 0.01)


@pytest.mark.parametrize("shape", [SHAPE, (1, 1)])
def test_where_predictions_are_flat_rescaling_takes_no_contrast_back(shape):
    process = SCHEDULES["linear"]
    strong, weak = gaussian_denoiser(process, shape, MEAN, STD), gaussian_denoiser(process, shape, 0.1, STD)
    seen = Autoguided(strong, weak, Guidance(2.0, 0.7))(draw(3, *shape), at(1000))
    torch.testing.assert_close(seen.x0, torch.full_like(seen.x0, 0.1 + 2 * (MEAN - 0.1)))


@pytest.mark.parametrize("name", [name for name in POSTERIOR if name.startswith("PiGDM")])
def test_at_pure_noise_pigdm_corrects_by_the_pseudo_inverse(name):
    process = SCHEDULES["linear"]
    guided, x = WRAPPERS[name](process), draw(3, *SHAPE)
    prior = torch.full_like(x, MEAN)
    torch.testing.assert_close(guided(x, at(1000)).x0, prior + guided.observation.correction(prior, process(at(1000))))
    if name.endswith("0.0"):
        y, operator = guided.observation.y, guided.observation.operator
        torch.testing.assert_close(guided(x, at(1000)).x0, prior + operator.pinv(y - operator.A(prior)))


class Perfect(torch.nn.Module):
    """A network that predicts what a row asks of N(MEAN, STD^2); its time input is the index."""

    def __init__(self, data, row):
        super().__init__()
        self.data, self.row = data, row

    def forward(self, x, time, **conditions):
        t = at(float(time[0]) + 1)
        q_t = self.data.schedule(t)
        seen = self.data(x / self.row.input_scale(q_t), t)
        return self.row.mix(seen.x0, torch.where(q_t.sigma == 0, 0.0, 1.0) * seen.eps, q_t).nan_to_num(0, 0, 0)


@pytest.mark.parametrize("row", [*ROWS.values(), edm()], ids=[*ROWS, "edm"])
def test_at_data_every_parameterization_gives_the_data(row):
    network = NetworkDenoiser(Perfect(gaussian(linear()), row), linear(), row)
    x = 0.3 * draw(3, *SHAPE)
    seen = network(x, at(0))
    torch.testing.assert_close(seen.x0, x)
    torch.testing.assert_close(seen.eps, torch.zeros_like(x))
    both = network(x, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(both.x0, seen.x0)


@pytest.mark.parametrize("row", ["v", "x0", "flow", "edm"])
def test_at_pure_noise_every_parameterization_that_is_allowed_gives_the_mean(row):
    process = zero_terminal_snr(linear())
    wanted = {**ROWS, "edm": edm()}[row]
    x = draw(3, *SHAPE)
    seen = NetworkDenoiser(Perfect(gaussian(process), wanted), process, wanted)(x, at(1000))
    torch.testing.assert_close(seen.x0, torch.full_like(x, MEAN))
    torch.testing.assert_close(seen.eps, x)


@pytest.mark.parametrize("weighting", ["uniform", "min-snr", "p2", "vlb"])
@pytest.mark.parametrize("row", ["v", "x0", "flow", "edm"])
def test_losses_and_weights_are_finite_at_both_ends_of_a_chain_that_ends_in_noise(row, weighting):
    process = zero_terminal_snr(linear(50))
    objective = make_objective(ObjectiveConfig(weighting=weighting), DiffusionConfig(parameterization=row))
    x0, eps = draw(2, *SHAPE), draw(2, *SHAPE, seed=1)
    loss = objective(gaussian(process), x0, torch.tensor([1.0, 50.0], dtype=torch.float64), eps)
    assert bool(loss.isfinite().all())
    assert bool((loss >= 0).all())


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_bound_is_finite_where_the_chain_ends_in_noise_and_nothing_is_left_to_pay_for(variance):
    process = zero_terminal_snr(linear(50))
    assert isinstance(process, DiscreteSchedule)
    x0, eps = torch.full((2, *SHAPE), 3 / 255, dtype=torch.float64), draw(2, *SHAPE, seed=1)
    terms = bound_terms(gaussian(process), x0, torch.tensor([1.0, 50.0], dtype=torch.float64), eps, variance)
    assert bool(terms.isfinite().all())
    torch.testing.assert_close(prior_term(process, x0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
