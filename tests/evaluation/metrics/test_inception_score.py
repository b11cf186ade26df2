"""The Inception Score at its ends, by hand, and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.inception_score import inception_score


def normal(n: int, classes: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sure_of_every_image_and_even_over_classes_is_the_number_of_classes() -> None:
    logits = 1000 * torch.eye(7, dtype=torch.float64).repeat(20, 1)
    assert inception_score(logits, splits=1).value == pytest.approx(7, rel=1e-12)


def test_one_answer_to_all_images_is_one() -> None:
    logits = normal(1, 7).repeat(50, 1)
    score = inception_score(logits, splits=5)
    assert score.value == pytest.approx(1, abs=1e-12)
    assert score.error == pytest.approx(0, abs=1e-12)


def test_two_images_by_hand() -> None:
    # p = (3/4, 1/4) and (1/4, 3/4), marginal 1/2: KL = log 2 - H(1/4) for both.
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(logits, splits=1).value == pytest.approx(2 * math.exp(-entropy), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_it_agrees_with_torchmetrics() -> None:
    class Logits(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).double() / 16

    images = torch.randint(256, (60, 3, 2, 2), generator=torch.Generator().manual_seed(0)).byte()
    theirs = InceptionScore(feature=Logits(), splits=1)
    theirs.update(images)
    ours = inception_score(Logits()(images), splits=1)
    assert ours.value == pytest.approx(float(theirs.compute()[0]), rel=1e-12)


def test_it_is_the_exponential_of_the_mutual_information() -> None:
    # I(x; y) = H(mean p) - mean H(p), another formula for the same number.
    logits = normal(200, 9)
    p = logits.softmax(1)
    information = torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(1).mean()
    assert inception_score(logits, splits=1).value == pytest.approx(float(information.exp()), rel=1e-12)


def test_splits_hold_every_image_once() -> None:
    # With one image a split, each split's marginal is its image: all scores are 1.
    assert inception_score(normal(13, 5), splits=13).value == pytest.approx(1, abs=1e-12)
    # Of images sorted by class, contiguous splits would see one class each and score 1.
    sorted_by_class = 50 * torch.eye(4, dtype=torch.float64).repeat_interleave(100, dim=0)
    score = inception_score(sorted_by_class, splits=4)
    assert 3.5 < score.value < 4
    assert 0 < score.error < 0.2


def test_mean_and_error_are_over_the_splits() -> None:
    # Two splits of one image pair each: whichever division, the scores are 2 and 2, or 1 and 1.
    logits = 1000 * torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]]
    scores = {(round(s.value, 9), s.error) for s in (inception_score(logits, splits=2, seed=i) for i in range(20))}
    assert scores == {(2.0, 0.0), (1.0, 0.0)}


def test_a_class_of_no_probability_at_all_is_finite() -> None:
    logits = torch.tensor([[0.0, -1e5], [0.0, -2e5]], dtype=torch.float64)
    assert inception_score(logits, splits=1).value == 1.0


def test_a_constant_added_to_an_images_logits_changes_nothing() -> None:
    logits = normal(40, 5)
    shift = 10 * normal(40, 1, seed=1)
    one, other = inception_score(logits, splits=4), inception_score(logits + shift, splits=4)
    assert one.value == pytest.approx(other.value, rel=1e-12)


def test_the_seed_decides_the_splits() -> None:
    logits = normal(100, 5)
    assert inception_score(logits, seed=1) == inception_score(logits, seed=1)
    assert inception_score(logits, seed=1) != inception_score(logits, seed=2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UndiffuseError, match="at least 10 images, and there are 9"):
        inception_score(normal(9, 3))
    with pytest.raises(UndiffuseError, match="1 split or more"):
        inception_score(normal(9, 3), splits=0)
    with pytest.raises(UndiffuseError, match="1 of 2 rows"):
        inception_score(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), splits=1)
