from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.evaluation.images import choose
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.options import MeasureOptions
from undiffuse.model import build_model
from undiffuse.runtime.process_group import Group


@dataclass(frozen=True)
class Given:
    info: DataInfo
    images: Any


class OwnPart(Group):
    """A process that sees its own results alone."""

    def gather_in_order(self, values: NDArray[Any] | None) -> NDArray[Any]:
        assert values is not None
        return values


def test_two_processes_have_the_results_of_one_in_the_order_of_the_images() -> None:
    info = DataInfo("some", "0", 5, (1, 8, 8), "uint8", 0.0, 255.0, (0.0,), (0.5,))
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    model = build_model(override(TrainConfig(), steps=1, timesteps=8, **small), info)
    given: Any = Given(info, np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8))
    images, how = choose(given, info), MeasureOptions(batch=2)
    both = [OwnPart(rank=rank, world=2) for rank in (0, 1)]
    parts = [bound(model, images, count=4, how=how, group=group) for group in both]
    whole = bound(model, images, count=4, how=how)
    assert [len(part.total) for part in parts] == [4, 1]
    assert torch.equal(torch.cat([part.total for part in parts]), whole.total)
    assert torch.equal(torch.cat([part.error for part in parts]), whole.error)
    rough = Tolerance(10.0, 10.0)
    densities = [ode(model, images, tolerance=rough, how=how, group=group).values for group in both]
    assert torch.equal(torch.cat(densities), ode(model, images, tolerance=rough, how=how).values)
