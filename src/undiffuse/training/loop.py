"""The training loop: a generator that yields what every step did.

    x0, t, eps      drawn by functions of (seed, step), so that step 700 is the same in a resumed training
    loss            objective(denoiser, x0, t, eps) per sample, its mean differentiated
    gradient        clipped; the optimiser moves the weights, the averages follow
    yield           a StepResult: whoever iterates logs, draws samples, writes checkpoints

No printing and no files in here. Notable choices:

* The parts of an accumulated batch get slices of the noise and times of the whole batch, and the sum of their losses is
  divided by the whole batch: the gradient is the undivided one, up to float rounding (dropout masks aside).
* A loss or gradient that is not finite never reaches the weights, the optimiser's means or the averages.
* Among many processes each learns from its `BatchShard` of the batch. All numbers that are yielded are of the whole
  batch and equal in every process, so that all take or skip a step together.
* There is one wait for the device in a step, when its losses and its gradient norm are read. It is what decides
  whether the step may be taken, and it makes every yielded number an ordinary one. The next batch is made
  before that wait, while the device is still at work, so loading costs nothing as long as it is the faster of the two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from undiffuse.config.schema import TrainConfig
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.distillation.teacher import Drawing
from undiffuse.diffusion.losses import Loss, TimeLaw, draw_noise
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.networks.layers import LAYOUTS
from undiffuse.runtime.devices import send
from undiffuse.runtime.random_streams import generator, stream_seed
from undiffuse.runtime.threads import cut_rows
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.nonfinite import TOO_LARGE, first_non_finite
from undiffuse.training.optim.ema import Averages
from undiffuse.training.optim.optimizer import clip_gradient, set_learning_rate
from undiffuse.training.parallel.batch_shards import BatchShard
from undiffuse.training.parallel.threaded_gradients import ThreadedGradients
from undiffuse.training.step_plan import Plan

_MASK = "*mask"
"""Name of the mask among the rows of a batch, which no condition has."""
PATIENCE = 10
"""Steps in a row that may be skipped; one more stops the training."""


class NonFiniteError(UndiffuseError):
    """Too many steps in a row had a loss or gradient that was not finite."""


@dataclass(frozen=True)
class StepResult:
    """The outcome of one step."""

    step: int
    """Steps done, this one included: the first result has step 1."""
    images: int
    """Images seen, these included."""
    loss: float
    """Mean of the losses."""
    t: Tensor
    """Times of the batch, float64, shape (batch,)."""
    losses: Tensor
    """Loss of each sample at its t, float32 on the CPU, shape (batch,)."""
    lr: float
    """Learning rate of this step."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    skipped: bool
    """True where loss or gradient was not finite, so that nothing moved."""
    loading: float
    """Seconds spent making the next batch."""
    seconds: float
    """Seconds of the step in all, what the observers did excluded."""


@dataclass(frozen=True)
class TrainBatch:
    """Data, noise and conditions of one step, (batch, ...), or this process's share of them."""

    x0: Tensor
    eps: Tensor
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    """(batch, channels or 1, *spatial), 1 where a value counts; None where all do."""


@dataclass(frozen=True)
class HeldOut:
    """Images that are not learned.

    Args:
        count: of them.
        batch: ``numbers -> x0, conditions and mask`` of some of them, without noise.
    """

    count: int
    batch: Callable[[range], TrainBatch]


@dataclass
class TrainState:
    """Everything that a step changes."""

    network: nn.Module
    optimizer: Optimizer
    ema: Averages
    powers: Averages
    time_law: TimeLaw
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0


@dataclass(frozen=True)
class TrainStep:
    """Everything that a step needs and leaves as it is.

    Args:
        model: around the state's network; hooks see into its denoiser when a tensor that is not finite is sought.
        plan: how many steps, and what the learning rate is at each; it may change between two steps.
        denoiser: the model's, perhaps compiled.
        objective: what is minimised.
        images: ``step -> x0`` in model space, float32 of (mine, channels, *spatial): a pure function.
        whole_images: the same of the whole batch, for whoever wants to look at data.
        conditions: ``(step, x0) -> conditions`` of this process's images, some of them null.
        examples: what is said of a few images of the data, for grids of samples; by name, one a row.
        share: which samples of a batch are this process's.
        bfloat16: run the network's forward pass under bfloat16 autocast.
        team: threads that share the rows of a batch out among them; None for PyTorch's own way.
        held_out: images that are not learned; None where all are.
        masks: ``step -> mask`` of this process's images, see `diffusion.masking`; None where all values count.
    """

    model: Model
    plan: Plan
    denoiser: Denoiser
    objective: Loss
    images: Callable[[int], Tensor]
    whole_images: Callable[[int], Tensor]
    conditions: Callable[[int, Tensor], Mapping[str, Tensor]]
    examples: Mapping[str, Tensor]
    share: BatchShard
    bfloat16: bool = False
    team: ThreadedGradients | None = None
    masks: Callable[[int], Tensor] | None = None
    held_out: HeldOut | None = None

    @property
    def config(self) -> TrainConfig:
        return self.model.config

    @property
    def device(self) -> torch.device:
        return self.model.device

    def batch(self, step: int) -> TrainBatch:
        """The batch of a step: data and noise. The streams are CPU ones, so they are the same for any device."""
        x0, dice = self.images(step), generator(self.config.loop.seed, "noise", step)
        eps = draw_noise((self.share.batch, *x0.shape[1:]), dice, self.config.objective.offset_noise)
        told = {name: send(value, self.device) for name, value in self.conditions(step, x0).items()}
        mask = None if self.masks is None else send(self.masks(step), self.device)
        return TrainBatch(self._place(x0), self._place(self.share.take(eps)), told, mask)

    def drawn(self, batch: TrainBatch, t: Tensor, step: int) -> TrainBatch:
        """The batch with what the objective draws besides, among its conditions."""
        if not isinstance(self.objective, Drawing):
            return batch
        dice = generator(self.config.loop.seed, "objective", step)
        rows = self.objective.draw(self.denoiser.schedule, t, step / self.plan.total, dice)
        taken = {name: self.share.take(values) for name, values in rows.items()}
        return replace(batch, conditions={**batch.conditions, **taken})

    def _place(self, x: Tensor) -> Tensor:
        last = self.config.loop.channels_last and x.ndim in LAYOUTS
        return send(x.contiguous(memory_format=LAYOUTS[x.ndim]) if last else x, self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """The number format of the forward pass; the losses are float32 in either."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()


def training(train_step: TrainStep, train_state: TrainState) -> Iterator[StepResult]:
    """Take steps ``train_state.step`` .. ``train_step.plan.total - 1``, yielding a result after each.

    Between two results the state is at rest: it may be saved, and its network may be used for sampling.

    Raises:
        NonFiniteError: `PATIENCE` steps in a row were not finite; the message names the first tensor that was not.
    """
    began = time.perf_counter()
    following: TrainBatch | None = None
    while train_state.step < train_step.plan.total:
        step = train_state.step
        batch = following or train_step.batch(step)
        rate = train_step.plan.learning_rate(train_step.config.optimizer, step)
        # A law that learns wants the losses of the step before, so the times are drawn here, not with the batch.
        times = generator(train_step.config.loop.seed, "time", step)
        t = train_state.time_law.draw(train_step.denoiser.schedule, train_step.share.batch, times)
        weight = train_state.time_law.weight(t)
        batch = train_step.drawn(batch, t, step)
        per_sample = forward_backward(train_step, train_state.network, batch, t, weight, step)
        norm = clip_gradient(train_state.network.parameters(), train_step.config.optimizer.clip)

        before = time.perf_counter()
        following = train_step.batch(step + 1) if step + 1 < train_step.plan.total else None
        loading = time.perf_counter() - before

        numbers = train_step.share.merge(per_sample, norm)  # the wait for the device
        losses, grad_norm = numbers[:-1], numbers[-1].item()
        loss = (weight * losses).mean().item()
        skipped = not (math.isfinite(loss) and math.isfinite(grad_norm))
        if not skipped:
            set_learning_rate(train_state.optimizer, rate)
            train_state.optimizer.step()
            train_state.ema.update(step)
            train_state.powers.update(step)
            train_state.time_law.observe(t, losses)
        train_state.step += 1
        train_state.images += len(losses)
        train_state.skipped += skipped
        train_state.skipped_in_a_row = train_state.skipped_in_a_row + 1 if skipped else 0
        seconds = time.perf_counter() - began
        train_state.seconds += seconds
        progress = train_state.step, train_state.images
        yield StepResult(*progress, loss, t, losses, rate, grad_norm, skipped, loading, seconds)
        began = time.perf_counter()
        if train_state.skipped_in_a_row >= PATIENCE:
            eager = replace(train_step, denoiser=train_step.model.denoiser, team=None)
            again = partial(forward_backward, eager, train_state.network, batch, t, weight, step)
            where = train_step.share.first_found(first_non_finite(train_state.network, again), TOO_LARGE)
            raise NonFiniteError(
                f"step {train_state.step} was the {PATIENCE}th in a row whose loss or gradient was not finite; "
                f"the first tensor that was not: {where}"
            )


@own_modes()
def forward_backward(
    train_step: TrainStep, network: nn.Module, batch: TrainBatch, t: Tensor, weight: Tensor, step: int
) -> Tensor:
    """The losses of a batch on the device; their weighted mean's gradient is left in the parameters.

    gradient = 1 / B sum_i weight_i grad loss_i,    summed part by part where the batch is split

    Args:
        batch: this process's samples.
        t, weight: of the whole batch, shape (B,).

    Returns:
        Shape (mine,).
    """
    network.zero_grad(set_to_none=True)
    share, losses = train_step.share, []
    whole = len(t)
    t, weight = share.take(t), send(share.take(weight.float()), train_step.device)
    # nn.Dropout draws from torch's global stream and takes no generator. It gets a stream that is a function of
    # (seed, step, part), and the caller's stream is put back afterwards.
    with torch.random.fork_rng(devices=[train_step.device] if train_step.device.type == "cuda" else []):
        named = batch.conditions if batch.mask is None else {**batch.conditions, _MASK: batch.mask}
        rows = (batch.x0, t, batch.eps, weight / whole, *named.values())
        for part, piece in enumerate(zip(*(a.split(share.sizes) for a in rows), strict=True)):
            torch.manual_seed(stream_seed(train_step.config.loop.seed, "dropout", step, part))
            with share.part(part):
                losses.append(_learn(train_step, list(named), piece))
    return torch.cat(losses)


def _learn(train_step: TrainStep, names: list[str], rows: tuple[Tensor, ...]) -> Tensor:
    """The losses of rows of (x0, t, eps, weight, *conditions, *mask); the gradient of their sum joins the others'."""
    if train_step.team is None or len(rows[0]) < train_step.team.size:
        losses, total = _losses(train_step, names, rows)
        total.backward()
        return losses
    return torch.cat(train_step.team.run(partial(_losses, train_step, names), cut_rows(rows, train_step.team.size)))


def _losses(train_step: TrainStep, names: list[str], rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    x0, t, eps, weight, *values = rows
    told = dict(zip(names, values, strict=True))
    mask = told.pop(_MASK, None)
    with train_step.autocast():
        loss = train_step.objective(train_step.denoiser, x0, t, eps, told, mask)
    return loss.detach(), (weight * loss).sum()
