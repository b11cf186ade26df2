from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.gaussian import kl, posterior, posterior_mean
from undiffuse.diffusion.samplers import DDIM
from undiffuse.diffusion.schedules import VE, VP
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.samplers.optimal_timesteps import BASELINES, best_walks, candidates
from undiffuse.evaluation.samplers.step_costs import X0Errors, bound_costs, error_costs, x0_errors

STD = 0.5
CHAINS = [schedules.linear(60), schedules.cosine(60), VP(), VE(), schedules.zero_terminal_snr(schedules.linear(60))]


def exact_errors(schedule, times, std=STD):
    """E|x0 - E[x0|x_t]|^2 = std^2 sigma^2 / (alpha^2 std^2 + sigma^2) of Gaussian data."""
    q = schedule(times)
    return X0Errors(times, (std * q.sigma) ** 2 / ((q.alpha * std) ** 2 + q.sigma**2), std**2)


def noises(count, batch):
    return [Noise(0, range(start, min(start + batch, count))) for start in range(0, count, batch)]


def costs_of(kind, schedule, times):
    if kind == "bound":
        return bound_costs(schedule, exact_errors(schedule, times))
    return error_costs(gaussian_denoiser(schedule, (3,), 0.0, STD), times, (3,), STD, noises(6, 4))


@pytest.mark.parametrize("kind", ["bound", "error"])
@pytest.mark.parametrize("schedule", CHAINS)
def test_no_fixed_spacing_costs_less_than_the_chosen_times(kind, schedule):
    steps = (2, 5, 10)
    costs = costs_of(kind, schedule, candidates(schedule, 40, steps))
    walks = best_walks(costs, max(steps))
    for n in steps:
        assert len(walks[n - 1]) == n + 1
        assert bool((walks[n - 1].diff() < 0).all())
        others = [costs.total(make_timesteps(schedule, n, spacing)) for spacing in BASELINES]
        assert costs.total(walks[n - 1]) <= min(others)


@pytest.mark.parametrize("kind", ["bound", "error"])
def test_the_chosen_times_are_those_of_trying_all(kind):
    chain = schedules.linear(12)
    costs = costs_of(kind, chain, torch.arange(1, 13, dtype=torch.float64))
    walks = best_walks(costs, 4)
    for n in range(1, 5):
        tried = {
            times: costs.total(torch.tensor([*times[::-1], 0.0])) for times in combinations(map(float, range(1, 13)), n)
        }
        best = min(tried, key=tried.__getitem__)
        assert tuple(walks[n - 1].tolist()) == (*best[::-1], 0.0)


def test_the_bound_of_all_times_is_made_of_its_kl_terms():
    """Each closed form against the divergence of the Gaussians that it stands for, on one x_0 and x_t."""
    chain = schedules.linear(12)
    times = torch.arange(1, 13, dtype=torch.float64)
    x0, x0_hat = torch.tensor([[0.7, -0.2]]).double(), torch.tensor([[0.4, 0.1]]).double()
    square = float((x0 - x0_hat).square().mean())
    costs = bound_costs(chain, X0Errors(times, torch.full((12,), square).double(), float(x0.square().mean())))
    for s, t in ((1, 12), (3, 4), (5, 11)):
        post = posterior(chain(torch.tensor(float(s))), chain(torch.tensor(float(t))))
        x_t = torch.randn(1, 2, generator=torch.Generator().manual_seed(0)).double()
        means = [posterior_mean(x, x_t, post) for x in (x0, x0_hat)]
        expected = kl(means[0], post.variance.log(), means[1], post.variance.log()).mean()
        assert float(costs.step[t, s]) == pytest.approx(float(expected))
    q_T = chain(torch.tensor(12.0))
    prior = kl(q_T.alpha * x0, 2 * q_T.sigma.log(), torch.zeros(()), torch.zeros(())).mean()
    assert float(costs.start[12]) == pytest.approx(float(prior))
    decoder = torch.distributions.Normal(x0_hat, math.sqrt(square))
    assert float(costs.step[2, 0]) == pytest.approx(float(-decoder.log_prob(x0).mean()))


def test_no_bound_is_below_the_entropy_and_one_step_of_gaussian_data_attains_it():
    """From x_T alone the best Gaussian decoder is the distribution of the data itself."""
    schedule = VP()
    costs = bound_costs(schedule, exact_errors(schedule, candidates(schedule, 200)))
    totals = [costs.total(walk) for walk in best_walks(costs, 50)]
    entropy = 0.5 * math.log(2 * math.pi * math.e * STD**2)
    assert totals[0] == pytest.approx(entropy, abs=1e-4)
    assert min(totals) >= entropy - 1e-12


def test_measured_errors_are_the_exact_ones_of_a_gaussian():
    chain = schedules.linear()
    times = torch.tensor([1.0, 100, 400, 1000]).double()
    x0 = STD * torch.randn(4000, 4, generator=torch.Generator().manual_seed(1))
    denoiser = gaussian_denoiser(chain, (4,), 0.0, STD)
    batches = [ImageBatch(x0[:2000], range(2000)), ImageBatch(x0[2000:], range(2000, 4000))]
    found, exact = x0_errors(denoiser, batches, times), exact_errors(chain, times)
    torch.testing.assert_close(found.error, exact.error, rtol=0.03, atol=0)
    assert found.square == pytest.approx(exact.square, rel=0.03)


def ends(denoiser, times):
    return sample(denoiser, DDIM(), times, (2,), Noise(0, range(8)))


def test_the_error_of_a_single_step_is_the_distance_of_its_samples():
    """DDIM in one step against a thousand, from the same noise."""
    chain = schedules.cosine(1000)
    denoiser = gaussian_denoiser(chain, (2,), 0.3, STD)
    costs = error_costs(denoiser, candidates(chain, 400), (2,), STD, noises(8, 8))
    drawn = [ends(denoiser, make_timesteps(chain, n, "trailing")) for n in (1, 1000)]
    apart = float((drawn[0] - drawn[1]).double().square().mean().sqrt())
    assert costs.total(make_timesteps(chain, 1, "trailing")) == pytest.approx(apart, rel=0.01)


def test_the_sum_of_errors_bounds_that_of_the_walk():
    """The carrying to t = 0 is exact for Gaussian data of this std, and roots of mean squares add up."""
    chain = schedules.linear()
    denoiser = gaussian_denoiser(chain, (2,), 0.3, STD)
    costs = error_costs(denoiser, candidates(chain, 400, (5, 10)), (2,), STD, noises(8, 8))
    exact = ends(denoiser, make_timesteps(chain, 1000, "trailing"))
    for n in (5, 10):
        for walk in (best_walks(costs, n)[-1], make_timesteps(chain, n, "linspace")):
            apart = float((ends(denoiser, walk) - exact).double().square().mean().sqrt())
            assert apart <= costs.total(walk) + 2e-3


def test_batches_do_not_change_the_error():
    chain = schedules.linear(30)
    denoiser = gaussian_denoiser(chain, (3,), 0.0, STD)
    one, two = (error_costs(denoiser, candidates(chain, 20), (3,), STD, noises(5, batch)) for batch in (5, 2))
    torch.testing.assert_close(one.step, two.step)


def test_more_steps_than_times_and_unmeasured_times_are_refused():
    chain = schedules.linear(12)
    costs = costs_of("bound", chain, torch.arange(1, 13, dtype=torch.float64))
    with pytest.raises(UndiffuseError, match="between 1 and 12 steps, not 13"):
        best_walks(costs, 13)
    with pytest.raises(UndiffuseError, match="measured alone"):
        costs.total(torch.tensor([11.5, 3.0, 0.0]).double())


LEARNED = LearnedTimesteps((900.0, 400.5, 50.0), "error", 0.25, 64, 5000, "ab" * 32)


def write(folder, learned=LEARNED, steps=3, **changes):
    found = {**json.loads(learned.to_json()), **changes}
    LearnedTimesteps.file(folder, steps).write_text(json.dumps(found))


def test_stored_times_come_back(tmp_path):
    LearnedTimesteps.file(tmp_path, 3).write_text(LEARNED.to_json())
    assert LearnedTimesteps.read(tmp_path, 3, "ab" * 32) == LEARNED


def test_stored_times_of_other_weights_or_another_number_are_refused(tmp_path):
    with pytest.raises(UndiffuseError, match="no learned timesteps for 3 steps: choose them with undiffuse timesteps"):
        LearnedTimesteps.read(tmp_path, 3, "ab" * 32)
    write(tmp_path)
    with pytest.raises(UndiffuseError, match="made for other weights"):
        LearnedTimesteps.read(tmp_path, 3, "cd" * 32)
    write(tmp_path, steps=4)
    with pytest.raises(UndiffuseError, match="should hold 4 times and holds 3"):
        LearnedTimesteps.read(tmp_path, 4, "ab" * 32)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 2}, "another format"),
        ({"times": "all"}, "'times'"),
        ({"times": [900, "x", 3]}, "'times'"),
        ({"cost": "beauty"}, "'cost'"),
        ({"more": 1}, "unknown setting 'more'"),
    ],
)
def test_damaged_files_of_times_are_refused_in_a_sentence(tmp_path, changes, match):
    write(tmp_path, **changes)
    with pytest.raises(UndiffuseError, match=match):
        LearnedTimesteps.read(tmp_path, 3, "ab" * 32)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    LearnedTimesteps.file(tmp_path, 3).write_bytes(b"\xff\x00[")
    with pytest.raises(UndiffuseError, match="cannot be read"):
        LearnedTimesteps.read(tmp_path, 3, "ab" * 32)


def test_stored_times_are_plain_numbers(tmp_path):
    write(tmp_path, replace(LEARNED, times=(3.0, 2.0, 1.0)))
    assert LearnedTimesteps.read(tmp_path, 3, "ab" * 32).times == (3.0, 2.0, 1.0)
