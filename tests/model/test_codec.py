"""A model diffuses what its codec makes of the data, and asks the codec what that allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import ObjectiveConfig
from undiffuse.data.codec import Codec, codec_of
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.guidance import Clip
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.factories.loss import make_objective
from undiffuse.model import Cascade, Model, build_model

INFO = DataInfo("things", "0" * 64, 10, (1, 12, 12), "uint8", 0.0, 255.0, (0.0,), (0.5,))
CONFIG = TrainConfig(network=UNetConfig(base=8, multipliers=(1, 1), blocks=1), diffusion=DiffusionConfig(timesteps=20))


class Latents:
    """2 x 2 pixels become four channels of [-5, 5]; as an autoencoder's, without bounds to be known."""

    exact, bounded, pointwise, levels = False, False, False, None

    def shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return 4 * data[0], data[1] // 2, data[2] // 2

    def encode(self, values: Any) -> torch.Tensor:
        return F.pixel_unshuffle(torch.from_numpy(values).float() / 25.5 - 5, 2)

    def decode(self, x0: torch.Tensor) -> Any:
        return ((F.pixel_shuffle(x0, 2) + 5) * 25.5).round().clamp(0, 255).byte().numpy()


@pytest.fixture
def latent(monkeypatch: pytest.MonkeyPatch) -> Model:
    for module in ("factories.network", "model.model"):
        monkeypatch.setattr(f"undiffuse.{module}.codec_of", lambda info: Latents())
    return build_model(CONFIG, INFO)


def test_a_model_of_data_as_they_are_has_their_scaling_for_codec() -> None:
    model = build_model(CONFIG, INFO)
    assert model.codec == Cascade((model, model)).codec == codec_of(INFO)
    assert model.shape == INFO.shape
    assert isinstance(model.clipped, Clip)
    assert model.plan().settings.guide.threshold == "clip"


def test_noise_has_the_codecs_shape_and_samples_the_datas(latent: Model) -> None:
    codec: Codec = latent.codec
    assert latent.shape == codec.shape(INFO.shape) == (4, 6, 6)
    plan = latent.plan(steps=3, sampler="ddim")
    *_, end = plan.iterate(range(2))
    assert end.x.shape == (2, 4, 6, 6)
    samples = plan.sample(2)
    assert samples.array.shape == (2, 1, 12, 12)
    assert np.array_equal(samples.array, codec.decode(end.x))


def test_where_there_are_no_bounds_the_default_threshold_means_none_and_others_are_refused(latent: Model) -> None:
    plan = latent.plan(steps=2)
    assert plan.settings.guide.threshold == "none"
    assert not isinstance(plan.denoiser(range(2)), Clip)
    assert not isinstance(latent.clipped, Clip)
    with pytest.raises(UndiffuseError, match="`threshold=dynamic` keeps x0 within"):
        latent.plan(threshold="dynamic")


def test_an_error_that_is_clipped_at_the_ends_needs_ends() -> None:
    config = ObjectiveConfig(clipped_error=True)
    make_objective(config, DiffusionConfig())
    with pytest.raises(UndiffuseError, match="has no bounds"):
        make_objective(config, DiffusionConfig(), levels=None, bounded=False)


@pytest.mark.parametrize("measure", [bound, ode])
def test_there_is_no_likelihood_of_values_that_are_made_only_nearly(measure: Any, latent: Model) -> None:
    with pytest.raises(UndiffuseError, match="A likelihood is of the data's own values"):
        measure(latent, None)
