"""One process's part of a training: the loop with its observers, on a run's folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from undiffuse.checkpoints.training_checkpoint import Checkpoint, latest, save
from undiffuse.errors import UndiffuseError, counted, quoted
from undiffuse.model import Model
from undiffuse.runtime.durable_files import replace_file
from undiffuse.runtime.rank_failure import is_lost, lost_ranks
from undiffuse.training.budget import StepCosts, measure_step, steps_that_fit, too_short
from undiffuse.training.build import state_of, to_checkpoint
from undiffuse.training.callbacks.checkpointing import CheckpointWriter, Collector, LoaderWatch, Observer
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.ema_snapshots import Copies
from undiffuse.training.callbacks.intervals import Drawing, Intervals, last_samples
from undiffuse.training.callbacks.metrics import MetricsFile
from undiffuse.training.callbacks.previews import Previews, evaluation_seconds, preview_evaluations
from undiffuse.training.callbacks.progress_line import LiveLine, duration
from undiffuse.training.callbacks.reporting import Reporting
from undiffuse.training.callbacks.trackers import Tracking
from undiffuse.training.loop import NonFiniteError, TrainState, TrainStep, training
from undiffuse.training.pace import Pace, Timer
from undiffuse.training.run.corrections import Corrections
from undiffuse.training.run.folder import RunFolder
from undiffuse.training.run.model_card import model_card
from undiffuse.training.run.replay import NOTHING, Recorded
from undiffuse.training.run.signals import Interrupts, StoppedError

MEASURING, MOST_MEASURING = 0.02, 3.0
"""Part of a budget in minutes that is spent on measuring the speed, and the most seconds: it is corrected later."""


@dataclass(frozen=True)
class Outset:
    """What is known when a training begins or goes on.

    Args:
        timer: of the budget.
        step: seconds of a step; 0 where that is not known.
        evaluation: seconds of an evaluation for grids.
        checkpoint: seconds of one.
        recorded: decisions to be repeated.
        budget: that a run goes on with, by flat name, if it was given anew.
    """

    timer: Timer = field(default_factory=Timer)
    step: float = 0.0
    evaluation: float | None = None
    checkpoint: float = 0.0
    recorded: Recorded = NOTHING
    budget: dict[str, Any] | None = None


def fit_minutes(
    run: RunFolder, model: Model, train_state: TrainState, train_step: TrainStep, outset: Outset, console: Console
) -> tuple[int, Outset]:
    """The steps that fit into what is left of the budget in minutes, by what they are measured to cost.

    Among many processes it is rank 0 that measures and decides.
    """
    loop, group, timer = model.config.loop, train_step.share.group, outset.timer
    assert loop.minutes is not None
    minutes = counted(loop.minutes, "minute")
    step = outset.step
    if not step:
        console.status("measuring the speed")
        step = measure_step(train_step, train_state, min(MEASURING * 60 * loop.minutes, MOST_MEASURING), timer.clock)
    evaluation, preview, samples = None, 0.0, loop.sample_count
    if loop.sample_every != 0:
        evaluation = evaluation_seconds(model, train_step.whole_images, train_step.examples, timer.clock)
        if loop.sample_every is None:
            cost = partial(preview_evaluations, model)
            samples = last_samples(60 * loop.minutes, loop.sample_count, evaluation, cost)
        preview = evaluation * preview_evaluations(model, samples)
    began = timer.clock()
    trial = to_checkpoint(train_state, model, total=1)
    outset = replace(outset, step=step, evaluation=evaluation)

    def decide() -> str:
        # Under the name of an unfinished checkpoint, so that the next start removes it if this one is killed here.
        save(trial, run.checkpoints / ".partial-trial")
        checkpoint = timer.clock() - began
        total = steps_that_fit(loop, StepCosts(step, preview, checkpoint), timer.spent)
        console.say(f"a step takes {step:.3g} s: {counted(total, 'step')} fit into {minutes}")
        return json.dumps([total, timer.spent, checkpoint])

    total, spent, checkpoint = json.loads(group.broadcast_text(decide))
    timer.spent = spent
    return total, replace(outset, checkpoint=checkpoint)


def run_training(
    run: RunFolder,
    model: Model,
    train_state: TrainState,
    train_step: TrainStep,
    window: tuple[float, ...],
    console: Console,
    outset: Outset | None = None,
) -> None:
    """Train from the state's step to the last one, on a run whose lock is held.

    Args:
        window: what the checkpoint at the state's step held of `metrics.Window`.
        outset: what is known of the time; by default the budget begins now.

    Raises:
        StoppedError: a signal asked to stop; the state is saved.
        NonFiniteError: too many steps in a row were not finite.
        UndiffuseError: memory or disk ran out.
    """
    outset = outset or Outset()
    loop, plan, group, timer = model.config.loop, train_step.plan, train_step.share.group, outset.timer
    interrupts = Interrupts(group)
    metrics = previews = tracking = None
    cost = Drawing(lambda: previews.evaluation() if previews else 0.0, partial(preview_evaluations, model))
    intervals = Intervals(loop, plan, timer, group, cost, outset.evaluation, outset.checkpoint)
    reporting = Reporting(console)
    if group.is_main:
        metrics = MetricsFile(
            run.metrics, train_state.step, window, loop.log_every, plan, train_step.denoiser.schedule.t_max
        )
        reporting = Reporting(console, metrics)
        previews = Previews(run, train_state, train_step, model, intervals, reporting, interrupts)
        tracking = Tracking(run, model.config, train_state.step, console)
        metrics.listeners.append(tracking.line)
    budget = 60 * loop.minutes if loop.minutes is not None and plan.decisions else None
    pace = Pace(plan, timer, budget, outset.step) if group.is_main and budget else None
    replay = outset.recorded, outset.budget
    corrections = Corrections(plan, timer, pace, budget, replay, intervals, reporting)

    def state() -> Checkpoint:
        return to_checkpoint(train_state, model, plan, metrics.window.to_tuple() if metrics else (), timer.spent)

    def before_save() -> None:
        assert metrics is not None
        metrics.sync()
        replace_file(run.card, model_card(run.path, model, state_of(train_state, plan), metrics.last))

    writer = CheckpointWriter(run.checkpoints, intervals, loop.keep, state, before_save, interrupts, group.is_main)
    # Sharded averages are put together before a grid is drawn from them. The checkpoint comes last, so that the lines
    # and the grid of its step are there before it is.
    collector = Collector(train_state.ema, intervals, sharded=not group.is_single and loop.parallel == "fsdp")
    copies = Copies(run.averages, model, train_state.powers, plan, group.is_main)
    observers: list[Observer] = [collector, copies, writer]
    if metrics and previews:
        observers[1:1] = [metrics, LiveLine(console, plan), LoaderWatch(console), previews]
    began = time.monotonic()
    try:
        with interrupts.listening():
            intervals.again(train_state.step)
            collector.collect_if_due()
            if previews:
                previews.catch_up(train_state.step)
            corrections.begin(train_state.step)
            for result in training(train_step, train_state):
                interrupts.agree()
                intervals(result.step)
                for observe in observers:
                    observe(result)
                if interrupts.requested is not None and result.step < plan.total:
                    group.barrier()  # until rank 0 has saved
                    raise StoppedError(
                        f"stopped at step {result.step:,} of {plan.total:,}, saved in {writer.last}; "
                        f"go on with: undiffuse train --resume {quoted(run.path)}",
                        interrupts.requested,
                    )
                corrections(result.step)
    except NonFiniteError as error:
        hint = " or with `precision=float32`" if train_step.bfloat16 else ""
        message = f"{error}; the last good checkpoint is {latest(run.checkpoints)[0]}; "
        raise NonFiniteError(f"{message}start again with an `lr` below {model.config.optimizer.lr:g}{hint}") from None
    except (RuntimeError, MemoryError) as error:
        if not group.is_single and is_lost(error):
            advice = (
                f"the checkpoints are whole: go on with torchrun ... -m undiffuse train --resume {quoted(run.path)}"
            )
            raise lost_ranks(group, advice) from error
        if not out_of_memory(error):
            raise
        raise UndiffuseError(
            f"memory ran out on {model.device} with a batch of {loop.batch} in {model.config.optimizer.accumulate} "
            "part(s): a higher `accumulate` needs less for the same result; a lower `batch` or `base` needs less"
        ) from error
    finally:
        if tracking:
            tracking.close()
        console.close()
    if loop.sample_every is None and not intervals.samples:
        console.say(
            f"no samples were drawn, for one would have taken too long: undiffuse sample {quoted(run.path)} draws them"
        )
    console.say(f"trained to step {plan.total:,} in {duration(time.monotonic() - began)}")
    if warning := too_short(model.config, plan.total, train_state.seconds / train_state.step):
        console.say(f"warning: {warning}")


def out_of_memory(error: Exception) -> bool:
    """Whether this is how a device, the CPU among them, says that it has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
