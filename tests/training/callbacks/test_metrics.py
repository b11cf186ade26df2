"""The log's lines are means over their steps, and a cut-off log goes on as if it had never been longer."""

import json
import math

import pytest
import torch

from undiffuse.training.callbacks.metrics import EMPTY, MetricsFile, means, read_metrics, truncate_after, with_step
from undiffuse.training.loop import StepResult
from undiffuse.training.step_plan import Plan


def result(step, losses, t, *, skipped=False, grad_norm=1.0, loading=0.25, seconds=0.5):
    losses = torch.tensor(losses)
    mean = losses.double().mean().item()
    t = torch.tensor(t, dtype=torch.float64)
    return StepResult(step, step * len(losses), mean, t, losses, 0.1, grad_norm, skipped, loading, seconds)


def metrics_file(path, step=0, window=(), every=2, total=5):
    return MetricsFile(path, step, window, every, Plan(total), t_max=1000.0)


def test_a_log_that_was_removed_costs_no_checkpoint(tmp_path):
    file = metrics_file(tmp_path / "metrics.jsonl")
    file.step(None, result(1, [1.0], [100]))
    (tmp_path / "metrics.jsonl").unlink(missing_ok=True)
    file.sync()
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == []


def test_a_line_holds_the_means_since_the_line_before(tmp_path):
    file = metrics_file(tmp_path / "metrics.jsonl")
    file.step(None, result(1, [1.0, 3.0], [100, 1000], grad_norm=2.0))
    file.step(None, result(2, [5.0, 7.0], [200, 300], grad_norm=4.0))
    file.step(None, result(3, [0.5, 1.5], [1, 1]))
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert line == {
        "step": 2,
        "images": 4,
        "loss": 4.0,
        "loss_by_quarter": [3.0, 7.0, None, 3.0],
        "grad_norm": 3.0,
        "skipped": 0,
        "lr": 0.1,
        "time": {"seconds": 1.0, "images_per_second": 4.0, "loading": 0.5},
    }


def test_the_quarters_are_open_below_and_closed_above():
    window = with_step(EMPTY, result(1, [1.0, 2.0, 4.0, 8.0, 16.0], [1, 250, 251, 750, 1000]), 1000.0)
    assert window[4:8] == (3.0, 4.0, 8.0, 16.0)
    assert window[8:] == (2, 1, 1, 1)


def test_the_last_step_gets_a_line_of_its_own(tmp_path):
    file = metrics_file(tmp_path / "m", total=3)
    for step in (1, 2, 3):
        file.step(None, result(step, [float(step)], [5]))
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path / "m")] == [(2, 1.5), (3, 3.0)]


def test_skipped_steps_are_counted_and_poison_no_mean(tmp_path):
    file = metrics_file(tmp_path / "m")
    file.step(None, result(1, [math.nan], [5], skipped=True, grad_norm=math.inf))
    file.step(None, result(2, [3.0], [5]))
    file.step(None, result(3, [math.nan], [5], skipped=True))
    file.step(None, result(4, [math.inf], [5], skipped=True))
    first, second = read_metrics(tmp_path / "m")
    assert (first["loss"], first["grad_norm"], first["skipped"]) == (3.0, 1.0, 1)
    assert (second["loss"], second["loss_by_quarter"], second["skipped"]) == (None, [None] * 4, 2)


def test_a_window_survives_json_to_the_last_bit():
    window = with_step(EMPTY, result(1, [0.1, 1 / 3], [5, 999], grad_norm=math.pi), 1000.0)
    back = tuple(json.loads(json.dumps(window)))
    assert means(back) == means(window)
    assert with_step(back, result(2, [0.7], [5]), 1000.0) == with_step(window, result(2, [0.7], [5]), 1000.0)


def test_a_checkpoint_of_the_beginning_has_an_empty_window(tmp_path):
    assert metrics_file(tmp_path / "m", window=()).window == EMPTY


@pytest.mark.parametrize("at", range(7))
def test_a_file_that_goes_on_is_the_one_that_never_stopped(tmp_path, at):
    steps = [result(step, [1 / step, step / 7], [step, 990]) for step in range(1, 8)]
    whole, parts = metrics_file(tmp_path / "whole", total=7), metrics_file(tmp_path / "parts", total=7)
    for one in steps:
        whole.step(None, one)
    for one in steps[:at]:
        parts.step(None, one)
    window = parts.window
    for one in steps[at : at + 3]:  # lost: the process dies after the checkpoint
        parts.step(None, one)
    parts = metrics_file(tmp_path / "parts", step=at, window=window, total=7)
    for one in steps[at:]:
        parts.step(None, one)
    loss_lines = [[{**line, "time": 0} for line in read_metrics(tmp_path / name)] for name in ("whole", "parts")]
    assert loss_lines[0] == loss_lines[1]
    assert parts.last["step"] == 7


def test_a_half_written_line_is_cut_off(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3')
    truncate_after(path, 9)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    truncate_after(path, 1)
    assert path.read_bytes() == b'{"step": 1}\n'
    path.write_bytes(b'{"step": 1}\n\0\0\0\n{"step": 2}\n')
    truncate_after(path, 9)
    assert path.read_bytes() == b'{"step": 1}\n'


def test_a_resumed_file_knows_its_last_line(tmp_path):
    (tmp_path / "m").write_text('{"step": 2, "loss": 0.5}\n{"step": 2, "samples": {}}\n{"step": 4, "loss": 0.1}\n')
    assert metrics_file(tmp_path / "m", step=3).last["loss"] == 0.5
