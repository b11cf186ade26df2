"""The proxy distance follows how far samples are from the data, and its floor is what data themselves have."""

import dataclasses
import math

import pytest
import torch

from undiffuse.data.order import batch_indices
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.callbacks.random_feature_distance import Proxy, features, mean_within, random_kernels


def textures(count, seed, shape=(1, 16, 16), power=0.7):
    """Rows of smooth noise, whose smoothness is a matter of ``power``."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=dice)
    for axis in range(2, x.ndim):
        x = power * x.roll(1, axis) + (1 - power) * x
    return x.clamp(-1, 1)


def batches(data, size=32):
    """A training's batches: the order of the real thing."""
    return lambda step: data[batch_indices(len(data), size, step, 0)]


@pytest.fixture(scope="module")
def proxy():
    return Proxy.of(batches(textures(600, 0)), 600, 32, 64)


def test_more_noise_is_further_and_data_are_at_the_floor(proxy):
    fresh = textures(64, 1)
    noise = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(2))
    distances = [proxy((fresh + strength * noise).clamp(-1, 1)) for strength in (0, 0.2, 0.4, 0.8)]
    assert distances == sorted(distances)
    assert abs(distances[0]) < 4 * proxy.floor
    assert distances[1] > 3 * proxy.floor


def test_the_distance_of_data_is_zero_on_average(proxy):
    found = torch.tensor([proxy(textures(64, seed)) for seed in range(10, 50)])
    assert abs(float(found.mean())) < 4 * float(found.std()) / math.sqrt(len(found)) + proxy.floor / 2
    assert float(found.square().mean().sqrt()) == pytest.approx(proxy.floor, rel=0.8)


def test_the_distance_is_the_energy_distance_of_the_standardised_features(proxy):
    from undiffuse.evaluation.samplers.energy_distance import energy_distance

    x = textures(20, 3, power=0.6)
    seen = (features(x, proxy.kernels) - proxy.center) / proxy.scale
    assert proxy(x) == pytest.approx(energy_distance(seen, proxy.reference), rel=1e-6)
    assert mean_within(torch.tensor([[0.0], [1.0], [3.0]])) == 2


@pytest.mark.parametrize("shape", [(1, 16), (3, 9, 7), (2, 4, 6, 5), (1, 1, 3), (5, 70, 40)])
def test_any_shape_of_data_has_one(shape):
    data = textures(24, 0, shape)
    proxy = Proxy.of(batches(data, 8), 24, 8, 4)
    assert proxy.floor > 0
    far, near = proxy(torch.ones(4, *shape)), proxy(data[:4])
    assert math.isfinite(near)
    assert far > near


def test_too_little_for_a_distance_is_none():
    data = textures(10, 0)
    assert Proxy.of(batches(data, 4), 10, 4, 1) is None
    assert Proxy.of(batches(data[:3], 4), 3, 4, 8) is None
    assert Proxy.of(batches(data, 4), 10, 4, 8).floor is None


def test_a_constant_feature_amplifies_nothing():
    data = textures(40, 0, (2, 8, 8))
    data[:, 1] = -1
    proxy = Proxy.of(batches(data, 8), 40, 8, 8)
    moved = data[:8].clone()
    moved[:, 1] += 1e-6
    assert proxy(moved) == pytest.approx(proxy(data[:8]), abs=1e-3)


def test_no_image_of_the_data_is_taken_twice():
    data, seen = textures(30, 0), []

    def images(step):
        seen.extend(chosen := batch_indices(30, 8, step, 0))
        return data[chosen]

    assert len(Proxy.of(images, 30, 8, 2).reference) == 12
    assert len(seen) == len(set(seen)) == 24
    assert len(Proxy.of(batches(data, 100), 30, 100, 2).reference) == 15


def test_the_network_is_the_same_in_every_run():
    one, two = random_kernels(3, 2), random_kernels(3, 2)
    assert [tuple(k.shape) for k in one] == [(8, 3, 3, 3), (16, 8, 3, 3), (32, 16, 3, 3)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_run_logs_it_says_it_and_resumes_to_the_same_bits(data, settings, console, tmp_path):
    proxies = lambda line: "proxy" in line  # noqa: E731
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    start_run(settings(decay="constant"), data, whole, console=console)
    lines = read_metrics(whole / "metrics.jsonl", keep=proxies)
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert all(line["proxy"]["floor"] > 0 for line in lines)
    assert f"step 5: the samples' proxy distance from the data is {lines[0]['proxy']['distance']:.4f}" in console.text()
    start_run(settings(decay="constant", steps=6), data, broken, console=console)
    resume_run(broken, dataset=data, console=console, steps=12)
    again = {line["step"]: line for line in read_metrics(broken / "metrics.jsonl", keep=proxies)}
    assert again[10] == lines[1]
    assert again[12] == lines[2]


def test_a_training_with_it_learns_what_one_without_it_does(data, settings, console, tmp_path):
    start_run(settings(), data, tmp_path / "with", console=console)
    start_run(settings(sample_every=0), data, tmp_path / "without", console=console)
    losses = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("with", "without")]
    with_it, without = ([{k: v for k, v in line.items() if k != "time"} for line in found] for found in losses)
    assert with_it == without


def test_one_sample_a_grid_has_no_proxy(data, settings, console, tmp_path):
    config = settings(steps=2)
    start_run(
        dataclasses.replace(config, loop=dataclasses.replace(config.loop, sample_count=1)),
        data,
        tmp_path / "run",
        console=console,
    )
    (line,) = read_metrics(tmp_path / "run" / "metrics.jsonl", keep=lambda line: "samples" in line)
    assert "proxy" not in line
