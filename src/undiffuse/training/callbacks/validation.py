"""The loss on images that nobody learned from: as the training goes, by quarter of t, and what follows from it.

    {"step": 500, "validation": {"loss": 0.021, "loss_by_quarter": [0.05, 0.02, 0.01, 0.004], "count": 512}}

It is the training's own objective, of the first average of the weights, at times evenly over the process with noise
that is the same at every look: so two looks differ by the weights alone. A loss that rises while that of the training
falls is one of a model that begins to know its images by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.checkpoints.model_file import to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.config.training import LoopConfig
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.losses import Loss, draw_noise
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.devices import send
from undiffuse.runtime.durable_files import replace_bytes
from undiffuse.runtime.random_streams import generator
from undiffuse.runtime.torch_modes import evaluation_mode, own_modes
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.intervals import Intervals
from undiffuse.training.callbacks.metrics import read_metrics
from undiffuse.training.loop import HeldOut, StepResult
from undiffuse.training.step_plan import Plan

MOST = 1024
"""Images at most: a look must not cost what a measurement does."""
LOOKS = 20
"""In a training that does not say every how many steps."""
BEST = "best.safetensors"
"""File of the run with the averaged weights of the least validation loss."""


@torch.no_grad()
@own_modes()
def validation_loss(
    objective: Loss, denoiser: Denoiser, held_out: HeldOut, batch: int, seed: int
) -> tuple[float, list[float | None]]:
    """The mean of the objective over held-out images, and over those of each quarter of t.

    Image i has t at the place (i + 1/2) / n of the times that training may draw, in an order that the seed decides.
    """
    schedule, count = denoiser.schedule, min(held_out.count, MOST)
    times = even_times(schedule, count, seed)
    losses = torch.cat(list(_losses(objective, denoiser, held_out, times, batch, seed))).double()
    quarter = (torch.ceil(4 * times / schedule.t_max) - 1).clamp(0, 3)
    by_quarter = [losses[quarter == k] for k in range(4)]
    return losses.mean().item(), [part.mean().item() if len(part) else None for part in by_quarter]


def even_times(schedule: Schedule, count: int, seed: int) -> Tensor:
    """Times evenly over the process, in an order that the seed decides, (count,)."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return schedule.from_uniform(places)[torch.randperm(count, generator=generator(seed, "validation", "time"))]


def _losses(
    objective: Loss, denoiser: Denoiser, held_out: HeldOut, times: Tensor, batch: int, seed: int
) -> Iterator[Tensor]:
    for first in range(0, len(times), batch):
        numbers = range(first, min(first + batch, len(times)))
        given = held_out.batch(numbers)
        dice = generator(seed, "validation", "noise", first)
        eps = send(draw_noise(tuple(given.x0.shape), dice, 0.0), given.x0.device)
        t = times[first : numbers.stop]
        yield objective(denoiser, given.x0, t, eps, given.conditions, given.mask).float().cpu()


class Validation(Callback):
    """Looks at the held-out loss, keeps the best weights, and ends a training in which nothing gets better.

    Args:
        held_out: the images.
        plan: of the steps; looks are at equal parts of it where the settings do not say every how many steps.
        intervals: whose clock times the looks, which are no part of a step.
        keep: writes the averaged weights of a training to a file.
    """

    def __init__(
        self,
        held_out: HeldOut,
        plan: Plan,
        loop: LoopConfig,
        intervals: Intervals,
        console: Console,
        keep: Callable[[Training, Path], None],
    ) -> None:
        self._held_out, self._plan, self._loop = held_out, plan, loop
        self._intervals, self._console, self._keep = intervals, console, keep
        self._best, self._since = math.inf, 0

    def begin(self, training: Training) -> None:
        """Find out from metrics.jsonl what the looks before this step have seen."""
        self._best, self._since = math.inf, 0
        for line in read_metrics(training.run.metrics, lambda line: "validation" in line):
            self._count(float(line["validation"]["loss"]))

    def due(self, step: int) -> bool:
        """Whether there is a look after this step: a function of the plan, the same in all processes."""
        every = self._loop.validate_every
        if step == self._plan.total:
            return True
        if every is not None:
            return step % every == 0
        return math.floor(self._plan.share(step) * LOOKS) > math.floor(self._plan.share(step - 1) * LOOKS)

    def step(self, training: Training, result: StepResult) -> None:
        if not self.due(result.step):
            return
        began = self._intervals.clock()
        loss, by_quarter = self.look(training)
        better = self._count(loss)
        if training.metrics:
            found: dict[str, Any] = {"loss": loss, "loss_by_quarter": by_quarter}
            found["count"] = min(self._held_out.count, MOST)
            training.metrics.write({"step": result.step, "validation": found})
        if better:
            self._keep(training, training.folder / BEST)
        self._intervals.looked(self._intervals.clock() - began)
        if self._loop.patience and self._since >= self._loop.patience and result.step < self._plan.total:
            training.stop(f"the validation loss has not fallen for {self._since} looks")

    def look(self, training: Training) -> tuple[float, list[float | None]]:
        """The loss of the averaged weights now."""
        model = training.averaged()
        with evaluation_mode(model.network):
            return validation_loss(
                training.train_step.objective, model.denoiser, self._held_out, self._loop.batch, self._loop.seed
            )

    def _count(self, loss: float) -> bool:
        """Count a look; whether it saw the least loss so far."""
        better = loss < self._best
        self._best, self._since = (loss, 0) if better else (self._best, self._since + 1)
        return better


def keep_best(training: Training, path: Path) -> None:
    """Write the averaged weights to a file that `undiffuse.load` opens, in place of what is there."""
    model, ema = training.second, training.config.ema.ema
    tensors = {name: tensor.detach() for name, tensor in model.network.state_dict().items()}
    saved = SavedModel.of(training.config, model.info, tensors, training.step, f"{ema[0]:g}")
    replace_bytes(path, to_bytes(saved, half=False))
