"""Stages and cascades: exact denoisers give the exact distribution, and drawing is that of any model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from undiffuse.conditioning.low_resolution import (
    LEVEL,
    SMALL,
    BatchImages,
    SmallImages,
    augmented,
    downsample,
    enlarging,
    low_res_conditions,
    low_res_training,
)
from undiffuse.conditioning.request import CLASS
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.guidance import ClassifierFree
from undiffuse.diffusion.samplers import DPMMultistep
from undiffuse.diffusion.samplers.exponential import DATA
from undiffuse.diffusion.schedules import cosine
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.errors import UndiffuseError
from undiffuse.model import Cascade, Model, build_model


def info(side: int, classes: tuple[str, ...] = ()) -> DataInfo:
    return DataInfo("toy", "", 10, (1, side, side), "uint8", 0.0, 255.0, (0.0,), (0.5,), classes)


def tiny(side: int, upscale: int = 1, condition: tuple = (), classes: tuple[str, ...] = ()) -> Model:
    network = UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(), middle_attention=False)
    config = TrainConfig(
        network=network,
        diffusion=DiffusionConfig(timesteps=50, parameterization="v"),
        conditions=ConditionConfig(condition=condition, upscale=upscale),
    )
    model = build_model(config, info(side, classes))
    dice = torch.Generator().manual_seed(side)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=dice)
    return model


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade((tiny(4), tiny(8, upscale=2)))


QUICK = SampleConfig.of(sampler="ddpm", steps=3, micro_batch=4)


# --- exactness --------------------------------------------------------------------------------------------------------

SIDE, STD = 4, 0.12
"""Of the pictures; so narrow a prior that nothing of it is clipped."""


def matrix(linear) -> torch.Tensor:
    """The matrix of a linear map of 4 x 4 or 2 x 2 pictures, by its columns."""
    side = 2 if linear is stretch else SIDE
    return linear(torch.eye(side * side).reshape(-1, 1, side, side) / 100).flatten(1).T.double() * 100


def stretch(small: torch.Tensor) -> torch.Tensor:
    return F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def prior() -> torch.Tensor:
    """Covariance of 16 pixels, 0.8^distance along both axes."""
    place = torch.arange(SIDE)
    axis = (0.8 ** (place[:, None] - place).abs()).double()
    return STD**2 * torch.kron(axis, axis)


@dataclass(frozen=True)
class ExactBase:
    """E[z | z_t] for z ~ N(0, C)."""

    schedule: object
    covariance: torch.Tensor

    def __call__(self, x_t, t, **conditions):
        q_t, C = self.schedule(t), self.covariance
        gain = q_t.alpha * C @ torch.linalg.inv(q_t.alpha**2 * C + q_t.sigma**2 * torch.eye(len(C)).double())
        x0 = (x_t.flatten(1).double() @ gain.T).reshape(x_t.shape)
        return Prediction(x0, (x_t - q_t.alpha * x0) / q_t.sigma)


@dataclass(frozen=True)
class ExactStage:
    """E[x | x_t, B z_s] for x ~ N(0, C) and z_s = a S x + s e: the posterior mean of two Gaussian measurements."""

    schedule: object
    covariance: torch.Tensor

    def __call__(self, x_t, t, **conditions):
        S, back = matrix(lambda x: downsample(x, 2)), torch.linalg.pinv(matrix(stretch))
        level = conditions[LEVEL][0, 0].double()
        a, s = torch.cos(level * math.pi / 2), torch.sin(level * math.pi / 2)
        q_t, C, one = self.schedule(t), self.covariance, torch.eye(16).double()
        A = torch.cat([q_t.alpha * one, a * S])
        noise = torch.block_diag(q_t.sigma**2 * one, (s**2 + 1e-9) * torch.eye(4).double())
        y = torch.cat([x_t.flatten(1).double(), conditions[SMALL].flatten(1).double() @ back.T], 1)
        x0 = (y @ (C @ A.T @ torch.linalg.inv(A @ C @ A.T + noise)).T).reshape(x_t.shape)
        return Prediction(x0, (x_t - q_t.alpha * x0) / q_t.sigma)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.3])
def test_a_cascade_of_exact_denoisers_has_the_distribution_of_the_data_at_every_level(level):
    schedule, C, S = cosine(1000), prior(), matrix(lambda x: downsample(x, 2))
    n, times, sampler = 4000, make_timesteps(schedule, 60, "log-snr"), DPMMultistep(DATA, 2)
    z = sample(ExactBase(schedule, S @ C @ S.T), sampler, times, (1, 2, 2), Noise(0, range(n)))
    stage = enlarging(ExactStage(schedule, C), BatchImages(z.float()), 2, level, range(n), seed=0)
    x = sample(stage, sampler, times, (1, SIDE, SIDE), Noise(1, range(n))).flatten(1).double()
    z = z.flatten(1).double()
    # The stage forgets as much of z as the noise hides: cov(x, z) = C S' (a^2 S C S' + s^2)^-1 a^2 S C S'.
    a, s = math.cos(level * math.pi / 2), math.sin(level * math.pi / 2)
    K = S @ C @ S.T
    joint = C @ S.T @ torch.linalg.inv(a**2 * K + s**2 * torch.eye(4).double()) @ (a**2 * K)
    assert torch.linalg.norm(x.T.cov() - C) / torch.linalg.norm(C) < 0.08
    assert torch.linalg.norm(x.T @ z / n - joint) / torch.linalg.norm(C @ S.T) < 0.08


def test_augmentation_at_level_0_is_the_identity_and_at_1_it_is_noise():
    small, eps = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    assert torch.equal(augmented(small, torch.zeros(3), eps), small)
    torch.testing.assert_close(augmented(small, torch.ones(3), eps), eps, rtol=0, atol=1e-6)


def test_augmentation_keeps_the_variance_of_what_has_variance_1():
    small, eps = (torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(k)) for k in range(2))
    for level in (0.2, 0.5, 0.8):
        assert float(augmented(small, torch.tensor([level]), eps).var()) == pytest.approx(1, abs=0.03)


def test_small_images_are_made_as_the_data_layer_makes_them():
    """Of the same picture, `--size` and a stage see the same small one, up to the rounding of 8 bits."""
    from undiffuse.data.transform import resize

    values = np.random.default_rng(0).integers(0, 256, (28, 28, 1)).astype(np.uint8)
    small = resize(values, (14, 14), "none", alpha=False)[..., 0]
    ours = (downsample(torch.from_numpy(values[None, None, ..., 0] / 127.5 - 1).float(), 2)[0, 0] + 1) * 127.5
    assert np.abs(ours.numpy() - small).max() < 1.01


# --- training ---------------------------------------------------------------------------------------------------------


def test_levels_and_noise_of_a_step_do_not_depend_on_who_computes_which_part():
    x0 = torch.rand(6, 1, 8, 8)
    conditions = low_res_training(ConditionConfig(upscale=2, augmentation=0.5), seed=3, batch=6)
    whole = conditions(7, x0, lambda rows: rows)
    part = conditions(7, x0[2:4], lambda rows: rows[2:4])
    for name in (SMALL, LEVEL):
        torch.testing.assert_close(part[name], whole[name][2:4])
    assert not torch.equal(conditions(8, x0, lambda rows: rows)[LEVEL], whole[LEVEL])
    assert 0 <= float(whole[LEVEL].min()) < float(whole[LEVEL].max()) <= 0.5


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_sample_i_of_a_cascade_is_the_same_whatever_is_drawn_beside_it(cascade):
    both = cascade.sample(6, seed=5, settings=QUICK).array
    np.testing.assert_array_equal(cascade.sample(2, seed=5, first=4, settings=QUICK).array, both[4:])
    np.testing.assert_array_equal(cascade.sample(6, seed=5, settings=QUICK).array, both)
    assert (cascade.sample(6, seed=6, settings=QUICK).array != both).any()


def test_a_cascade_enlarges_the_samples_of_the_model_below(cascade):
    """The stage upon those very pictures makes the same of them."""
    small = cascade.plan(QUICK).low_res(range(4), 5)
    made = cascade.top.plan(QUICK, low_res=SmallImages(small)).sample(4, 5).array
    np.testing.assert_array_equal(made, cascade.sample(4, seed=5, settings=QUICK).array)


def test_base_and_stage_start_from_different_noise(cascade):
    with_own_seed = cascade.stages[0].sample(4, seed=5, settings=QUICK).array
    below = ((cascade.plan(QUICK).low_res(range(4), 5).numpy() + 1) * 127.5).round()
    assert (below != with_own_seed).any()


def test_the_level_at_sampling_is_heard_and_kept_to_what_was_learned(cascade):
    low, high = (cascade.sample(4, settings=QUICK.changed(augmentation=a)).array for a in (0.0, 0.5))
    assert (low != high).any()
    for level, levels in ((-0.1, "from 0 to 1"), (0.6, r"from 0 to 0\.5")):
        with pytest.raises(UndiffuseError, match=levels):
            cascade.sample(1, settings=QUICK.changed(augmentation=level))


def test_three_models_stand_upon_each_other(cascade):
    top = Cascade((*cascade.stages, tiny(16, upscale=2)))
    assert top.sample(2, settings=QUICK).array.shape == (2, 1, 16, 16)


def test_a_stage_alone_draws_nothing():
    with pytest.raises(UndiffuseError, match="undiffuse cascade make"):
        tiny(8, upscale=2).sample(1, settings=QUICK)
    with pytest.raises(UndiffuseError, match="nothing without the condition 'small'"):
        tiny(8, upscale=2).denoiser(torch.zeros(1, 1, 8, 8), torch.tensor(9.0))


def test_sides_that_the_factor_does_not_divide_are_refused():
    with pytest.raises(UndiffuseError, match="multiples"):
        tiny(9, upscale=2)


# --- words ------------------------------------------------------------------------------------------------------------

CLASSES = ("a", "b")


def test_a_stage_without_classes_stands_upon_a_base_with_them_and_the_base_is_asked():
    base = tiny(4, condition=("class",), classes=CLASSES)
    plain = Cascade((base, tiny(8, upscale=2)))
    settings = QUICK.changed(classes=("b",), guidance=2.0)
    small = plain.plan(settings).low_res(range(2), 0)
    assert not torch.equal(small, plain.plan(settings, classes=("a",)).low_res(range(2), 0))
    upon = plain.top.plan(QUICK, low_res=SmallImages(small)).sample(2).array
    np.testing.assert_array_equal(plain.sample(2, settings=settings).array, upon)
    with pytest.raises(UndiffuseError, match="There is no class 'c'"):
        plain.sample(1, settings=QUICK.changed(classes=("c",)))


def test_a_cascade_without_classes_cannot_be_asked_for_one(cascade):
    with pytest.raises(UndiffuseError, match="without classes"):
        cascade.sample(1, settings=QUICK.changed(classes=("a",)))


def test_guidance_hides_the_class_from_a_stage_and_never_the_small_image():
    stage, images = tiny(8, upscale=2, condition=("class",), classes=CLASSES), torch.rand(2, 1, 4, 4) * 2 - 1
    settings = QUICK.changed(guidance=2.0, threshold="none", classes=("b",), micro_batch=2)
    plan = stage.plan(settings, low_res=SmallImages(images))
    guided, times = plan.denoiser(range(2)), plan.times
    assert isinstance(guided, ClassifierFree)
    x = torch.randn(2, 1, 8, 8)
    small = low_res_conditions(images, torch.full((2,), 0.1), small_noise(2), 2)
    with torch.no_grad():
        found = guided(x, times[0])
        with_class, without = (
            stage.denoiser(x, times[0], **small, **{CLASS: torch.full((2,), label)}) for label in (1, 2)
        )
    torch.testing.assert_close(found.x0, without.x0 + 2 * (with_class.x0 - without.x0), rtol=1e-4, atol=1e-5)


def small_noise(n: int) -> torch.Tensor:
    from undiffuse.runtime.random_streams import generator

    return torch.stack([torch.randn(1, 4, 4, generator=generator(0, "augmentation", i)) for i in range(n)])
