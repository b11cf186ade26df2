"""The laws of t, of the time a jump ends at, and of the earlier time that consistency asks at."""

from __future__ import annotations

from collections import Counter
from math import exp, log

import pytest
import torch
from oracles import COSINE, LINEAR, SCHEDULES, Gaussian, time, walk_of

from undiffuse.diffusion import schedules
from undiffuse.diffusion.distillation import Annealed, Jump, LogNormalRatio, Neighbors, OnGrid, jump_law
from undiffuse.diffusion.distillation.teacher import UNTIL, Scales, until_input, waves
from undiffuse.diffusion.distillation.times import at, position, trained_times
from undiffuse.diffusion.losses import Objective, UniformWeight
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.schedules import VE, VP
from undiffuse.errors import UndiffuseError

WALK = walk_of(COSINE, 8)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def jump(counts: tuple[int, ...], walk: tuple[float, ...] = WALK) -> Jump:
    return Jump(Objective(V, UniformWeight()), Gaussian().denoiser(), walk, counts)


def test_places_of_a_walk():
    assert position(WALK, time(1000, 125, 500)).tolist() == [0, 7, 4]
    assert at(WALK, torch.tensor([0, 7, 8, 12])).tolist() == [1000, 125, 0, 0]
    assert trained_times(COSINE, time(0.2, 3.4, 3.6, 2000)).tolist() == [1, 3, 4, 1000]
    assert trained_times(VP(), time(0, 0.0104, 2)).tolist() == [1e-3, 0.0104, 1]


def test_times_of_a_grid_are_drawn_alike():
    t = OnGrid(WALK).draw(COSINE, 8000, dice())
    assert Counter(t.tolist()) == pytest.approx(dict.fromkeys(WALK, 1000), abs=2)
    assert t.dtype == torch.float64
    assert torch.equal(t, OnGrid(WALK).draw(COSINE, 8000, dice()))


def test_times_of_a_grid_are_drawn_in_proportion():
    weights = (1.0, 0.0, 2.0, 0.0, 0.0, 4.0, 0.0, 1.0)
    counts = Counter(OnGrid(WALK, weights).draw(COSINE, 8000, dice()).tolist())
    assert counts == pytest.approx({WALK[0]: 1000, WALK[2]: 2000, WALK[5]: 4000, WALK[7]: 1000}, abs=2)


@pytest.mark.parametrize("batch", [1, 3, 8, 37])
def test_each_batch_sees_each_time_as_often_as_it_can(batch):
    """A time of share p is in a batch of B more than p B - 2 and fewer than p B + 2 times."""
    for seed in range(50):
        counts = Counter(OnGrid(WALK).draw(COSINE, batch, dice(seed)).tolist())
        assert all(abs(counts[t] - batch / 8) < 2 for t in WALK)


def test_places_in_a_batch_know_nothing_of_the_time():
    """Conditions and data lie in the batch in an order of their own."""
    t = torch.stack([OnGrid(WALK).draw(COSINE, 8, dice(seed)) for seed in range(2000)])
    assert float((t.mean(0) - t.mean()).abs().max()) < 5 * float(t.std()) / 2000**0.5


def test_the_log_of_the_noise_level_is_normal():
    for process in (VE(), VP(), COSINE):
        t = LogNormalRatio(-1.1, 1.0, process.t_max).draw(process, 100_000, dice())
        q_t = process(t)
        found = (q_t.sigma / q_t.alpha).log()
        # The chain's whole times stand 0.2 apart where there is least noise.
        assert float(found.mean()) == pytest.approx(-1.1, abs=0.015)
        assert float(found.std()) == pytest.approx(1.0, abs=0.015)
        for share, deviations in ((0.0228, -2), (0.1587, -1), (0.5, 0), (0.8413, 1), (0.9772, 2)):
            below = float((found < -1.1 + deviations).double().mean())
            assert below == pytest.approx(share, abs=0.02 if process is COSINE else 0.005)


def test_noise_levels_beyond_the_first_time_are_the_first_time():
    t = LogNormalRatio(1.0, 3.0, WALK[1]).draw(COSINE, 10_000, dice())
    assert float(t.max()) == WALK[1]
    assert torch.equal(t, t.round())
    assert float(t.min()) == 1


# --- jumps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "steps"), [((1, 2, 4, 8), 8), ((1, 2, 4), 16), ((4, 2), 8), ((1,), 4), ((8, 1, 4, 2), 16)]
)
def test_each_jump_of_each_count_is_drawn_equally_often(counts, steps):
    """P(t, s) is 1 over the number of all jumps, exactly in the law, nearly in the draws."""
    walk = walk_of(COSINE, steps)
    loss, batch = jump(counts, walk), 200_000
    t = jump_law(loss.walk, loss.counts).draw(COSINE, batch, dice())
    found = Counter(zip(t.tolist(), loss.draw(COSINE, t, 0.5, dice(1))[UNTIL].tolist(), strict=True))
    ends = (*walk, 0.0)
    jumps = {(ends[k * steps // n], ends[(k + 1) * steps // n]) for n in counts for k in range(n)}
    meant = dict.fromkeys(jumps, batch / len(jumps))
    assert set(found) == set(meant)
    for pair, often in meant.items():
        assert abs(found[pair] - often) < 5 * often**0.5, pair


def test_the_law_of_jumps_is_exact():
    """Of counts 1, 2, 4 over 4 times: 1000 begins one jump of each count, 500 one of two and of four."""
    law = jump_law(walk_of(COSINE, 4), (1, 2, 4))
    assert law.times == (1000, 750, 500, 250)
    assert list(law.weights) == [3, 1, 2, 1]


@pytest.mark.parametrize("counts", [(1, 4), (2, 8), (3,), (1, 2, 4, 8, 16), (1, 1), ()])
def test_counts_of_which_none_is_half_the_next_are_refused(counts):
    with pytest.raises(UndiffuseError, match="twice"):
        jump(counts)


# --- earlier times ----------------------------------------------------------------------------------------------------


def test_neighbors_are_the_next_times_of_the_walk():
    s = Neighbors(WALK)(COSINE, time(*WALK), 0.9)
    assert s.tolist() == [*WALK[1:], 0]


def ratio(schedule, t):
    q_t = schedule(t)
    return q_t.sigma / q_t.alpha


def meant_ratio(r: float, stage: int, q: float = 2.0) -> float:
    """Geng et al. 2024, in plain numbers."""
    return r * max(0.0, 1 - (1 + 8 / (1 + exp(r))) / q ** (stage + 1))


@pytest.mark.parametrize("schedule", [VE(), VP(), COSINE], ids=["ve", "vp", "cosine"])
@pytest.mark.parametrize("stage", range(8))
def test_the_annealed_ratio_is_that_of_the_paper(schedule, stage):
    earlier = Annealed(gap=0.0)
    t = trained_times(schedule, schedule.inverse_log_snr(-2 * torch.linspace(-2, 3, 40).double()))
    for part in (stage / 8, (stage + 0.999) / 8):
        s = earlier(schedule, t, part)
        for t_i, s_i in zip(t, s, strict=True):
            expected = meant_ratio(float(ratio(schedule, t_i)), stage)
            nearest = float(schedule.inverse_log_snr(time(-2 * log(expected or 1e-30))))
            nearest = min(nearest, float(t_i) - schedule.t_min)  # no network was asked closer
            if schedule is COSINE:
                assert abs(float(s_i) - nearest) <= 0.5 + 1e-6  # a whole time, or data
            else:
                assert float(s_i) == pytest.approx(nearest if nearest >= schedule.t_min else 0, rel=1e-6)


def test_the_first_stage_is_denoising_and_the_last_is_close():
    """Stage 0: r_s = 0 for r_t < 1.946; stage 7: r_s / r_t from .984 at r_t near 0 to .996 at large ones."""
    process, earlier = VE(), Annealed(gap=0.0)
    assert float(earlier(process, time(1.945), 0.0)) == 0
    assert float(earlier(process, time(1.947), 0.0)) == 0  # 1e-3 of it, below the least time
    assert float(earlier(process, time(1.96), 0.0)) > 0
    last = [float(earlier(process, time(r), 0.9999)) / r for r in (0.45, 2.0, 70.0)]
    assert last == pytest.approx([meant_ratio(r, 7) / r for r in (0.45, 2.0, 70.0)], rel=1e-9)
    assert meant_ratio(1e-9, 7) / 1e-9 == pytest.approx(0.98046875)
    assert last[2] == pytest.approx(0.996, abs=1e-3)


@pytest.mark.parametrize("T", [40, 100, 300, 1000, 4000])
@pytest.mark.parametrize("gap", [0.0, 0.004, 0.05])
def test_annealed_times_are_earlier_and_were_trained(T, gap):
    """On a chain of any length s is a whole number or 0, and before t, for a step of no length has no weight."""
    chain = schedules.cosine(T)
    t = torch.arange(1.0, T + 1, dtype=torch.float64)
    for progress in (0.0, 0.3, 0.6, 0.99):
        s = Annealed(gap=gap)(chain, t, progress)
        assert torch.equal(s, s.round())
        assert bool((s < t).all())
        assert bool((s >= 0).all())
        assert bool((s <= (t - gap * T + 0.5).clamp(min=0)).all())
        assert bool((s.diff() >= 0).all())  # a later t never asks earlier


@pytest.mark.parametrize("name", SCHEDULES)
def test_annealed_times_are_earlier_on_every_schedule(name):
    """At pure noise, too, where sigma / alpha is infinite."""
    schedule = SCHEDULES[name]
    t = trained_times(schedule, torch.linspace(0, 1, 101, dtype=torch.float64) * schedule.t_max)
    for progress in (0.0, 0.5, 0.99):
        s = Annealed()(schedule, t, progress)
        assert bool((s < t).all())
        assert bool(((s == 0) | (s >= schedule.t_min)).all())


# --- numbers as networks see them -----------------------------------------------------------------------------------


def test_waves_tell_all_numbers_apart():
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    seen = waves(u)
    assert seen.shape == (1001, 16)
    assert seen[0].tolist() == pytest.approx([0.0] * 8 + [1.0] * 8)
    assert float(torch.cdist(seen, seen).fill_diagonal_(9).min()) > 5e-3
    assert seen[500, 0].item() == pytest.approx(0.5**0.5, rel=1e-6)  # sin(pi / 4)


def test_the_end_of_a_jump_is_told_as_its_angle():
    """0 at data, 1 at pure noise, the same for every schedule of one noise level."""
    s = LINEAR.inverse_log_snr(COSINE.log_snr(time(300, 700)))
    torch.testing.assert_close(until_input(LINEAR, s), until_input(COSINE, time(300, 700)), rtol=0, atol=1e-5)
    torch.testing.assert_close(until_input(COSINE, time(0)), waves(time(0)))
    half = COSINE.inverse_log_snr(time(0))  # sigma = alpha, 45 degrees
    torch.testing.assert_close(until_input(COSINE, half), waves(time(0.5)), rtol=0, atol=1e-6)


def test_scales_are_drawn_evenly_between_their_ends():
    scales = Scales(1.0, 4.0)
    w = scales.draw(100_000, dice())["scale"]
    assert w.dtype == torch.float64
    assert 1 <= float(w.min()) < 1.001
    assert 3.999 < float(w.max()) <= 4
    assert float(w.mean()) == pytest.approx(2.5, abs=0.01)
    torch.testing.assert_close(scales.network_input(COSINE, time(1, 2.5, 4)), waves(time(0, 0.5, 1)))


def test_a_share_of_a_law_lies_at_the_times_of_the_walk():
    law = LogNormalRatio(-0.44, 2.0, 1000.0, (1000.0, 500.0), 0.25)
    t = law.draw(COSINE, 40_000, dice())
    assert float((t == 1000).double().mean()) == pytest.approx(0.125, abs=0.006)
    assert float((t == 500).double().mean()) == pytest.approx(0.125, abs=0.008)
