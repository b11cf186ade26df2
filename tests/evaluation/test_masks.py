"""What is measured of data with a mask heeds it or says that it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion import schedules
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.anomaly.evaluate import rebuild
from undiffuse.evaluation.anomaly.scores import ReconstructionSettings
from undiffuse.evaluation.images import ImageBatch, Images, choose
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.memorization.evaluate import TrainingImages
from undiffuse.evaluation.options import MeasureOptions
from undiffuse.evaluation.quality.image_source import DatasetImages
from undiffuse.evaluation.quality.reference import Reference
from undiffuse.evaluation.samplers.comparison import EnergyReference
from undiffuse.evaluation.samplers.optimal_timesteps import measure_bound
from undiffuse.evaluation.samplers.step_costs import x0_errors
from undiffuse.model import Model, build_model

INFO = DataInfo("padded", "0", 4, (1, 8, 8), "uint8", 0.0, 255.0, (0.0,), (0.5,))
MASK = np.broadcast_to(np.arange(8) < np.array([3, 8, 5, 6])[:, None, None, None], (4, 1, 8, 8))


@dataclass(frozen=True)
class Padded:
    info: DataInfo
    images: Any
    masks: Any = None


def padded(outside: int, masks: Any = MASK) -> Any:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    return Padded(INFO, np.where(MASK, images, outside).astype(np.uint8), masks)


@pytest.fixture(scope="module")
def model() -> Model:
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    return build_model(override(TrainConfig(), steps=1, timesteps=8, **small), INFO)


def test_the_step_costs_of_a_masked_gaussian_are_those_of_the_smaller_gaussian() -> None:
    chain, times = schedules.linear(60), torch.tensor([1.0, 20, 60]).double()
    x0 = 0.5 * torch.randn(4000, 2, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.tensor([True, False, True]).expand(4000, 1, 3).reshape(4000, 1, 1, 3)
    filled = x0.masked_fill(~mask, torch.nan)
    found = x0_errors(gaussian_denoiser(chain, (2, 2, 3), 0.0, 0.5), [ImageBatch(filled, range(4000), mask)], times)
    q = chain(times)
    exact = (0.5 * q.sigma) ** 2 / ((0.5 * q.alpha) ** 2 + q.sigma**2)
    torch.testing.assert_close(found.error, exact, rtol=0.03, atol=0)
    assert found.square == pytest.approx(float(x0[..., [0, 2]].square().mean()), rel=1e-12)


def test_bound_density_and_step_costs_do_not_see_what_does_not_count(model: Model) -> None:
    black, white, whole = (choose(data, INFO) for data in (padded(0), padded(255), replace(padded(255), masks=None)))
    how = MeasureOptions(batch=2)

    def measured(images: Images) -> list[torch.Tensor]:
        costs = measure_bound(model, images, (2,), count=4, how=how)
        return [bound(model, images, how=how).total, ode(model, images, how=how).values, costs.start, costs.step]

    for one, two, other in zip(measured(black), measured(white), measured(whole), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(two, other)


def test_a_mask_of_ones_is_measured_as_none(model: Model) -> None:
    ones, none = (choose(padded(7, masks), INFO) for masks in (np.ones((4, 1, 8, 8), bool), None))
    assert torch.equal(bound(model, ones, count=4).total, bound(model, none, count=4).total)
    costs = [measure_bound(model, images, (2,), count=4).step for images in (ones, none)]
    assert torch.equal(*costs)


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        ("An anomaly score", lambda model, data: rebuild(model, choose(data, INFO), ReconstructionSettings())),
        ("A measure of quality", lambda model, data: Reference(data)),
        ("A measure of quality", lambda model, data: DatasetImages.of(data)),
        ("A search for copies", lambda model, data: TrainingImages.of(data)),
        ("A distance of pixels", lambda model, data: EnergyReference.of(choose(data, INFO), 2)),
    ],
)
def test_what_looks_at_all_values_refuses_data_of_which_not_all_count(what: str, refused: Any, model: Model) -> None:
    with pytest.raises(UndiffuseError, match=f"{what} looks at all values, and 'padded' has a mask"):
        refused(model, padded(0))
