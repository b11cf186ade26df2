"""The measurements behind ``undiffuse bench``: of a step, of an evaluation, of the machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from undiffuse.config.files import override
from undiffuse.config.network import PrecisionName
from undiffuse.config.sampling import Compute
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import learning_settings
from undiffuse.model import Model, build_model
from undiffuse.model.cascade import check_alone
from undiffuse.recipes import get_recipe
from undiffuse.reports.speed.clock import ceiling, median_seconds, peak_memory, seconds_of
from undiffuse.reports.speed.flops import flops
from undiffuse.reports.speed.operator_kinds import shares
from undiffuse.runtime.devices import choose_device
from undiffuse.runtime.precision import uses_bfloat16
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import StepResult, training

SHAPES = ((1, 28, 28), (3, 32, 32), (3, 256, 256))
"""Shapes that a recipe is tried on where none is given: the first that it takes."""
IMAGES = 256
"""Random images that stand for a data set: what they show does not change the speed."""
ENDLESS = 1_000_000_000
FORMATS: dict[PrecisionName, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class RandomData:
    """Random bytes in the place of a prepared data set."""

    info: DataInfo
    images: np.ndarray
    labels: np.ndarray | None = None
    numbers: np.ndarray | None = None
    pairs: np.ndarray | None = None

    def vectors(self) -> np.ndarray | None:
        return self.numbers

    def texts(self) -> list[str]:
        """A text for each image, of a usual length."""
        return ["a picture of something that is not there"] * len(self.images)


@dataclass(frozen=True)
class Compilation:
    """The cost of --compile and its gain."""

    first: float
    """Seconds of the first call, in which it compiles; less where the compiler's cache on disk knows the network."""
    eager: float
    """Seconds of a call without it."""
    compiled: float
    """Seconds of a later call with it."""

    @property
    def gain(self) -> float:
        return self.eager / self.compiled

    @property
    def pays_from(self) -> float:
        """Calls, the first included, from which on it is not slower altogether; infinite where it never pays.

        first + (n - 1) compiled <= n eager
        """
        saved = self.eager - self.compiled
        return max(math.ceil((self.first - self.compiled) / saved), 1) if saved > 0 else math.inf


@dataclass(frozen=True)
class Bench:
    """The measurements. Seconds are medians; a rate of images is of the batch over its seconds."""

    name: str
    device: str
    threads: int
    precision: PrecisionName
    """Of training."""
    sampling_precision: PrecisionName
    parameters: int
    shape: tuple[int, ...]
    batch: int
    step_seconds: float
    """Of a whole training step: batch, forward, backward, clipping, optimiser, averages."""
    loading_share: float
    """Part of the step that was spent on making the next batch, of images in memory: no disk is measured."""
    step_flops: int
    micro_batch: int
    evaluation_seconds: float
    """Of one evaluation on a micro-batch, exactly as samples are drawn."""
    evaluation_flops: int
    evaluations: int
    """Of an image, by the default sampler."""
    ceilings: dict[PrecisionName, float]
    """FLOP/s of a large matrix product by number format, measured here."""
    peak_memory: int
    """Bytes."""
    kinds: dict[str, float]
    """Part of a step's operators' time by kind."""
    compiled_step: Compilation | None = None
    """Where it was asked for."""
    compiled_evaluation: Compilation | None = None
    """Where it was asked for."""

    @property
    def step_share(self) -> float:
        """Part of the ceiling of its number format that training reaches."""
        return self.step_flops / self.step_seconds / self.ceilings[self.precision]

    @property
    def evaluation_share(self) -> float:
        """Part of the ceiling of its number format that sampling reaches."""
        return self.evaluation_flops / self.evaluation_seconds / self.ceilings[self.sampling_precision]

    @property
    def seconds_per_image(self) -> float:
        """To draw one image, by the default sampler in full micro-batches."""
        return self.evaluations * self.evaluation_seconds / self.micro_batch

    def to_json(self) -> dict[str, Any]:
        derived = ("step_share", "evaluation_share", "seconds_per_image")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def recipe_model(name: str, shape: tuple[int, ...] | None, device: str, **overrides: Any) -> Model:
    """A new model by a recipe's settings, for data of a shape.

    Args:
        shape: (channels, *spatial); by default the first of `SHAPES` that the recipe takes.
        overrides: settings by their flat names.

    Raises:
        UndiffuseError: no such recipe, or none of the shapes is for it.
    """
    build, refusal = get_recipe(name).build, None
    for candidate in [shape] if shape else SHAPES:
        info = made_info(candidate)
        try:
            config = override(build(info), **overrides)
        except UndiffuseError as error:
            refusal = error
            continue
        return build_model(config, info).to(choose_device(device))
    assert refusal is not None
    raise refusal


def made_info(shape: tuple[int, ...]) -> DataInfo:
    zeros, ones = (0.0,) * shape[0], (0.577,) * shape[0]
    return DataInfo("random bytes", "0" * 64, IMAGES, shape, "uint8", 0.0, 255.0, zeros, ones)


@own_modes()
def bench(
    model: Model,
    name: str,
    *,
    seconds: float = 20.0,
    batch: int | None = None,
    precision: PrecisionName | None = None,
    compiles: bool = False,
    seed: int = 0,
) -> Bench:
    """Measure a model on its device; its weights are left as they were, its gradients are not.

    Args:
        name: of the model in the result.
        seconds: to spend in all, about; small values measure less well.
        batch: images a step; by default that of the model's settings.
        precision: of training and sampling; by default that of the model's settings, and that of sampling.
        compiles: measure what --compile takes and saves, too, which takes minutes more.
    """
    check_alone(model, "a benchmark")
    config = _settings(model, batch, precision)
    # Before and after the work: the machine may be busy at one of the two, and a ceiling is what it can at best.
    before = ceilings(model.device, 0.05 * seconds)
    twin = build_model(config, model.info).to(model.device)
    results = _steps(twin, seed)
    step = median_seconds(lambda: next(results), model.device, 0.4 * seconds)
    loading = [next(results) for _ in range(3)]
    kinds = shares(lambda: next(results), model.device)
    device = model.device
    plan = model.plan(precision=precision or Compute.precision)
    settings = plan.settings
    x = torch.randn(settings.compute.slots, *model.shape).to(device)
    t = torch.tensor(model.schedule.t_max / 2, dtype=torch.float64)
    model.network.eval()
    denoiser = plan.denoiser(range(plan.micro_batch))
    compiled_step = compiled_evaluation = None
    with torch.no_grad():
        evaluation = median_seconds(lambda: denoiser(x, t), device, 0.3 * seconds)
        if compiles:
            faster = model.plan(settings, compile=True).denoiser(range(plan.micro_batch))
            compiled_evaluation = compilation(lambda: denoiser(x, t), lambda: faster(x, t), device, 0.6 * seconds)
    if compiles:
        others = _steps(replace(twin, config=override(config, compile=True)), seed)
        compiled_step = compilation(lambda: next(results), lambda: next(others), device, 0.8 * seconds)
    return Bench(
        name=name,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        precision="bfloat16" if uses_bfloat16(config.loop.precision, device) else "float32",
        sampling_precision=settings.compute.precision,
        parameters=sum(p.numel() for p in model.network.parameters()),
        shape=model.info.shape,
        batch=config.loop.batch,
        step_seconds=step,
        loading_share=sum(r.loading for r in loading) / sum(r.seconds for r in loading),
        step_flops=flops(model.network, model.shape, config.loop.batch, backward=True),
        micro_batch=settings.compute.slots,
        evaluation_seconds=evaluation,
        evaluation_flops=flops(model.network, model.shape, settings.compute.slots),
        evaluations=settings.solver.steps,
        ceilings={name: max(rate, before[name]) for name, rate in ceilings(device, 0.05 * seconds).items()},
        peak_memory=peak_memory(device),
        kinds=kinds,
        compiled_step=compiled_step,
        compiled_evaluation=compiled_evaluation,
    )


def ceilings(device: torch.device, budget: float) -> dict[PrecisionName, float]:
    return {name: ceiling(device, dtype, budget) for name, dtype in FORMATS.items()}


def compilation(
    eager: Callable[[], object], compiled: Callable[[], object], device: torch.device, budget: float
) -> Compilation:
    """Measure the same work without and with the compiler, for about ``budget`` seconds after its first call.

    They take turns, so that a machine whose speed wanders does not decide.
    """
    first = seconds_of(compiled, device)
    for _ in range(2):  # on CUDA, graphs are recorded in these
        eager(), compiled()
    began, pairs = time.perf_counter(), list[tuple[float, float]]()
    while len(pairs) < 3 or time.perf_counter() - began < budget:
        pairs.append((seconds_of(eager, device), seconds_of(compiled, device)))
    return Compilation(first, *map(statistics.median, zip(*pairs, strict=True)))


def _settings(model: Model, batch: int | None, precision: PrecisionName | None) -> TrainConfig:
    own = model.config.loop
    given = {"batch": batch or own.batch, "precision": precision or own.precision}
    return override(learning_settings(model.trained_config), **given, steps=ENDLESS, images=None, minutes=None)


def _data(info: DataInfo, seed: int) -> RandomData:
    dice = np.random.default_rng(stream_seed(seed, "bench"))
    images = dice.integers(0, 256, (IMAGES, *info.shape), np.uint8)
    labels = dice.integers(0, len(info.classes), IMAGES) if info.classes else None
    numbers = dice.random((IMAGES, len(info.vectors)), np.float32) if info.vectors else None
    pairs = dice.integers(0, 256, (IMAGES, *info.pair.shape), np.uint8) if info.pair else None
    return RandomData(replace(info, count=IMAGES, dtype="uint8", low=0.0, high=255.0), images, labels, numbers, pairs)


def _steps(model: Model, seed: int) -> Iterator[StepResult]:
    return training(make_train_step(model, _data(model.info, seed), ENDLESS), make_train_state(model))
