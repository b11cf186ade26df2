"""A model for trainings in loops of other programs: Lightning's, accelerate's, one's own.

It holds what a training step of ours does between a batch and its gradient, and nothing of what comes around it: no
data, no optimizer, no loop. For the same batch and seed its gradient is that of a step of `training.loop`, on one
thread to the bit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.conditioning.request import CLASS, VECTOR, dropped
from undiffuse.config.files import override
from undiffuse.config.keywords import TrainSettings
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import sections
from undiffuse.data.info import DataInfo
from undiffuse.data.standardizer import Standardizer
from undiffuse.diffusion.losses import draw_noise
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.factories.loss import make_objective, make_time_law
from undiffuse.model import Model, build_model
from undiffuse.networks.layers import LAYOUTS
from undiffuse.recipes import get_recipe
from undiffuse.runtime.devices import send
from undiffuse.runtime.random_streams import generator
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.optim.ema import ema_rate
from undiffuse.training.run.objects import with_texts
from undiffuse.training.run.settings_without_effect import unheeded
from undiffuse.training.run.validate import check

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)

HEEDED = ("network", "diffusion", "objective")
"""Sections of settings that count here."""
ALSO = ("condition_dropout", "ema", "ema_warmup", "seed", "channels_last")
"""And single ones of others."""
LOOKED_AT = 10
"""Batches whose values are checked where that means waiting for a device; on a CPU all are."""
MANY = 10_000
"""Images that recipes take for granted, as nobody says how many there are: so many need no dropout."""


class TrainingModule(nn.Module):
    """A model that learns, as a module whose call is the loss of a batch.

        module = undiffuse.TrainingModule((1, 28, 28), classes=10)
        optimizer = module.follow(torch.optim.Adam(module.parameters(), lr=1e-3))
        for images, labels in loader:
            optimizer.zero_grad()
            module(images, label=labels).backward()
            optimizer.step()
        module.averaged().save("digits.safetensors")

    The call draws times, noise and which conditions to hide by functions of (seed, calls so far, process), so that a
    training that goes on from a ``state_dict`` draws what it would have drawn. In evaluation mode (``module.eval()``)
    it is the loss of the averaged weights, with everything told and the same draws for the k-th batch after each
    ``eval()``. Weights are float32; mixed precision is the loop's business (``torch.autocast``).

    Args:
        shape: (channels, *spatial) of a sample.
        classes: how many, or their names; the call takes ``label=``, (batch,) whole numbers from 0, where the number
            after the last class is none. Without it there are none.
        numbers: mean and standard deviation of each number that a model is told, by its name; the call takes
            ``vector=``, (batch, numbers), which are standardized here.
        values: the ends of the data's range, for floats of any meaning. Without it the data are 8-bit images, whose
            batches are uint8, or floats from 0 to 1 as torchvision's ToTensor makes them.
        recipe: name of the settings to start from.
        settings: those of `undiffuse.train` that are of the network, the process, the loss and the average:
            ``base=64``, ``parameterization="v"``, ``ema=(0.999,)``, ``network=MyNetwork`` ...

    Raises:
        UndiffuseError: settings of the data or of the loop, which are the program's, or what cannot be.
    """

    @in_one_sentence
    @own_modes()
    def __init__(
        self,
        shape: Sequence[int],
        *,
        classes: int | Sequence[str] = (),
        numbers: Mapping[str, tuple[float, float]] | None = None,
        values: tuple[float, float] | None = None,
        recipe: str = "small",
        **settings: Unpack[TrainSettings],
    ) -> None:
        super().__init__()
        info = _info(shape, classes, numbers or {}, values)
        config = _config(info, recipe, with_texts(settings))
        self.model = build_model(config, info)
        """The model that learns, in training mode: leave it as it is."""
        self.network = self.model.network
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.objective = make_objective(
            config.objective, config.diffusion, self.model.codec.levels, self.model.codec.bounded
        )
        self.time_law = make_time_law(config.objective, self.model.schedule)
        self._learning, self._averaging = self.model.denoiser, self.model.with_network(self.average).denoiser
        self.calls, self.steps, self._looks = 0, 0, 0

    @property
    def config(self) -> TrainConfig:
        return self.model.config

    @in_one_sentence
    def forward(self, images: Tensor, **conditions: Any) -> Tensor:
        """The mean loss of a batch.

        Args:
            images: (batch, *shape), see ``values``.
            conditions: ``label`` and ``vector``, where the model is told these.

        Raises:
            UndiffuseError: another shape, range or set of conditions than the module was made for.
        """
        config, device = self.config, self.model.device
        look = device.type == "cpu" or self.calls < LOOKED_AT
        x0 = self._place(self._model_space(images, look))
        told = self._told(conditions, len(x0), look)
        stream, hidden = self._stream(), config.conditions.condition_dropout
        if self.training:
            told = dropped(self.model.conditions, told, hidden, generator(config.loop.seed, "condition", *stream))
        dice = generator(config.loop.seed, "noise", *stream)
        eps = self._place(draw_noise(tuple(x0.shape), dice, config.objective.offset_noise))
        t = self.time_law.draw(self.model.schedule, len(x0), generator(config.loop.seed, "time", *stream))
        denoiser = self._learning if self.training else self._averaging
        losses = self.objective(denoiser, x0, t, eps, {name: send(value, device) for name, value in told.items()})
        return (send(self.time_law.weight(t).float() / len(x0), device) * losses).sum()

    def _stream(self) -> tuple[int | str, ...]:
        """What names the draws of this call, whose number goes up by one."""
        if self.training:
            self.calls += 1
            return (self.calls - 1, *_process())
        self._looks += 1
        return ("held out", self._looks - 1, *_process())

    @in_one_sentence
    def follow(self, optimizer: AnyOptimizer) -> AnyOptimizer:
        """The optimizer itself, after each of whose steps the average takes one from now on."""
        inside = getattr(optimizer, "optimizer", optimizer)  # of what accelerate and Lightning have wrapped
        if not isinstance(inside, Optimizer):
            raise UndiffuseError(
                "A module follows an optimizer, as in module.follow(torch.optim.Adam(module.parameters(), lr=1e-3)); "
                f"got {inside.__name__ if isinstance(inside, type) else f'a {type(inside).__name__}'}"
            )
        inside.register_step_post_hook(lambda *_: self.update())
        return optimizer

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights: to be called after each step of an optimizer that it does not
        `follow`."""
        ema = self.config.ema
        rate = ema_rate(ema.ema[0], self.steps, ema.ema_warmup) if ema.ema else 0.0
        averages, weights = ([one.detach() for one in net.parameters()] for net in (self.average, self.network))
        torch._foreach_lerp_(averages, weights, 1 - rate)
        for old, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
            old.copy_(new)
        self.steps += 1

    @in_one_sentence
    def averaged(self) -> Model:
        """The model with the averaged weights, in a network of its own: to sample from, to measure, to save.

        Raises:
            UndiffuseError: the weights have moved, and the average never did.
        """
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        if not self.steps and not all(torch.equal(old, new) for old, new in pairs):
            raise UndiffuseError(
                "The average of the weights has never moved: make the optimizer known to it by "
                "module.follow(optimizer), or call module.update() after each of its steps"
            )
        network = copy.deepcopy(self.average).requires_grad_(True).eval()
        name = next((f"{rate:g}" for rate in self.config.ema.ema), "raw")
        return replace(self.model, network=network, provenance={"step": self.steps, "weights": name})

    def train(self, mode: bool = True) -> Self:
        self._looks = 0
        return super().train(mode)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.calls, self.steps])

    def set_extra_state(self, state: Tensor) -> None:
        self.calls, self.steps = state.tolist()

    def _place(self, x: Tensor) -> Tensor:
        last = self.config.loop.channels_last and x.ndim in LAYOUTS
        return send(x.contiguous(memory_format=LAYOUTS[x.ndim]) if last else x, self.model.device)

    def _model_space(self, images: Tensor, look: bool) -> Tensor:
        """x0 of a batch as it comes, where it is."""
        info = self.model.info
        if not isinstance(images, Tensor) or tuple(images.shape[1:]) != info.shape:
            got = f"of the shape {tuple(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
            if isinstance(images, tuple | list):
                got += "; what else the batch holds goes beside them, as label=..."
            raise UndiffuseError(
                f"Images are a tensor of the shape (batch, {', '.join(map(str, info.shape))}), which the module was "
                f"made for, and these are {got}"
            )
        if (found := next(self.network.parameters()).dtype) != torch.float32:
            raise UndiffuseError(
                f"A module learns in float32, and its weights were turned into {found}: use mixed precision, such as "
                "'bf16-mixed' in Lightning and 'bf16' in accelerate, in place of that"
            )
        bytes_ = info.dtype == "uint8"
        if bytes_ and images.dtype == torch.uint8:
            return images.float() / 127.5 - 1  # as `Scaling` has it, to the bit
        low, high = (0.0, 1.0) if bytes_ else (info.low, info.high)
        if look and not ((images >= low - 1e-3 * (high - low)) & (images <= high + 1e-3 * (high - low))).all():
            kind = "8-bit images are uint8, or floats from 0 to 1" if bytes_ else f"Values are from {low:g} to {high:g}"
            raise UndiffuseError(
                f"{kind}, and this batch has values from {images.min().item():g} to {images.max().item():g}: scale "
                "them, or say the range of all batches, as in TrainingModule(..., values=(-1, 1))"
            )
        exact = images.to(torch.float32 if images.device.type == "mps" else torch.float64)
        return ((exact - low) / ((high - low) / 2) - 1).float()

    def _told(self, given: Mapping[str, Any], batch: int, look: bool) -> dict[str, Tensor]:
        """What the network is told of a batch, on the CPU where it came from there."""
        wanted = [condition.name for condition in self.model.conditions]
        if given.keys() != set(wanted):
            told = " and ".join(f"{name}=..." for name in wanted) or "nothing"
            got = " and ".join(f"{name}=..." for name in given) or "nothing"
            raise UndiffuseError(f"Beside the images this module is told {told}, and it got {got}")
        found = {name: _numbers(name, value) for name, value in given.items()}
        if CLASS in found:
            label, count = found[CLASS], len(self.model.info.classes)
            wrong = label.shape != (batch,) or label.is_floating_point() or label.dtype == torch.bool
            if wrong or (look and not ((label >= 0) & (label <= count)).all()):
                raise UndiffuseError(
                    f"label= is a whole number from 0 to {count - 1} for each of the {batch} images, or {count} for no "
                    f"class; got {_shown(label)}"
                )
            found[CLASS] = label.long()
        if VECTOR in found:
            vector, numbers = found[VECTOR], self.model.info.numbers
            if vector.shape != (batch, len(numbers)):
                raise UndiffuseError(
                    f"vector= is {', '.join(numbers.names)} for each of the {batch} images, ({batch}, {len(numbers)}); "
                    f"got {_shown(vector)}"
                )
            found[VECTOR] = torch.from_numpy(numbers(vector.detach().cpu().numpy()))
        return found


def _process() -> tuple[int, ...]:
    """The number of this process among several, where it is not the first: each draws its own."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if there else 0
    return (rank,) if rank else ()


def _info(
    shape: Sequence[int],
    classes: int | Sequence[str],
    numbers: Mapping[str, tuple[float, float]],
    values: tuple[float, float] | None,
) -> DataInfo:
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    if not (2 <= len(sides) <= 4 and all(type(side) is int and side > 0 for side in sides)):
        raise UndiffuseError(
            f"The shape of a sample is channels and 1 to 3 sides, such as (3, 64, 64) of colour images; got {shape!r}"
        )
    if isinstance(classes, str) or (isinstance(classes, int) and classes < 0):
        raise UndiffuseError(f"`classes` says how many there are, or is a list of their names; got {classes!r}")
    info = unknown_data("your data", sides, range(classes) if isinstance(classes, int) else classes)
    if numbers:
        if not isinstance(numbers, Mapping) or not all(_pair(one) for one in numbers.values()):
            raise UndiffuseError(
                "numbers= takes the mean and the standard deviation of each by its name, as in "
                f"{{'angle': (0.0, 30.0)}}; got {numbers!r}"
            )
        mean, std = zip(*numbers.values(), strict=True)
        info = replace(info, numbers=Standardizer(tuple(numbers), tuple(map(float, mean)), tuple(map(float, std))))
    if values is None:
        return info
    if not _pair(values) or not values[0] < values[1]:
        raise UndiffuseError(f"values= takes the two ends of the data's range, the lower one first; got {values!r}")
    return replace(info, dtype="float32", low=float(values[0]), high=float(values[1]))


def _pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(one, int | float) for one in value)


def _config(info: DataInfo, recipe: str, given: dict[str, Any]) -> TrainConfig:
    """The settings of a model for these data.

    Raises:
        UndiffuseError: see `TrainingModule`.
    """
    homes = sections(TrainConfig)
    for name in given:
        if name in homes and homes[name] not in HEEDED and name not in ALSO:
            raise UndiffuseError(
                f"`{name}` is a setting of undiffuse.train: data, conditions, optimizer and loop of a TrainingModule "
                "are said by its arguments and by the program around it, so leave it out"
            )
    base = get_recipe(recipe).build(replace(info, count=MANY))
    told = (*(["class"] if info.classes else []), *(["vector"] if info.vectors else []))
    config = override(base, **{"condition": told, **given})
    check(config)
    for sentence in unheeded(given, config):
        warnings.warn(sentence, stacklevel=4)
    if len(config.ema.ema) > 1:
        raise UndiffuseError(f"A TrainingModule keeps one average: name one rate in `ema`, not {len(config.ema.ema)}")
    if config.objective.time_law == "loss-second-moment":
        raise UndiffuseError(
            "`time_law=loss-second-moment` learns from all losses of a training, which undiffuse.train keeps for it: "
            "take another"
        )
    return config


def _numbers(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise UndiffuseError(
            f"{name}= is a tensor, or what torch makes one of, with numbers for each image; got {value!r:.60}"
        ) from None


def _shown(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of the shape {tuple(value.shape)}" + (
        f", from {value.min().item():g} to {value.max().item():g}" if value.numel() else ""
    )
