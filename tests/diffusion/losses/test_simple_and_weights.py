from __future__ import annotations

import pytest
import torch

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.training import ObjectiveConfig
from undiffuse.diffusion import schedules
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.losses import (
    P2,
    VLB,
    LogitNormal,
    MinSNR,
    Objective,
    Stratified,
    Uniform,
    UniformWeight,
    draw_noise,
)
from undiffuse.diffusion.losses.simple import overshoots
from undiffuse.diffusion.parameterization import EPSILON, FLOW, ROWS, SCORE, X0, V, edm
from undiffuse.diffusion.schedules import VP
from undiffuse.errors import UndiffuseError
from undiffuse.factories.loss import make_objective, make_time_law, make_weighting

CHAIN = schedules.linear()


def draw(n, std=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, n, 8, generator=generator, dtype=torch.float64)
    t = Stratified().draw(CHAIN, n, generator)
    return std * x0, t, eps


@pytest.mark.parametrize(("std", "loss"), [(1.0, 0.275513), (0.5, 0.173053)])
def test_simple_loss_of_the_optimal_network(std, loss):
    """FACTS: no network can have less, and the exact denoiser has it."""
    x0, t, eps = draw(200_000, std)
    losses = Objective(EPSILON, UniformWeight())(gaussian_denoiser(CHAIN, (8,), std=std), x0, t, eps)
    assert float(losses.mean()) == pytest.approx(loss, rel=5e-3)


def test_vlb_weights_of_the_eps_loss():
    t = torch.tensor([1, 2, 10, 100, 1000], dtype=torch.float64)
    expected = [0.50005, 0.272692, 0.073717, 0.0100813, 0.0102045]
    assert VLB().weight(CHAIN, t, EPSILON).tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UndiffuseError, match="discrete chain"):
        VLB().weight(VP(), torch.tensor([0.5]), EPSILON)


def test_min_snr_is_the_papers_weight_in_each_space():
    """Hang et al. 2023, section 3.4: min(SNR, 5) for x0, / SNR for eps, / (SNR + 1) for v."""
    t = torch.tensor([5.0, 100.0, 400.0, 900.0], dtype=torch.float64)
    snr = CHAIN(t).snr
    weight = MinSNR(5.0).weight
    torch.testing.assert_close(weight(CHAIN, t, X0), snr.clamp(max=5))
    torch.testing.assert_close(weight(CHAIN, t, EPSILON), snr.clamp(max=5) / snr)
    torch.testing.assert_close(weight(CHAIN, t, V), snr.clamp(max=5) / (snr + 1))


def test_p2_is_the_papers_weight_of_eps():
    t = torch.tensor([5.0, 400.0, 900.0], dtype=torch.float64)
    torch.testing.assert_close(P2(0.5).weight(CHAIN, t, EPSILON), (1 + CHAIN(t).snr) ** -0.5)


@pytest.mark.parametrize("weighting", [MinSNR(), P2(), VLB()], ids=repr)
@pytest.mark.parametrize("space", [*ROWS.values(), edm()], ids=lambda row: row.name)
def test_a_weight_stated_for_one_space_means_the_same_in_every_space(weighting, space):
    """The loss of one and the same imperfect denoiser does not depend on the space it is measured in."""

    class Off:
        schedule = CHAIN

        def __call__(self, x_t, t, **conditions):
            prediction = gaussian_denoiser(CHAIN, (8,))(x_t, t)
            return prediction.with_x0(prediction.x0 + 0.1, x_t, CHAIN(t))

    x0, _, eps = draw(6)
    t = torch.tensor([2, 50, 200, 500, 800, 1000], dtype=torch.float64)
    reference = Objective(X0, weighting)(Off(), x0, t, eps)
    torch.testing.assert_close(Objective(space, weighting)(Off(), x0, t, eps), reference, rtol=1e-6, atol=0)


@pytest.mark.parametrize("space", [EPSILON, X0, V, FLOW, SCORE, edm()], ids=lambda row: row.name)
def test_uniform_weight_is_the_plain_error_of_the_networks_output(space):
    """With a network behind it, F is recovered from the prediction: the loss is |F - target|^2 of that output."""
    from torch import nn

    from undiffuse.diffusion.denoiser import NetworkDenoiser

    output = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(1))

    class Fixed(nn.Module):
        def forward(self, x, time):
            return output

    x0, _, eps = (a.float()[:, None] if a.ndim == 2 else a for a in draw(4))
    t = torch.tensor([20, 300, 600, 990], dtype=torch.float64)
    target = space.mix(x0, eps, CHAIN(t))
    loss = Objective(space, UniformWeight())(NetworkDenoiser(Fixed(), CHAIN, space), x0, t, eps)
    torch.testing.assert_close(loss, (output - target).square().mean((1, 2)), rtol=2e-3, atol=1e-4)


def test_distances():
    class Half:
        schedule = CHAIN

        def __call__(self, x_t, t, **conditions):
            return Prediction(torch.full_like(x_t, 0.5), torch.zeros_like(x_t))

    x0 = torch.tensor([[0.0, 3.0]])
    args = (Half(), x0, torch.tensor([500.0]).double(), torch.zeros_like(x0))
    diffusion = DiffusionConfig(parameterization="x0")
    losses = {d: float(make_objective(ObjectiveConfig(distance=d), diffusion)(*args)) for d in ("l2", "l1", "huber")}
    assert losses == pytest.approx({"l2": (0.25 + 6.25) / 2, "l1": 1.5, "huber": (0.125 + 2.0) / 2})


@pytest.mark.parametrize("law", [Uniform(), Stratified()], ids=repr)
def test_every_timestep_is_drawn_equally_often(law):
    t = law.draw(CHAIN, 100_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(t.long(), minlength=1001)
    assert counts[0] == 0
    assert int(counts[1:].min()) > 50
    assert int(counts[1:].max()) < 160
    assert torch.equal(t, t.round())


def test_stratified_times_cover_the_chain_in_every_batch():
    for seed in range(20):
        t = Stratified().draw(CHAIN, 10, torch.Generator().manual_seed(seed))
        assert sorted(((t - 1) // 100).tolist()) == list(range(10))


def test_stratified_parts_of_a_batch_see_all_noise_levels():
    t = Stratified().draw(CHAIN, 1000, torch.Generator().manual_seed(0))
    assert abs(float(t[:500].mean()) - 500) < 60


def test_logit_normal_prefers_the_middle_by_its_own_quantiles():
    t = LogitNormal(0.5, 0.8).draw(VP(), 200_000, torch.Generator().manual_seed(0))
    assert float(t.median()) == pytest.approx(float(torch.sigmoid(torch.tensor(0.5))), abs=5e-3)
    low = float(torch.sigmoid(torch.tensor(0.5 - 0.8)))  # one standard deviation below
    assert float((t < low).double().mean()) == pytest.approx(0.1587, abs=5e-3)


def test_logit_normal_keeps_a_uniform_share():
    t = LogitNormal(1.0, 0.1, uniform=0.2).draw(VP(), 100_000, torch.Generator().manual_seed(0))
    assert float((t < 0.5).double().mean()) == pytest.approx(0.2 * 0.5, abs=5e-3)  # nothing else reaches there


def test_offset_noise_adds_one_constant_per_channel():
    shape = (4000, 3, 5, 5)
    plain = draw_noise(shape, torch.Generator().manual_seed(0))
    offset = draw_noise(shape, torch.Generator().manual_seed(0), offset=0.5)
    difference = offset - plain
    torch.testing.assert_close(difference, difference[:, :, :1, :1].expand(shape), rtol=0, atol=1e-5)
    assert float(difference[:, :, 0, 0].std()) == pytest.approx(0.5, rel=0.05)
    assert float(plain.std()) == pytest.approx(1, rel=0.01)


def test_conditions_reach_the_denoiser():
    seen = {}

    class Listening:
        schedule = CHAIN

        def __call__(self, x_t, t, **conditions):
            seen.update(conditions)
            return Prediction(x_t, x_t)

    label = torch.tensor([3])
    Objective(V, UniformWeight())(
        Listening(), torch.zeros(1, 2), torch.tensor([5.0]).double(), torch.zeros(1, 2), {"label": label}
    )
    assert seen == {"label": label}


def test_settings_name_laws_and_weightings():
    assert make_time_law(ObjectiveConfig(time_law="logit-normal", logit_mean=1.0), CHAIN) == LogitNormal(1.0, 1.0, 0.0)
    assert make_weighting(ObjectiveConfig(weighting="min-snr", gamma=3.0)) == MinSNR(3.0)
    assert make_weighting(ObjectiveConfig(weighting="p2")) == P2(1.0)
    assert make_weighting(ObjectiveConfig(weighting="p2", gamma=3.0, p2_gamma=0.5)) == P2(0.5)
    assert q_sample(torch.ones(1, 1), torch.ones(1, 1), CHAIN(torch.tensor([0.0]))).item() == 1


@pytest.mark.parametrize("space", [*ROWS.values(), edm()], ids=lambda row: row.name)
def test_a_clipped_error_is_that_of_the_clipped_prediction_in_every_space(space):
    """Where data lie at an end of [-1, 1], overshooting it costs nothing; everything else costs what it did."""
    x0 = torch.tensor([[-1.0, -1.0, 1.0, 1.0, 0.5, -0.9, 1.4]], dtype=torch.float64)
    seen = torch.tensor([[-1.2, -0.9, 1.3, 0.8, 1.4, -1.1, 0.9]], dtype=torch.float64, requires_grad=True)
    same_but_ends = torch.tensor([[-1.0, -0.9, 1.0, 0.8, 1.4, -1.1, 0.9]], dtype=torch.float64)
    eps, t = torch.full_like(x0, 0.3), torch.tensor([300.0], dtype=torch.float64)
    x_t = q_sample(x0, eps, CHAIN(t))

    def loss(values, clipped):
        prediction = Prediction(values, torch.zeros_like(values)).with_x0(values, x_t, CHAIN(t))
        return Objective(space, UniformWeight(), clipped=clipped).error(prediction, CHAIN, x0, t, eps)

    found = loss(seen, clipped=True)
    torch.testing.assert_close(found, loss(same_but_ends, clipped=False))
    (gradient,) = torch.autograd.grad(found.sum(), seen)
    assert (gradient[0, [0, 2]] == 0).all(), "no pull back into the range"
    assert (gradient[0, [1, 3, 4, 5, 6]] != 0).all()


def test_a_target_that_rounding_keeps_from_an_end_lies_there():
    """A teacher's clipped walk implies x0 = -1 up to the rounding of a few float operations."""
    x0, seen = torch.tensor([[-1 + 3e-7, 1 - 3e-6, 0.996]]), torch.tensor([[-1.01, 1.02, 1.01]])
    assert overshoots(seen, x0).tolist() == [[True, True, False]]


def test_a_clipped_error_has_the_optimum_of_the_plain_one():
    """Of pixels that are black in 7 of 10 images and 0.4 in 3, the best prediction is their mean either way."""
    x0 = torch.tensor([-1.0] * 7 + [0.4] * 3, dtype=torch.float64)[:, None]
    eps, t = torch.zeros_like(x0), torch.full((10,), 500.0, dtype=torch.float64)
    guesses = torch.linspace(-1.5, 1, 2501, dtype=torch.float64)
    q_t = CHAIN(t)
    x_t = q_sample(x0, eps, q_t)

    def loss(guess, clipped):
        prediction = Prediction(x0, eps).with_x0(torch.full_like(x0, float(guess)), x_t, q_t)
        return Objective(X0, UniformWeight(), clipped=clipped).error(prediction, CHAIN, x0, t, eps).mean()

    for clipped in (False, True):
        best = guesses[torch.stack([loss(guess, clipped) for guess in guesses]).argmin()]
        assert float(best) == pytest.approx(float(x0.mean()), abs=1e-3)
