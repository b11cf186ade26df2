"""Samples as the training goes: a grid from fixed noise, and their statistics beside the data's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditioning.low_resolution import SmallImages, downsample
from undiffuse.config.sampling import SampleConfig, Solver
from undiffuse.config.schema import TrainConfig
from undiffuse.config.students import walking_student
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model import Model
from undiffuse.model.plan import SamplePlan
from undiffuse.model.resolve import resolve
from undiffuse.model.samples import Samples
from undiffuse.provenance.png import write_png
from undiffuse.recipes import advised_sampling
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.intervals import Intervals
from undiffuse.training.callbacks.metrics import MetricsFile
from undiffuse.training.callbacks.random_feature_distance import Images, Proxy
from undiffuse.training.loop import StepResult
from undiffuse.training.run.signals import Interrupts
from undiffuse.visualization.grid import grid, to_image

PREVIEW_STEPS = 50
"""Most steps of the sampler for a grid: a look must not cost what a measurement does."""


def preview_settings(config: TrainConfig) -> SampleConfig:
    """Settings for grids: the recipe's advice where that is quick, else the defaults."""
    advised = advised_sampling(config)
    if advised.solver.steps <= PREVIEW_STEPS or walking_student(config):
        return advised
    return SampleConfig.of(steps=min(Solver.steps, config.diffusion.timesteps))


class Previews(Callback):
    """Draws a grid when it is time, which is also at the end, with the first average of the weights.

    The noise is that of the run's seed, the same each time, so the grids show the same pictures getting better. Each
    grid's line in metrics.jsonl holds its statistics and its `Proxy` distance from the data. Drawing takes nothing from
    the training's random streams.
    """

    def __init__(
        self,
        training: Training,
        metrics: MetricsFile,
        intervals: Intervals,
        console: Console,
        interrupts: Interrupts,
    ) -> None:
        train_step = training.train_step
        self._images, self._examples = train_step.whole_images, train_step.examples
        self._training, self._run, self._plan, self._intervals = training, training.run, train_step.plan, intervals
        self._metrics, self._console, self._interrupts = metrics, console, interrupts
        self._count, self._seed = training.config.loop.sample_count, training.config.loop.seed

    def step(self, training: Training, result: StepResult) -> None:
        self.draw_if_due(result.step)

    def draw_if_due(self, step: int) -> None:
        if count := self._intervals.samples:
            began = self._intervals.clock()
            self._interrupts.attempt(lambda: self._draw(step, count))
            self._intervals.drawn(step, self._intervals.clock() - began)

    def _draw(self, step: int, count: int) -> None:
        self._console.status(f"step {step:,}/{self._plan.total:,}  drawing {counted(count, 'sample')}")
        self._training.averaged()
        try:
            began = self._intervals.clock()
            samples = self._drawing.sample(count, self._seed)
        except UndiffuseError as error:
            self._console.say(f"no samples at step {step}: {error}")
            return
        finally:
            self._intervals.sampled(count, self._intervals.clock() - began)
        mean, std = statistics(samples)
        fewer = {"count": count} if count < self._count else {}
        line: dict[str, Any] = {"step": step, "samples": {"mean": mean, "std": std, **fewer}}
        line["data"] = {"mean": list(samples.info.mean), "std": list(samples.info.std)}
        if count == self._count and self._proxy is not None:
            distance, floor = self._proxy(codec_of(samples.info).encode(samples.array)), self._proxy.floor
            line["proxy"] = {"distance": distance, "floor": floor}
            beside = "" if floor is None else f", where data have {floor:.4f}"
            self._console.say(f"step {step}: the samples' proxy distance from the data is {distance:.4f}{beside}")
        images = [to_image(array, samples.info) for array in samples.array]
        write_png(
            self._run.sample(step), grid(images), overwrite=True, sheet=f"a grid of {counted(len(images), 'sample')}"
        )
        self._metrics.write(line)
        if 2 * step >= self._plan.total and (warning := drift(mean, samples.info)):
            self._console.say(f"step {step}: {warning}")

    @cached_property
    def _drawing(self) -> SamplePlan:
        return preview_plan(self._training.second, self._images, self._examples)

    @cached_property
    def _proxy(self) -> Proxy | None:
        """Made at the first grid, so that a training without grids pays nothing for it."""
        return Proxy.of(self._images, self._training.model.info.count, self._training.config.loop.batch, self._count)

    def evaluation(self) -> float:
        """Seconds of one evaluation of the network on a micro-batch, by a look at the second one."""
        return evaluation_seconds(self._training.second, self._images, self._examples, self._intervals.clock)

    def catch_up(self, step: int) -> None:
        """Draw the grid of the step that a training goes on from, if a signal had broken it off."""
        if not self._run.sample(step).exists():
            self.draw_if_due(step)


def preview_plan(
    model: Model, images: Images, examples: Mapping[str, Tensor], settings: SampleConfig | None = None
) -> SamplePlan:
    """The plan of a grid, by the conditions of the data's images; of a stage upon those images, made smaller.

    Args:
        images: the training's batches; the first ones are used.
        settings: by default `preview_settings`.
    """
    upscale, count = model.config.conditions.upscale, model.config.loop.sample_count
    low_res = None
    if upscale > 1:
        first = images(0)
        batches = [first, *(images(step) for step in range(1, math.ceil(count / len(first))))]
        low_res = SmallImages(downsample(torch.cat(batches)[:count], upscale))
    return model.plan(settings or preview_settings(model.config), low_res=low_res, examples=examples)


def preview_evaluations(model: Model, samples: int) -> int:
    """Evaluations of the network, each on a micro-batch, for a grid of so many samples."""
    settings = resolve(model, preview_settings(model.config))
    return math.ceil(samples / settings.compute.slots) * settings.solver.steps


def evaluation_seconds(
    model: Model, images: Images, examples: Mapping[str, Tensor], clock: Callable[[], float]
) -> float:
    """Seconds of one evaluation on a micro-batch; the first one, which is not timed, may compile and allocate."""
    student = walking_student(model.config)
    steps = min(student.student_steps) if student else 1
    plan = preview_plan(model, images, examples, SampleConfig.of(steps=steps))
    plan.sample(1)
    began = clock()
    plan.sample(1)
    return (clock() - began) / steps


def statistics(samples: Samples) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in model space."""
    x = codec_of(samples.info).encode(samples.array).double().movedim(1, 0).flatten(1)
    return [round(v, 6) for v in x.mean(1).tolist()], [round(v, 6) for v in x.std(1, correction=0).tolist()]


def drift(mean: list[float], info: DataInfo) -> str:
    """A warning where the samples' mean is more than half a standard deviation of the data from the data's; or ''."""
    distance = np.abs(np.subtract(mean, info.mean))
    channel = int(np.argmax(distance - 0.5 * np.array(info.std)))
    if distance[channel] <= 0.5 * info.std[channel]:
        return ""
    return (
        f"the samples' mean in channel {channel} is {mean[channel]:.2f}, the data's {info.mean[channel]:.2f} "
        "(-1 is black, 1 white): if that stays, try a smaller `lr`, `offset_noise=0.1` or `zero_terminal_snr`"
    )
