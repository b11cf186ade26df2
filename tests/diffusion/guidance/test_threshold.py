from __future__ import annotations

import pytest
import torch

from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.guidance import Clip, DynamicThreshold
from undiffuse.errors import UndiffuseError

CHAIN = schedules.linear()
T = torch.tensor([300.0], dtype=torch.float64)


def predict(wrap, x0):
    """What a wrapper makes of a denoiser that always sees x0."""
    x_t = torch.linspace(-1, 1, x0.shape[1])[None]
    denoiser = wrap(MixtureDenoiser(CHAIN, x0))
    return denoiser(x_t, T), x_t


def consistent(prediction, x_t):
    alpha, sigma = (expand(c, x_t) for c in CHAIN(T))
    torch.testing.assert_close(alpha * prediction.x0 + sigma * prediction.eps, x_t)


def test_clip_bounds_x0_and_keeps_x_t():
    prediction, x_t = predict(Clip, torch.tensor([[-3.0, 0.25, 1.5]]))
    assert prediction.x0.tolist() == [[-1.0, 0.25, 1.0]]
    consistent(prediction, x_t)


def test_clip_leaves_predictions_in_range_alone():
    x0 = torch.tensor([[-0.9, 0.25, 0.5]])
    clipped, plain = predict(Clip, x0)[0], predict(lambda d: d, x0)[0]
    torch.testing.assert_close(clipped.x0, plain.x0)
    torch.testing.assert_close(clipped.eps, plain.eps)


def test_dynamic_threshold_divides_by_the_quantile():
    x0 = torch.linspace(-2, 2, 101)[None]  # |x0| has 0.9-quantile 1.8
    prediction, x_t = predict(lambda d: DynamicThreshold(d, 0.9), x0)
    torch.testing.assert_close(prediction.x0, x0.clamp(-1.8, 1.8) / 1.8, atol=0.03, rtol=0)
    assert float(prediction.x0.abs().max()) == pytest.approx(1)
    consistent(prediction, x_t)


def test_dynamic_threshold_never_amplifies():
    x0 = torch.tensor([[-0.3, 0.1, 0.2]])
    prediction, _ = predict(DynamicThreshold, x0)
    torch.testing.assert_close(prediction.x0, x0)


def test_dynamic_threshold_is_per_sample():
    denoiser = DynamicThreshold(MixtureDenoiser(CHAIN, torch.tensor([[4.0, 4.0], [0.5, 0.5]])), 1.0)
    x_t = torch.tensor([[5.0, 5.0], [0.5, 0.5]])
    x0 = denoiser(x_t, torch.tensor([10.0, 10.0], dtype=torch.float64)).x0
    torch.testing.assert_close(x0, torch.tensor([[1.0, 1.0], [0.5, 0.5]]))


def test_a_quantile_outside_its_range_is_refused():
    with pytest.raises(UndiffuseError, match=r"lies in \(0, 1\]"):
        DynamicThreshold(MixtureDenoiser(CHAIN, torch.zeros(1, 1)), 1.5)
