"""Whole trainings, samples, edits and likelihoods on PyTorch's device without memory, in place of a GPU.

The meta device takes every operation and computes nothing. A dispatch mode sees each of them, and with it which copies
would wait for a GPU and which operations a GPU would refuse. What is read back is made up: ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from undiffuse import editing
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.editing import Editor
from undiffuse.editing.defaults import FillMethod, Method
from undiffuse.evaluation.anomaly.scores import ReconstructionSettings, error_maps
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.likelihood.bound import bound_of
from undiffuse.model import Model, build_model
from undiffuse.reports.speed.measure import RandomData
from undiffuse.runtime.devices import send
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.device_dataset import resident
from undiffuse.training.loop import training
from undiffuse.training.optim.optimizer import load_optimizer_tensors, optimizer_tensors

META = torch.device("meta")
READING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero")
"""Operations whose result Python must know."""

COPYING = ("aten::copy_", "aten::_to_copy")
"""Operations that may take tensors of several devices. Others take those without dimensions alone."""


class Waits(TorchDispatchMode):
    """Notes down what a GPU would be waited for, what it would refuse, and float64, which Apple's lack.

    Attributes:
        found: copies between devices that wait, values that are read back, operations of tensors on several devices.
        doubles: operations whose results are float64.
        sent: copies to the device, and from it.
    """

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
        tensors = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
        if name not in COPYING and len({x.device for x in tensors if x.ndim}) > 1:
            self.found.append(f"{name} of tensors on several devices")
        if name in READING and args[0].device == META:
            self.found.append(name)
            if name == "aten::_local_scalar_dense":
                return torch.ones((), dtype=args[0].dtype).item()
        if name == "aten::copy_" and args[0].device != args[1].device and not (args[2:3] or kwargs.get("non_blocking")):
            self.found.append(name)
        to = torch.device(kwargs.get("device") or args[0].device) if name == "aten::_to_copy" else None
        if to is not None and to != args[0].device:
            self.sent += 1
            if not kwargs.get("non_blocking"):
                self.found.append(f"{args[0].device} to {to}, {tuple(args[0].shape)}")
            if to.type == "cpu":
                return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
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
        {"learn_variance": True, "loss": "hybrid", "time_law": "loss-second-moment"},
        {"weighting": "min-snr", "optimizer": "muon", "ema_std": (0.1,)},
        {"condition": ("class",), "classes": ("a", "b")},
        {"upscale": 2},
        {"architecture": "ddpm++"},
    ],
)
def test_a_training_step_waits_for_its_losses_and_for_nothing_else(settings: dict[str, Any]) -> None:
    model = model_on_meta(**settings)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), np.uint8)
    train_step = make_train_step(
        model, RandomData(model.info, images, np.arange(8) % 2 if model.info.classes else None), 3
    )
    train_state = make_train_state(model)
    with Waits() as seen:
        results = list(training(train_step, train_state))
    assert [result.skipped for result in results] == [False] * 3
    assert seen.found == ["meta to cpu, (5,)"] * 3  # the losses of four images, and the norm of the gradient
    assert seen.sent >= 3 * 5
    # Bins of the decoder's log-likelihood are narrow: `discretised_log_likelihood` takes those of Apple's to the CPU.
    assert not seen.doubles or settings.get("loss") == "hybrid"


def test_a_resumed_muon_counts_its_steps_where_nobody_waits_for_them() -> None:
    made = [make_train_state(model_on_meta(optimizer="muon")) for _ in range(2)]
    for train_state in made:
        for parameter in train_state.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    first, second = made
    first.optimizer.step()
    load_optimizer_tensors(second.optimizer, second.network, optimizer_tensors(first.optimizer, first.network))
    with Waits() as seen:
        second.optimizer.step()
    assert seen.found == []


def test_images_on_a_device_are_looked_up_without_a_wait() -> None:
    model = model_on_meta()
    images = resident(np.zeros((8, 3, 8, 8), np.uint8), model.codec, META)
    with Waits() as seen:
        x0 = images(np.array([3, 1]))
    assert (x0.shape, x0.device, x0.dtype) == ((2, 3, 8, 8), META, torch.float32)
    assert seen.found == []


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"ode"}))  # which looks at its error to choose its steps
def test_samples_are_waited_for_when_they_are_done(name: str) -> None:
    model = model_on_meta()
    with Waits() as seen:
        model.sample(4, sampler=name, steps=3, micro_batch=2)
    assert seen.found == ["meta to cpu, (2, 3, 8, 8)"] * 2
    assert seen.sent >= 2 * 3 * 5
    assert not seen.doubles


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": "dynamic"},
        {"guidance": 3.0, "guidance_rescale": 0.5, "classes": ("a",), "avoid": "b"},
        {"guidance": 3.0, "guidance_interval": (0.1, 5.0)},
    ],
)
def test_so_are_those_of_guidance_and_thresholds(settings: dict[str, Any]) -> None:
    model = model_on_meta(("a", "b"), condition=("class",))
    with Waits() as seen:
        model.sample(2, steps=3, micro_batch=2, **settings)
    assert seen.found == ["meta to cpu, (2, 3, 8, 8)"]
    assert not seen.doubles


PICTURES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
HALF = torch.ones(1, 1, 8, 8).index_fill(3, torch.arange(4), 0.0)
EDITS: dict[str, Callable[[Editor], object]] = {
    **{
        f"inpaint by {method}": lambda editor, method=method: editing.inpaint(editor, PICTURES, HALF, method=method)
        for method in get_args(FillMethod)
    },
    **{
        f"upscale by {method}": lambda editor, method=method: editing.upscale(
            editor, PICTURES[..., ::2, ::2], 2, method=method
        )
        for method in get_args(Method)
    },
    "deblur": lambda editor: editing.deblur(editor, PICTURES, 1.0),
    "colorize": lambda editor: editing.colorize(editor, PICTURES[:, :1]),
    "outpaint": lambda editor: editing.outpaint(editor, PICTURES, [(4, 4), (0, 0)]),
    "denoise": lambda editor: editing.denoise(editor, PICTURES, 0.3),
    "vary": lambda editor: editing.vary(editor, PICTURES),
    "invert": lambda editor: editing.invert(editor, PICTURES),
    "interpolate": lambda editor: editing.interpolate(editor, *PICTURES, 3),
    "translate": lambda editor: editing.translate(editor, PICTURES, "a", "b"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_keep_to_one_device(name: str) -> None:
    """They may wait, for pictures and masks that come and go; they may not mix devices, nor want float64."""
    model = model_on_meta(("a", "b"), condition=("class",))
    with Waits() as seen:
        EDITS[name](Editor.of(model, SampleConfig.of(steps=3, micro_batch=2)))
    assert not [found for found in seen.found if "several devices" in found]
    assert not seen.doubles
    assert seen.sent >= 3 * 5


def test_so_do_bounds_and_maps_of_anomalies() -> None:
    denoiser, x0 = model_on_meta().denoiser, PICTURES.to(META)
    with torch.no_grad(), Waits() as seen:
        bound_of(denoiser, ImageBatch(x0, [0, 1]))
        error_maps(Clip(denoiser), ImageBatch(x0, [0, 1]), ReconstructionSettings())
    assert not [found for found in seen.found if "several devices" in found]
    assert seen.sent >= 50
