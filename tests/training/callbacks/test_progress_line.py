"""What is shown: one line at a terminal, lines at intervals elsewhere, nothing when quiet."""

import io
import math

import pytest
import torch

from undiffuse.training.callbacks.checkpointing import LoaderWatch
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.progress_line import LiveLine, duration
from undiffuse.training.loop import StepResult
from undiffuse.training.step_plan import Plan


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def result(step, loss=0.5, *, skipped=False, loading=0.0, seconds=0.1):
    losses = torch.full((8,), loss)
    return StepResult(step, 8 * step, loss, torch.ones(8), losses, 2e-4, 1.25, skipped, loading, seconds)


def shown(stream, steps, seconds_a_step):
    clock = Clock()
    live = LiveLine(Console(stream=stream), Plan(steps), clock)
    for step in range(1, steps + 1):
        clock.now = step * seconds_a_step
        live.step(None, result(step))
    return stream.getvalue()


def test_elsewhere_than_at_a_terminal_lines_come_every_ten_seconds():
    lines = shown(io.StringIO(), 100, 1.0).splitlines()
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, *range(11, 100, 10), 100]
    assert lines[0] == "step 1/100 (1%)  loss 0.5000  lr 2.0e-04  gradient norm 1.25"
    assert lines[1] == ("step 11/100 (11%)  loss 0.5000  80 images/s  1 min 29 s left  lr 2.0e-04  gradient norm 1.25")


def test_at_a_terminal_one_line_is_rewritten(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = shown(Terminal(), 100, 1.0)
    assert "\n" not in text
    assert len(text.split("\r")) == 101
    assert all(len(line.removeprefix("\033[K")) <= 59 for line in text.split("\r"))


def test_a_message_stands_on_a_line_of_its_own_above_the_live_one():
    console = Console(stream=Terminal())
    console.status("step 1")
    console.say("saved")
    console.status("step 2")
    console.close()
    assert console._stream.getvalue() == "\r\033[Kstep 1\r\033[Ksaved\n\r\033[Kstep 2\n"


def test_quiet_shows_nothing_and_logs_all_the_same(tmp_path):
    stream = io.StringIO()
    console = Console(quiet=True, stream=stream)
    console.log_to(tmp_path / "train.log")
    console.status("step 1")
    console.say("saved")
    assert stream.getvalue() == ""
    assert (tmp_path / "train.log").read_text().endswith("  saved\n")


def test_skipped_steps_do_not_spoil_the_shown_loss():
    stream = io.StringIO()
    live = LiveLine(Console(stream=stream), Plan(3), Clock())
    for step, loss in ((1, 0.5), (2, math.nan), (3, 0.5)):
        live.step(None, result(step, loss, skipped=math.isnan(loss)))
    assert "loss 0.5000" in stream.getvalue().splitlines()[-1]


def test_a_slow_first_step_does_not_spoil_the_time_left():
    stream, clock = io.StringIO(), Clock()
    live = LiveLine(Console(stream=stream), Plan(100), clock)
    for step in range(41, 61):  # a resumed training: the first step takes a minute, the others one second
        clock.now += 60.0 if step == 41 else 1.0
        live.step(None, result(step, seconds=60.0 if step == 41 else 1.0))
    assert "8 images/s  49 s left" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("loading", "warned"), [(0.04, False), (0.06, True)])
def test_a_slow_loader_is_told_once(loading, warned):
    stream = io.StringIO()
    watch = LoaderWatch(Console(stream=stream), window=10)
    for step in range(1, 31):
        watch.step(None, result(step, loading=loading, seconds=0.1))
    assert stream.getvalue().count("loading images") == warned
