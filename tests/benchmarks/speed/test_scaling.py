"""The calculation of docs/use/distributed.md at its ends, where the answer is known."""

import math
from dataclasses import replace

import pytest

from benchmarks.speed.scaling import Machine, Work, all_reduce, step, work_of

IDEAL = Machine(flops=1e12, inside=math.inf, across=math.inf, latency=0.0, normals=math.inf)
WORK = Work(flops=6e12, gradient=8e8, normals=1e6)


def test_one_device_exchanges_nothing():
    assert all_reduce(1e9, 1, replace(IDEAL, inside=1.0)) == 0
    assert step(WORK, 1, IDEAL) == pytest.approx(6.0)


def test_links_without_end_scale_perfectly():
    for devices in (2, 8, 64):
        assert step(WORK, devices, IDEAL) == pytest.approx(6.0 / devices)


def test_an_exchange_of_two_sends_the_gradient_once():
    assert all_reduce(8e8, 2, replace(IDEAL, inside=1e9)) == pytest.approx(0.8)
    assert all_reduce(8e8, 4, replace(IDEAL, inside=1e9, latency=0.1)) == pytest.approx(1.2 + 0.6)


def test_the_slow_link_counts_once_the_ring_leaves_the_node():
    machine = replace(IDEAL, inside=1e9, across=1e8, node=8)
    assert all_reduce(8e8, 8, machine) == pytest.approx(1.4)
    assert all_reduce(8e8, 16, machine) == pytest.approx(15.0)


def test_an_exchange_hides_behind_the_backward_pass_until_it_is_longer():
    assert step(WORK, 2, replace(IDEAL, inside=8e8 / 1.9)) == pytest.approx(3.0)
    assert step(WORK, 2, replace(IDEAL, inside=8e8 / 5)) == pytest.approx(1.0 + 5.0)


def test_no_step_is_shorter_than_the_drawing_of_its_noise():
    assert step(WORK, 64, replace(IDEAL, normals=1e6)) == pytest.approx(1.0)


def test_the_recipe_of_ho_et_al_has_its_parameters_and_grows_with_the_batch():
    one, four = work_of("ho2020-cifar10", 32, 1), work_of("ho2020-cifar10", 32, 4)
    assert one.gradient == 4 * 35_746_307
    assert four.flops == 4 * one.flops
    assert one.normals == 3072
