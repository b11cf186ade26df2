"""What goes to a device goes there without a wait: steps of trainings and samplers on PyTorch's device without memory.

The meta device takes every operation and computes nothing. A dispatch mode sees each of them, and with it whether a
copy would have waited on a GPU.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from undiffuse.bench.measure import Made
from undiffuse.config import SampleConfig, TrainConfig
from undiffuse.config_file import override
from undiffuse.data.info import DataInfo
from undiffuse.devices import send
from undiffuse.model import Model, build_model
from undiffuse.sample import Noise, trajectory
from undiffuse.samplers import SAMPLERS
from undiffuse.training.loop import forward_backward
from undiffuse.training.optimizer import clip_gradient, load_optimizer_tensors, optimizer_tensors
from undiffuse.training.resident import ResidentImages
from undiffuse.training.setup import make_learner, make_task

META = torch.device("meta")
READING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero")
"""Operations whose result Python must know."""

COPYING = ("aten::copy_", "aten::_to_copy")
"""Operations that may take tensors of several devices. Others take those without dimensions alone."""


class Waits(TorchDispatchMode):
    """Notes down copies between devices that wait, values that are read back, operations of tensors on several devices,
    and float64, which Apple's GPUs lack."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.doubles: list[str] = []
        self.sent = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket._qualified_op_name
        if name in READING and args[0].device == META:
            self.found.append(name)
        if name == "aten::copy_" and args[0].device != args[1].device and not (args[2:3] or kwargs.get("non_blocking")):
            self.found.append(name)
        tensors = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
        if name not in COPYING and len({x.device for x in tensors if x.ndim}) > 1:
            self.found.append(f"{name} of tensors on several devices")
        to = kwargs.get("device")
        if name == "aten::_to_copy" and to is not None and torch.device(to) != args[0].device:
            self.sent += 1
            if not kwargs.get("non_blocking"):
                self.found.append(f"{args[0].device} to {to}, {tuple(args[0].shape)}")
        made = func(*args, **kwargs)
        outputs = made if isinstance(made, tuple | list) else [made]
        if any(isinstance(y, Tensor) and y.device == META and y.dtype == torch.float64 for y in outputs):
            self.doubles.append(name)
        return made


class Recorder:
    """Stands for a tensor on the CPU where there is no GPU, and notes down how it is sent to one."""

    device = torch.device("cpu")

    def __init__(self, nbytes: int, said: tuple[Any, ...] = ()) -> None:
        self.nbytes, self.said = nbytes, said

    def pin_memory(self) -> Recorder:
        return Recorder(self.nbytes, (*self.said, "pinned"))

    def to(self, device: torch.device, non_blocking: bool = False) -> tuple[Any, ...]:
        return (*self.said, str(device), non_blocking)


def test_what_is_large_goes_to_cuda_from_pinned_memory_and_nothing_waits() -> None:
    raw: Any = inspect.unwrap(send)  # without the tests' check of types
    assert raw(Recorder(1 << 20), torch.device("cuda:1")) == ("pinned", "cuda:1", True)
    assert raw(Recorder(64), torch.device("cuda")) == ("cuda", True)
    assert raw(Recorder(1 << 20), torch.device("mps")) == ("mps", False)


def test_what_comes_to_the_cpu_is_waited_for() -> None:
    class There(Recorder):
        device = META

    raw: Any = inspect.unwrap(send)
    assert raw(There(64), torch.device("cpu")) == ("cpu", False)


def test_what_is_there_stays_what_it_is() -> None:
    x = torch.randn(2, 3)
    assert send(x, torch.device("cpu")) is x


def test_the_mode_sees_a_wait() -> None:
    """It can fail, that is."""
    x = torch.ones(3)
    with Waits() as seen:
        x.to(META)
        torch.empty(3, device=META).copy_(x)
        y = send(x, META)
        y[torch.tensor([0, 2])]
    assert seen.found == ["cpu to meta, (3,)", "aten::copy_", "aten::index of tensors on several devices"]
    assert seen.sent == 2


def model_on_meta(classes: tuple[str, ...] = (), **settings: Any) -> Model:
    info = DataInfo("things", "0" * 64, 8, (3, 8, 8), "uint8", 0.0, 255.0, (0.0,) * 3, (0.5,) * 3, classes)
    tiny = {"base": 8, "multipliers": (1, 2), "blocks": 1, "batch": 4, "timesteps": 50, "steps": 2, **settings}
    return build_model(override(TrainConfig(), **tiny), info).to(META)


@pytest.mark.parametrize(
    "settings",
    [
        {"parameterization": "x0"},
        {"parameterization": "v", "accumulate": 2, "flip": True, "offset_noise": 0.1},
        {"learn_variance": True, "loss": "hybrid"},
        {"weighting": "min-snr", "optimizer": "muon", "ema_std": (0.1,)},
        {"condition": ("class",), "classes": ("a", "b")},
    ],
)
def test_a_training_step_waits_for_nothing_but_its_losses(settings: dict[str, Any]) -> None:
    model = model_on_meta(**settings)
    model.network.train()
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), np.uint8)
    task = make_task(model, Made(model.info, images, np.arange(8) % 2 if model.info.classes else None), 2)
    t, weight = torch.tensor([1.0, 20.0, 30.0, 50.0], dtype=torch.float64), torch.ones(4)
    learner = make_learner(model)
    with Waits() as seen:
        losses = forward_backward(task, model.network, task.batch(0), t, weight, 0)
        clip_gradient(model.network.parameters(), 1.0)
        learner.optimizer.step()
        learner.ema.update(0)
        learner.powers.update(0)
    assert losses.device == META
    assert seen.found == []
    assert seen.sent >= 5
    # Bins of the decoder's log-likelihood are narrow: `discretised_log_likelihood` takes those of Apple's to the CPU.
    assert not seen.doubles or settings.get("loss") == "hybrid"


def test_a_resumed_muon_counts_its_steps_where_nobody_waits_for_them() -> None:
    made = [make_learner(model_on_meta(optimizer="muon")) for _ in range(2)]
    for learner in made:
        for parameter in learner.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    first, second = made
    first.optimizer.step()
    load_optimizer_tensors(second.optimizer, second.network, optimizer_tensors(first.optimizer, first.network))
    with Waits() as seen:
        second.optimizer.step()
    assert seen.found == []


def test_images_on_a_device_are_looked_up_without_a_wait() -> None:
    model = model_on_meta()
    images = ResidentImages(np.zeros((8, 3, 8, 8), np.uint8), model.info, META)
    with Waits() as seen:
        x0 = images(np.array([3, 1]))
    assert (x0.shape, x0.device, x0.dtype) == ((2, 3, 8, 8), META, torch.float32)
    assert seen.found == []


def walk(model: Model, **settings: Any) -> Waits:
    """Three steps of a sampler."""
    noise = Noise(0, range(2), META)
    denoiser, sampler, times = model.walk(SampleConfig(steps=3, micro_batch=2, **settings))
    x: Tensor = noise.normal(model.info.shape)
    with torch.no_grad(), Waits() as seen:
        for x_s in trajectory(denoiser, sampler, times, x, noise):
            assert x_s.device == META
    assert not seen.doubles
    return seen


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"ode"}))  # which looks at its error to choose its steps
def test_a_step_of_a_sampler_waits_for_nothing(name: str) -> None:
    seen = walk(model_on_meta(), sampler=name)
    assert seen.found == []
    assert seen.sent >= 5


def test_neither_do_guidance_and_thresholds() -> None:
    model = model_on_meta(("a", "b"), condition=("class",))
    for settings in ({"threshold": "dynamic"}, {"guidance": 3.0, "guidance_rescale": 0.5}):
        assert walk(model, **settings).found == []
