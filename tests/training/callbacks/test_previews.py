"""The grids show the averaged weights on fixed noise, and samples that drift are told of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.model.samples import Samples
from undiffuse.runtime.devices import choose_device
from undiffuse.training.api import start_run
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.previews import drift, preview_evaluations, statistics
from undiffuse.visualization.grid import grid, to_image


def test_the_last_grid_is_what_the_finished_model_samples(data, settings, console, tmp_path):
    from PIL import Image

    model = start_run(settings(steps=4, seed=5), data, tmp_path / "run", console=console)
    samples = model.sample(2, seed=5, steps=8)
    expected = grid([to_image(array, samples.info) for array in samples.array])
    with Image.open(tmp_path / "run" / "samples" / "step-00000004.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    raw = undiffuse.load(tmp_path / "run", weights="raw").sample(2, seed=5, steps=8)
    assert not np.array_equal(raw.array, samples.array)
    (line,) = read_metrics(tmp_path / "run" / "metrics.jsonl", keep=lambda line: "samples" in line)
    assert line["samples"]["mean"][0] == pytest.approx((samples.array / 127.5 - 1).mean(), abs=2e-6)
    assert line["data"] == {"mean": list(data.info.mean), "std": list(data.info.std)}


def test_grids_take_nothing_from_the_training(data, settings, console, tmp_path):
    with_grids = start_run(settings(sample_every=1), data, tmp_path / "with", console=console)
    without = start_run(settings(sample_every=0), data, tmp_path / "without", console=console)
    pairs = zip(with_grids.network.parameters(), without.network.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not (tmp_path / "without" / "samples").exists()


def test_statistics_are_those_of_the_channels_in_model_space(data):
    info = replace(data.info, shape=(2, 1, 2))
    array = np.array([[[[0, 255]], [[255, 255]]], [[[0, 255]], [[255, 0]]]], np.uint8)
    mean, std = statistics(Samples(array, info, 0, (0, 1), None, {}))
    assert mean == [0.0, 0.5]
    assert std == [1.0, pytest.approx(0.75**0.5, abs=1e-6)]


def test_a_drift_of_more_than_half_a_deviation_is_told(data):
    info = replace(data.info, mean=(0.0, 0.5), std=(0.4, 0.2))
    assert drift([0.19, 0.41], info) == ""
    assert "channel 1 is 0.61, the data's 0.50" in drift([0.19, 0.61], info)
    assert "channel 0" in drift([-0.21, 0.5], info)


def test_a_grid_costs_its_blocks_times_its_steps(settings, data):
    few = build_model(settings(timesteps=8), data.info)
    assert few.micro_batch == 16
    assert preview_evaluations(few, 33) == 3 * 8
    assert preview_evaluations(build_model(settings(timesteps=1000), data.info), 16) == 20
    one_by_one = build_model(settings(timesteps=8), replace(data.info, shape=(1, 512, 512)))
    assert preview_evaluations(one_by_one, 5) == 5 * 8


def test_a_device_that_is_not_there_is_refused_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cuda:99", "gpu", "tpu"):
        with pytest.raises(UndiffuseError, match=f"no device '{name}' here"):
            choose_device(name)
