"""The measures of `undiffuse evaluate` as metrics of torchmetrics, for loops that keep theirs in it.

    from undiffuse.evaluation.torchmetrics import FrechetDistance, Precision

    fd = FrechetDistance("inception")            # or any extractor of `undiffuse evaluate`, or a module of one's own
    fd.update(real_images, real=True)
    fd.update(samples, real=False)
    fd.compute()

Values are those that `undiffuse evaluate` has for the same images, float64, and depend on the extractor as they do.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.evaluation.features.custom import Answer, ModuleExtractor
from undiffuse.evaluation.features.extract import BATCH, extract
from undiffuse.evaluation.features.extractor import Extractor, Identity, Outputs
from undiffuse.evaluation.features.make import make_extractor
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.evaluation.quality.registry import ROWS, Compared
from undiffuse.runtime.installing import install_extra
from undiffuse.runtime.torch_modes import evaluation_mode, own_modes

try:
    from torchmetrics import Metric
except ImportError as error:
    raise UndiffuseError(
        f"undiffuse.evaluation.torchmetrics needs the package torchmetrics: {install_extra('torchmetrics')}"
    ) from error

__all__ = [
    "Coverage",
    "Density",
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "Precision",
    "Recall",
]


class _FeatureMetric(Metric):
    """A measure of features of real images and of others.

    A state is a list of matrices, each flat behind its two sides: so a process that has seen no image, and does not
    know how wide features are, can put its states together with those of others.

    Args:
        extractor: a name that `undiffuse evaluate --extractor` takes; an `Extractor`; or a module or function from
            float32 images in [0, 1] to features (batch, D), to (features, logits) or to `Outputs`.
        seed: of the subsets that some measures draw.
        reset_real_features: whether `reset` forgets the real images, too.
        options: of torchmetrics' Metric.

    Raises:
        UndiffuseError: there is no such extractor.
    """

    is_differentiable = False
    full_state_update = False
    real: list[Tensor] | Tensor
    fake: list[Tensor] | Tensor
    metric: ClassVar[str]
    """Its key among the measures of `undiffuse evaluate`."""
    sides: ClassVar[tuple[str, ...]] = ("real", "fake")
    """What it looks at."""
    format: ClassVar[torch.dtype] = torch.float32
    """Of its states."""

    @in_one_sentence
    def __init__(
        self,
        extractor: str | Extractor | nn.Module | Callable[[Tensor], Answer],
        *,
        seed: int = 0,
        reset_real_features: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.seed, self.reset_real_features = seed, reset_real_features
        self._name, self._where = extractor if isinstance(extractor, str) else "", torch.device("cpu")
        self.extractor = _extractor(extractor, self._where)
        for side in self.sides:
            self.add_state(side, [], dist_reduce_fx="cat")
        # A MetricCollection takes metrics of equal states for one, and two that have seen nothing look so.
        self.add_state("kind", torch.tensor(_number(self.extractor)), dist_reduce_fx="max")

    @in_one_sentence
    def update(self, images: Tensor, real: bool) -> None:
        """See more images.

        Args:
            images: (batch, channels, *spatial), uint8, or floats from 0 to 1.
            real: whether they are real, or those to be measured.
        """
        if not isinstance(images, Tensor):
            raise UndiffuseError(f"Images are a tensor (batch, channels, *spatial), got a {type(images).__name__}")
        if len(images):
            self._add("real" if real else "fake", self._outputs(images))

    @in_one_sentence
    def compute(self) -> Tensor:
        """The value, a float64 scalar.

        Raises:
            UndiffuseError: too few images on a side.
        """
        stored = {side: self._stored(side) for side in self.sides}
        for side, rows in stored.items():
            if not rows:
                raise UndiffuseError(
                    f"{type(self).__name__} has seen no {'real images' if side == 'real' else 'samples'}: "
                    f"update(images, real={side == 'real'}) comes before compute()"
                )
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.tensor(self._value(stored), dtype=exact, device=self.device)

    def forward(self, *args: Any, **options: Any) -> None:
        """The same as `update`: images of one side have no distance."""
        self.update(*args, **options)

    def reset(self) -> None:
        real = list(self.real) if "real" in self.sides else []  # it is emptied in place
        super().reset()
        if real and not self.reset_real_features:
            self.real = real

    def sync(self, *args: Any, **options: Any) -> None:
        for side in self.sides:
            if isinstance(state := getattr(self, side), list) and not state:  # torchmetrics' own would be a float32
                setattr(self, side, [_packed(torch.empty(0, 0, dtype=self.format)).to(self.device)])
        super().sync(*args, **options)

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Nothing: each state has the format that its numbers need."""
        return self

    @own_modes()
    def _outputs(self, images: Tensor) -> Outputs:
        if self._name and images.device != self._where:
            self._where = images.device
            self.extractor = _extractor(self._name, self._where)
        return extract(self.extractor, _unit(images).split(BATCH), len(images))

    def _add(self, side: str, outputs: Outputs) -> None:
        getattr(self, side).append(_packed(outputs.features).to(self.device))

    def _stored(self, side: str) -> list[Tensor]:
        """The matrices of a side, on the CPU; none where nothing was seen."""
        state = getattr(self, side)
        parts = state if isinstance(state, list) else [state]
        return [rows for part in parts for rows in _unpacked(part.cpu()) if len(rows)]

    def _value(self, stored: Mapping[str, list[Tensor]]) -> float:
        return self._measured(Outputs(torch.cat(stored["fake"])), Outputs(torch.cat(stored["real"]))).value

    def _measured(self, fake: Outputs, real: Outputs) -> Estimate:
        """By the row of `undiffuse evaluate`."""
        keys = [(row, [one.metric for one in row.measures]) for row in ROWS]
        row, names = next((row, names) for row, names in keys if self.metric in names)
        return row.compute(Compared(fake, real, self.seed))[names.index(self.metric)]


class FrechetDistance(_FeatureMetric):
    """The Frechet distance, FID on Inception's features; lower is better. It keeps moments, and no features."""

    higher_is_better = False
    metric = "frechet"
    format = torch.float64

    def _add(self, side: str, outputs: Outputs) -> None:
        together = _together([*map(_moments, self._stored(side)), outputs.moments])
        count = torch.full_like(together.mean, together.count)
        setattr(self, side, [_packed(torch.vstack([count, together.mean, together.scatter])).to(self.device)])

    def _value(self, stored: Mapping[str, list[Tensor]]) -> float:
        return frechet_distance(*(_together(list(map(_moments, stored[side]))) for side in ("fake", "real")))


class KernelDistance(_FeatureMetric):
    """The kernel distance, KID on Inception's features; lower is better."""

    higher_is_better = False
    metric = "kernel"


class Precision(_FeatureMetric):
    """The share of samples that lie among real images, from 0 to 1."""

    higher_is_better = True
    metric = "precision"


class Recall(_FeatureMetric):
    """The share of real images that lie among samples, from 0 to 1."""

    higher_is_better = True
    metric = "recall"


class Density(_FeatureMetric):
    """How crowded the places of real images are with samples: 1 where both are alike."""

    higher_is_better = True
    metric = "density"


class Coverage(_FeatureMetric):
    """The share of real images with a sample beside them, from 0 to 1."""

    higher_is_better = True
    metric = "coverage"


class InceptionScore(_FeatureMetric):
    """Whether classes are sure and varied, by an extractor with logits; higher is better. It heeds no real images."""

    higher_is_better = True
    metric = "inception_score"
    sides = ("fake",)

    @in_one_sentence
    def update(self, images: Tensor, real: bool = False) -> None:
        if not real:
            super().update(images, real)

    def _add(self, side: str, outputs: Outputs) -> None:
        if outputs.logits is None:
            raise UndiffuseError(
                f"InceptionScore needs an extractor that tells classes, and '{self.extractor.identity.name}' gives no "
                "logits"
            )
        super()._add(side, Outputs(outputs.logits))

    def _value(self, stored: Mapping[str, list[Tensor]]) -> float:
        logits = torch.cat(stored["fake"])
        samples = Outputs(logits, logits=logits)
        return self._measured(samples, samples).value


def _number(extractor: Extractor) -> int:
    """A number that tells extractors apart, in this process."""
    identity = extractor.identity
    own = id(extractor.function) if isinstance(extractor, _Given) else 0
    return zlib.crc32(f"{identity.name} {identity.sha256} {identity.resize} {own}".encode())


def _moments(rows: Tensor) -> Moments:
    """The moments that a state holds as a matrix (2 + D, D): the count in each place, the mean, the scatter."""
    return Moments(round(float(rows[0, 0])), rows[1], rows[2:])


def _together(parts: list[Moments]) -> Moments:
    return reduce(Moments.__add__, parts)


def _packed(rows: Tensor) -> Tensor:
    """A matrix, flat behind its two sides."""
    return torch.cat([torch.tensor(rows.shape, dtype=rows.dtype), rows.flatten()])


def _unpacked(flat: Tensor) -> list[Tensor]:
    """The matrices that `_packed` made flat, one behind the other."""
    found, start = [], 0
    while start < len(flat):
        count, width = (int(side) for side in flat[start : start + 2])
        end = start + 2 + count * width
        found.append(flat[start + 2 : end].reshape(count, width))
        start = end
    return found


def _unit(images: Tensor) -> Tensor:
    """Images as extractors take them: float32 in [0, 1].

    Raises:
        UndiffuseError: they are neither uint8 nor floats in that range.
    """
    if images.ndim < 3:
        raise UndiffuseError(f"Images are (batch, channels, *spatial), and these have the shape {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float() / torch.tensor(255.0, device=images.device)  # by a number, CUDA would multiply
    if not images.is_floating_point():
        raise UndiffuseError(f"Images are uint8, or floats from 0 to 1, and these are {str(images.dtype)[6:]}")
    low, high = images.min().item(), images.max().item()
    if low < 0 or high > 1:
        raise UndiffuseError(
            f"Images are uint8, or floats from 0 to 1, and these are floats from {low:g} to {high:g}: scale or clamp "
            "them"
        )
    return images.float()


@dataclass(frozen=True, eq=False)
class _Given:
    """A program's own module or function, which computes where the images are."""

    function: Callable[[Tensor], Answer]
    identity: Identity

    def __call__(self, images: Tensor) -> Outputs:
        inside = ModuleExtractor(self.function, self.identity, images.device)
        if not isinstance(self.function, nn.Module):
            return inside(images)
        with evaluation_mode(self.function.to(images.device)):
            return inside(images)


def _extractor(given: str | Extractor | Callable[[Tensor], Answer], device: torch.device) -> Extractor:
    if isinstance(given, str):
        return make_extractor(given, reference=None, device=device)
    if isinstance(getattr(given, "identity", None), Identity):
        return cast(Extractor, given)
    if not callable(given):
        raise UndiffuseError(
            f"An extractor is a name such as 'inception' or 'pixels', or a module from images to features; got a "
            f"{type(given).__name__}"
        )
    return _Given(given, Identity(getattr(given, "__name__", type(given).__name__), "", "left to the module"))
