from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.lib.contenders.others import CONTENDERS
from benchmarks.lib.contenders.training import Training
from benchmarks.lib.contenders.twists import HAAR, HaarUNet, _mix
from undiffuse.config.data import DataConfig
from undiffuse.config.network import UNetConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.networks.unet import UNet

TINY = {"base": 4, "multipliers": (1,), "blocks": 1, "middle_attention": False, "batch": 4, "warmup": 0}


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    np.savez(folder / "noise.npz", x=np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), np.uint8))
    return prepare(DataConfig(source=str(folder / "noise.npz")), folder / "cache")


def test_haar_is_orthonormal_and_its_own_inverse():
    assert torch.equal(HAAR @ HAAR, torch.eye(4))
    x = torch.randn(2, 12, 3, 5)
    assert torch.allclose(_mix(_mix(x)), x, atol=1e-6)
    assert torch.allclose(_mix(x)[:, 4], x[:, 4:8].sum(1) / 2, atol=1e-6), "the first of each four is twice their mean"


def test_a_haar_network_is_the_patched_one_between_two_rotations():
    settings = {"base": 4, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    haar, patched = HaarUNet(4, 4, 2, UNetConfig(**settings)), UNet(1, 1, 2, UNetConfig(**settings, patch=2))
    with torch.no_grad():
        haar.out.weight.normal_()
        patched.load_state_dict(haar.state_dict())
        # pixel_unshuffle's order of the four is row by row, as space_to_depth's is.
        patched.stem.weight.copy_(torch.einsum("okhw,kp->ophw", haar.stem.weight, HAAR))
        patched.out.weight.copy_(torch.einsum("kihw,kp->pihw", haar.out.weight, HAAR))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 700.0])
    assert torch.allclose(haar(x, t), patched(x, t), atol=1e-5)


def test_pictures_grow_after_two_fifths_of_the_steps(noise):
    growing = Training(CONTENDERS["growing"].changed(TINY), noise, 0, "cpu", {})
    growing.plan(0, 1.5)  # ten steps of 0.15 s
    assert growing.task.plan.total == 10
    sides = [growing.task.images(step).shape[-1] for step in range(10)]
    assert sides == [8] * 4 + [16] * 6
    whole = Training(CONTENDERS["small"].changed(TINY), noise, 0, "cpu", {}).task.images(0)
    assert torch.allclose(growing.task.images(0).mean(), whole.mean(), atol=1e-6)
    for _ in range(5):
        growing.step()
    assert growing.steps == 5


@pytest.mark.parametrize(("name", "package"), [("soap", "pytorch_optimizer"), ("schedule-free", "schedulefree")])
def test_other_optimisers_train_and_are_judged(noise, name, package):
    pytest.importorskip(package, reason=f"{package} is not installed")
    training = Training(CONTENDERS[name].changed(TINY), noise, 0, "cpu", {})
    training.plan(0, 1.5)
    before = training.averaged().network.out.weight.clone()
    for _ in range(3):
        training.step()
    held = training.model.network.out.weight.clone()
    assert not torch.equal(training.averaged().network.out.weight, before)
    assert torch.equal(training.model.network.out.weight, held), "judging leaves the training as it was"
