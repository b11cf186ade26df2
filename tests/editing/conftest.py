"""A tiny, untrained model: edits promise things that hold for any network."""

from __future__ import annotations

import pytest
import torch

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.editing import Editor
from undiffuse.model import Model, build_model


def tiny_model(channels: int = 1, side: int = 8, classes: tuple[str, ...] = (), upscale: int = 1) -> Model:
    mean, std = (0.0,) * channels, (0.5,) * channels
    info = DataInfo("toy", "", 10, (channels, side, side), "uint8", 0.0, 255.0, mean, std, classes)
    network = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(), middle_attention=True)
    told = ConditionConfig(condition=("class",) if classes else (), upscale=upscale)
    diffusion = DiffusionConfig(timesteps=50, parameterization="v")
    config = TrainConfig(network=network, diffusion=diffusion, conditions=told)
    model = build_model(config, info)
    with torch.no_grad():  # the last layer starts at zero; any other network will do as well
        dice = torch.Generator().manual_seed(0)
        for parameter in model.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=dice)
    return model


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def color_model() -> Model:
    return tiny_model(channels=3)


@pytest.fixture(scope="session")
def class_model() -> Model:
    """A model of two classes."""
    return tiny_model(classes=("cats", "dogs"))


@pytest.fixture(scope="session")
def stage() -> Model:
    """A model that makes pictures of 4 x 4 twice as large."""
    return tiny_model(upscale=2)


@pytest.fixture
def editor(model: Model) -> Editor:
    return Editor.of(model, SampleConfig.of(sampler="ddpm", steps=6, micro_batch=3))


@pytest.fixture(scope="session")
def pictures() -> torch.Tensor:
    """Five of them, on the grid of 8-bit values."""
    values = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    return values / 127.5 - 1
