"""A budget in minutes ends with the minutes, however the speed changes; time is a fake clock's, steps are not taken."""

import itertools

import pytest

from undiffuse.config.training import LoopConfig, OptimizerConfig
from undiffuse.runtime.process_group import ALONE
from undiffuse.training.callbacks.intervals import DRAWING, FIRST_ONE, LAST_ONE, GridCosts, Intervals
from undiffuse.training.pace import Pace, Timer
from undiffuse.training.step_plan import Decision, Plan

LINEAR = OptimizerConfig(lr=1.0, warmup=100, decay="linear")


class Machine:
    """A training without a network: a step takes ``seconds(now)``.

    Every step is decided upon as `corrections` does it, with ``loop``'s grids and checkpoints.
    """

    def __init__(self, minutes, seconds, planned, evaluation=0.0, saving=0.0, loop=None):
        self.now, self.rates, self.grids, self.saves = 0.0, [], [], []
        timer = Timer(lambda: self.now)
        self.plan = Plan(1, [Decision(0, 0.0, planned)])
        pace = Pace(self.plan, timer, 60 * minutes, 60 * minutes / planned)
        loop = loop or LoopConfig(minutes=minutes)
        costs = GridCosts(loop.sample_count, lambda samples: 20 * -(-samples // 16), lambda: evaluation, evaluation)
        intervals = Intervals(loop, self.plan, timer, ALONE, costs, saving)
        self.step = 0
        while self.step < self.plan.total:
            self.rates.append(self.plan.learning_rate(LINEAR, self.step))
            self.now += seconds(self.now)
            self.step += 1
            intervals(self.step)
            if intervals.samples:
                taken = evaluation * costs.evaluations(intervals.samples)
                self.grids.append((self.now, intervals.samples, taken))
                self.now += taken
                intervals.sampled(intervals.samples, taken)
                intervals.drawn(self.step, taken)
            if intervals.saving:
                self.saves.append(self.now)
                self.now += saving
                intervals.saved(saving)
            decision = pace.decide(self.step, intervals.seconds, intervals.reserve(60 * minutes))
            if decision:
                self.plan.decide(decision)


def slower_after(first, then, when):
    return lambda now: then if now >= when else first


@pytest.mark.parametrize(
    ("seconds", "planned"),
    [
        (lambda now: 0.1, 4800),
        (lambda now: 0.1, 1200),  # measured beside a busy neighbour that went
        (lambda now: 0.1, 2),
        (lambda now: 0.1, 50_000),
        (slower_after(0.1, 0.3, 60), 4800),
        (slower_after(0.3, 0.1, 60), 1600),
        (slower_after(0.1, 0.3, 470), 4800),
        (slower_after(0.1, 2.0, 240), 4800),
        (lambda now: 0.1 if int(now / 40) % 2 else 0.3, 2400),
    ],
)
def test_eight_minutes_end_at_eight_minutes(seconds, planned):
    machine = Machine(8, seconds, planned)
    assert 0.96 * 480 <= machine.now <= 480 + seconds(480)
    assert machine.rates[-1] < 0.03  # the rate has come down with the time, not with the steps that were planned
    assert len(machine.plan.decisions) < 120


def test_the_first_plan_of_the_old_way_would_have_taken_three_times_as_long():
    """What the cure is for: the same machine, the number of steps fixed by the speed of the start."""
    seconds, now = slower_after(0.1, 0.3, 60), 0.0
    for _ in range(int(480 / 0.1)):
        now += seconds(now)
    assert now > 1300


def test_grids_and_checkpoints_are_within_the_minutes():
    machine = Machine(8, slower_after(0.1, 0.3, 60), 4800, evaluation=0.04, saving=1.0)
    assert 0.94 * 480 <= machine.now <= 483


def test_a_step_of_half_a_minute_is_not_begun_when_the_time_is_over():
    assert Machine(3, lambda now: 30.0, 5).now == pytest.approx(150, abs=31)


def test_the_rate_is_a_function_of_the_share_that_is_spent():
    machine = Machine(8, slower_after(0.1, 0.3, 60), 4800)
    times = list(itertools.accumulate([0.1] * 600 + [0.3] * 2000))
    for step in range(900, machine.step - 100, 100):
        assert machine.rates[step] == pytest.approx(1 - times[step] / 475, abs=0.02)


def test_the_warmup_of_a_short_budget_is_a_tenth_of_it():
    rates = Machine(1, lambda now: 2.0, 30).rates
    assert rates[0] == pytest.approx(1 / 3, rel=0.15)
    assert max(rates) > 0.85
    long = Plan(1, [Decision(0, 0.0, 5000)])
    assert [long.learning_rate(LINEAR, step) for step in (0, 49)] == pytest.approx([0.01, 0.5 * (1 - 49 / 5000)])


def test_a_plan_that_holds_is_left_alone():
    assert len(Machine(8, lambda now: 0.1, 4752).plan.decisions) <= 3


# --- pictures and checkpoints -----------------------------------------------------------------------------------------


def test_the_first_grid_comes_within_a_minute_and_then_less_often():
    times = [now for now, *_ in Machine(60, lambda now: 0.5, 7200, evaluation=0.005).grids]
    assert 30 <= times[0] < 35
    assert times[1] < 70
    assert len(times) < 20
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 3600 / 12 + 20


@pytest.mark.parametrize("evaluation", [0.001, 0.02, 0.2, 2.0])
@pytest.mark.parametrize("minutes", [0.5, 1, 4, 60])
def test_grids_take_a_bounded_share_of_a_short_run_and_of_a_dear_network(minutes, evaluation):
    grids = Machine(minutes, lambda now: 0.2, int(minutes * 300), evaluation).grids
    assert sum(taken for *_, taken in grids[1:-1]) <= DRAWING * 60 * minutes
    assert all(taken <= FIRST_ONE * now for now, _, taken in grids[:-1])
    assert len(grids) <= 20
    assert sum(taken for *_, taken in grids) <= max((DRAWING + FIRST_ONE + LAST_ONE) * 60 * minutes + 1, 3.0)


@pytest.mark.parametrize("minutes", [0.3, 0.5, 0.8])
def test_a_training_of_half_a_minute_shows_a_grid_and_saves_on_the_way(minutes):
    """So that neither whoever looks nor whoever pulls the plug has nothing of it."""
    machine = Machine(minutes, lambda now: 0.05, int(minutes * 1200), evaluation=0.001, saving=0.1)
    for times in ([now for now, *_ in machine.grids], machine.saves):
        assert 15 * minutes < times[0] < 0.5 * 60 * minutes
        assert times[-1] > 0.9 * 60 * minutes
        assert len(times) == 3


def test_a_training_of_seconds_shows_and_saves_at_its_end_alone():
    machine = Machine(0.08, lambda now: 0.05, 96, evaluation=0.001, saving=0.01)
    assert [len(machine.grids), len(machine.saves)] == [1, 1]


def test_a_dear_network_shows_fewer_samples_first():
    grids = Machine(60, lambda now: 1.0, 3600, evaluation=0.1).grids
    (first, few, _), (_, last, _) = grids[0], grids[-1]
    assert few < 64 == last
    assert first < 60


def test_checkpoints_lose_two_minutes_at_most():
    machine = Machine(60, lambda now: 0.5, 7200, saving=0.5)
    assert 30 <= machine.saves[0] < 32
    assert max(later - earlier for earlier, later in itertools.pairwise([0.0, *machine.saves])) < 125


def test_checkpoints_that_take_long_come_less_often():
    machine = Machine(60, lambda now: 0.5, 7200, saving=60.0)
    assert 60 * len(machine.saves) <= 0.1 * 3600 + 60


def test_intervals_in_steps_hold_where_they_are_given():
    loop = LoopConfig(steps=100, sample_every=40, checkpoint_every=30, sample_count=5)
    intervals = Intervals(loop, Plan(100), Timer(lambda: 0.0), ALONE, None)
    seen = []
    for step in range(1, 101):
        intervals(step)
        seen.append((intervals.samples, intervals.saving))
    assert [step for step, (samples, _) in enumerate(seen, 1) if samples == 5] == [40, 80, 100]
    assert [step for step, (_, saving) in enumerate(seen, 1) if saving] == [30, 60, 90, 100]


def test_none_is_drawn_for_zero():
    intervals = Intervals(
        LoopConfig(steps=10, sample_every=0, checkpoint_every=0), Plan(10), Timer(lambda: 0.0), ALONE, None
    )
    for step in range(11):
        intervals(step)
        assert (intervals.samples, intervals.saving) == (0, step == 10)


def test_one_sample_is_worth_a_fifth_of_the_first_minute():
    """On a machine so slow that it would not be drawn by the rule for those that follow."""
    grids = Machine(8, lambda now: 1.0, 480, evaluation=0.5).grids
    assert grids[0][0] < 60
    assert grids[0][2] == 10.0
