from __future__ import annotations

import numpy as np
import pytest
import torch

from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model, build_model, load


def info_of(shape=(3, 12, 12), dtype="uint8", low=0.0, high=255.0) -> DataInfo:
    channels = shape[0]
    return DataInfo("things", "0" * 64, 10, shape, dtype, low, high, (0.0,) * channels, (0.5,) * channels)


def model_of(info: DataInfo, **diffusion) -> Model:
    """A small model whose network says something: its last layer does not start at zero here."""
    config = TrainConfig(
        network=UNetConfig(base=16, multipliers=(1, 2), blocks=1), diffusion=DiffusionConfig(timesteps=50, **diffusion)
    )
    model = build_model(config, info)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in model.network.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("how", [{"sampler": "ddpm"}, {"sampler": "ddim"}, {"sampler": "ddim", "eta": 0.5}], ids=str)
def test_image_i_of_a_seed_is_the_same_bits_however_many_are_drawn(how):
    """On the real U-Net, whose convolutions may round differently by batch size and position."""
    model, how = model_of(info_of()), {**how, "steps": 3, "micro_batch": 4}
    whole = model.sample(9, seed=5, **how).array
    for first, n in ((0, 1), (3, 2), (8, 1), (2, 7)):
        part = model.sample(n, seed=5, first=first, **how).array
        assert np.array_equal(part, whole[first : first + n])
    assert not np.array_equal(model.sample(1, seed=6, **how).array, whole[:1])


def test_progress_is_reported_per_step_of_every_micro_batch():
    calls = []
    drawn = list(model_of(info_of()).draw(range(9), steps=5, micro_batch=4, on_step=lambda: calls.append(1)))
    assert [len(samples) for samples in drawn] == [4, 4, 1]
    assert len(calls) == 3 * 5


@pytest.mark.parametrize(
    "info",
    [
        info_of((1, 10, 14)),
        info_of((4, 9, 5), "uint16", 0.0, 65535.0),
        info_of((5, 8), "float32", -3.0, 7.0),
        info_of((2, 6, 5, 7)),
    ],
    ids=lambda info: f"{info.shape}-{info.dtype}",
)
def test_samples_have_the_datas_shape_type_and_range(info):
    samples = model_of(info).sample(2, steps=2)
    assert samples.array.shape == (2, *info.shape)
    assert samples.array.dtype == info.dtype
    assert samples.array.min() >= info.low
    assert samples.array.max() <= info.high
    assert samples.array.std() > 0


def test_a_learned_variance_is_sampled_with():
    model = model_of(info_of(), learn_variance=True)
    learned, small = (model.sample(1, steps=4, sampler="ddpm", variance=v).array for v in ("learned", "small"))
    assert not np.array_equal(learned, small)
    with pytest.raises(UndiffuseError, match="did not learn its variance"):
        model_of(info_of()).sample(1, steps=2, sampler="ddpm", variance="learned")


def test_the_weights_are_the_seeds_and_leave_the_global_stream_alone():
    info, config = info_of(), TrainConfig(network=UNetConfig(base=16, multipliers=(1, 2), blocks=1))
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    first, second = (build_model(config, info).network.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n": 0}, "at least 1"),
        ({"n": 1, "seed": -1}, "seed=-1"),
        ({"n": 1, "stesp": 3}, "perhaps you meant 'steps'"),
        ({"n": 1, "threshold": "foo"}, "must be one of 'none', 'clip', 'dynamic'"),
        ({"n": 1, "steps": "many"}, "must be a whole number"),
        ({"n": 1, "sampler": "dimm"}, "perhaps you meant 'ddim'"),
        ({"n": 1, "steps": 51}, "at most 50"),
    ],
)
def test_wrong_settings_are_one_sentence(wrong, words):
    with pytest.raises(UndiffuseError, match=words):
        model_of(info_of()).sample(**wrong)


def test_sampling_leaves_the_network_as_it_was():
    model = model_of(info_of())
    model.network.train()
    model.sample(1, steps=1)
    assert model.network.training


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"guidance": 1e38}, "`guidance` takes a number from -1000 to 1000"),
        ({"eta": 1e30}, "`eta` takes a number from 0 to 1"),
        ({"eta": -1.0}, "`eta`"),
        ({"churn": 1e30}, "`churn`"),
        ({"tolerance": 1e30}, "`tolerance`"),
        ({"augmentation": 7.0}, "`augmentation`"),
        ({"steps": 10**9, "spacing": "log-snr"}, "`steps` takes a number at most 100000"),
    ],
)
def test_numbers_that_are_finite_and_senseless_are_refused(setting, words):
    with pytest.raises(UndiffuseError, match=words):
        load("digits").sample(1, **setting)


def test_guidance_that_saturates_is_said_to_do_so():
    with pytest.warns(UserWarning, match="`guidance=200` leads far beyond"):
        load("digits").plan(guidance=200.0)
