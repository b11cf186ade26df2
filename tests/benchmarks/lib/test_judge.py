from __future__ import annotations

import pytest
import torch

from benchmarks.lib.judge import Digits, Judge, as_kept, jitter, look, nearest, train_judge


def test_reference_has_distance_zero_to_itself(bench):
    scores = bench.measure(bench.reference.images)
    assert scores.fd == pytest.approx(0, abs=1e-6)
    assert scores.nearest == 0
    assert sum(scores.classes) == scores.n == 80


def test_held_out_digits_are_as_near_as_held_out_digits(bench):
    assert bench.measure(bench.held_out.images).nearest == 1


def test_judge_learns_bars(bench):
    both = Digits(torch.cat([bench.reference.images] * 8), torch.cat([bench.reference.labels] * 8))
    judge = train_judge(both, epochs=3, augment=False, batch=64)
    found = look(judge, bench.held_out.images)[1].argmax(-1)
    assert (found == bench.held_out.labels).float().mean() > 0.9


def test_training_a_judge_leaves_the_global_stream_alone(bench):
    before = torch.get_rng_state()
    train_judge(bench.reference, epochs=1, augment=True, batch=40)
    assert torch.equal(before, torch.get_rng_state())


def test_jitter_of_black_is_black():
    black = -torch.ones(3, 1, 28, 28)
    assert torch.equal(jitter(black), black)


def test_kept_images_are_levels():
    x = as_kept(torch.linspace(-1.2, 1.2, 1000))
    levels = (x + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert x.min() == -1
    assert x.max() == 1


def test_nearest_is_the_distance_of_a_shifted_pixel():
    image = torch.zeros(1, 1, 28, 28)
    moved = image.clone()
    moved[0, 0, 0, 0] = 3
    assert nearest(moved, image) == 3


def test_judge_has_sixty_four_features_and_ten_classes():
    features, logits = Judge().eval()(torch.zeros(2, 1, 28, 28))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 10)
