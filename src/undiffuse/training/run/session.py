"""One process's part of a training: the loop with its observers, on a run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from undiffuse.checkpoints.training_checkpoint import Checkpoint, latest, save
from undiffuse.errors import UndiffuseError, counted, quoted
from undiffuse.runtime.durable_files import replace_file
from undiffuse.runtime.rank_failure import is_lost, lost_ranks
from undiffuse.training.budget import StepCosts, measure_step, steps_that_fit, too_short
from undiffuse.training.build import to_checkpoint
from undiffuse.training.callbacks.callback import Callback, Training
from undiffuse.training.callbacks.checkpointing import CheckpointWriter, LoaderWatch
from undiffuse.training.callbacks.console import Console
from undiffuse.training.callbacks.ema_snapshots import Copies
from undiffuse.training.callbacks.intervals import GridCosts, Intervals
from undiffuse.training.callbacks.metrics import MetricsFile
from undiffuse.training.callbacks.previews import Previews, evaluation_seconds, preview_evaluations
from undiffuse.training.callbacks.progress_line import LiveLine, duration
from undiffuse.training.callbacks.trackers import Tracking
from undiffuse.training.callbacks.validation import Validation, keep_best
from undiffuse.training.loop import NonFiniteError, TrainState, TrainStep, training
from undiffuse.training.run.folder import RunFolder
from undiffuse.training.run.model_card import model_card
from undiffuse.training.run.plan_corrections import Corrections, Outset
from undiffuse.training.run.signals import Interrupts, StoppedError

MEASURING, MOST_MEASURING = 0.02, 3.0
"""Part of a budget in minutes that is spent on measuring the speed, and the most seconds: it is corrected later."""


def fit_minutes(
    run: RunFolder, train_state: TrainState, train_step: TrainStep, outset: Outset, console: Console
) -> tuple[int, Outset]:
    """The steps that fit into what is left of the budget in minutes, by what they are measured to cost.

    Among many processes it is rank 0 that measures and decides.
    """
    model, group, timer = train_step.model, train_step.share.group, outset.timer
    loop = model.config.loop
    assert loop.minutes is not None
    minutes = counted(loop.minutes, "minute")
    step = outset.step
    if not step:
        console.status("measuring the speed")
        step = measure_step(train_step, train_state, min(MEASURING * 60 * loop.minutes, MOST_MEASURING), timer.clock)
    evaluation, preview = None, 0.0
    if loop.sample_every != 0:
        evaluation = evaluation_seconds(model, train_step.whole_images, train_step.examples, timer.clock)
        costs = GridCosts(loop.sample_count, partial(preview_evaluations, model), lambda: 0.0, evaluation)
        preview = costs.seconds(loop.sample_count if loop.sample_every else costs.at_end(60 * loop.minutes))
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
    train_state: TrainState,
    train_step: TrainStep,
    outset: Outset,
    console: Console,
    others: Sequence[Callback] = (),
) -> None:
    """Train from the state's step to the last one, on a run whose lock is held.

    Args:
        others: callbacks of the program, called after the training's own.
    """
    model, plan, group, timer = train_step.model, train_step.plan, train_step.share.group, outset.timer
    loop, interrupts = model.config.loop, Interrupts(group)
    metrics = previews = None
    costs = GridCosts(
        loop.sample_count,
        partial(preview_evaluations, model),
        lambda: previews.evaluation() if previews else 0.0,
        outset.evaluation,
    )
    intervals = Intervals(loop, plan, timer, group, costs, outset.checkpoint)
    if group.is_main:
        t_max = train_step.denoiser.schedule.t_max
        metrics = MetricsFile(run.metrics, train_state.step, outset.window, loop.log_every, plan, t_max)
    seen = Training(run, train_state, train_step, metrics)
    listening: list[Callback] = []
    if metrics:
        previews = Previews(seen, metrics, intervals, console, interrupts)
        listening = [Tracking(run, model.config, train_state.step, console), *others]
        metrics.listeners += [partial(callback.line, seen) for callback in listening]
    budget = 60 * loop.minutes if loop.minutes is not None and plan.decisions else None
    corrections = Corrections(plan, outset, budget, intervals, metrics, console)

    def state() -> Checkpoint:
        return to_checkpoint(train_state, model, plan, metrics.window if metrics else (), timer.spent)

    def before_save(checkpoint: Checkpoint) -> None:
        assert metrics is not None
        metrics.sync()
        replace_file(run.card, model_card(run.path, model, checkpoint.state, metrics.last))

    # The checkpoint comes last, so that the lines and the grid of its step are there before it is.
    writer = CheckpointWriter(
        run.checkpoints, intervals, loop.keep, state, before_save, interrupts, group.is_main, listening
    )
    callbacks: list[Callback] = [Copies(run.averages, model, train_state.powers, plan, group.is_main), writer]
    validation = None
    if train_step.held_out:
        validation = Validation(train_step.held_out, plan, loop, intervals, console, keep_best)
    if metrics and previews:
        own = [metrics, LiveLine(console, plan), LoaderWatch(console), previews]
        callbacks[:0] = [*own, *([validation] if validation else []), *listening]
    may_end = bool(others or (validation and loop.patience))

    def put_together(step: int) -> None:
        """Collect sharded averages, in all processes, before rank 0 looks at them."""
        looked_at = intervals.samples or others or (validation and validation.due(step))
        if looked_at and loop.parallel == "fsdp" and not group.is_single:
            train_state.ema.collect(next(iter(train_state.ema.averages)))

    began = time.monotonic()
    try:
        with interrupts.listening():
            intervals.again(train_state.step)
            put_together(train_state.step)
            if previews:
                previews.catch_up(train_state.step)
            for callback in callbacks:
                callback.begin(seen)
            corrections.begin(train_state.step)
            for result in training(train_step, train_state):
                interrupts.agree()
                intervals(result.step)
                put_together(result.step)
                for callback in callbacks:
                    callback.step(seen, result)
                if interrupts.requested is not None and result.step < plan.total:
                    group.barrier()  # until rank 0 has saved
                    raise StoppedError(
                        f"stopped at step {result.step:,} of {plan.total:,}, saved in {writer.last}; "
                        f"go on with: undiffuse train --resume {quoted(run.path)}",
                        interrupts.requested,
                    )
                corrections(result.step, (lambda: seen.ending) if may_end else None)
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
            f"part(s): a higher `accumulate` needs less for the same result; a lower `batch` or "
            f"`{model.config.network.SIZES[0]}` needs less"
        ) from error
    finally:
        try:
            for callback in callbacks:
                callback.end(seen)
        finally:
            console.close()
    if loop.sample_every is None and not intervals.samples:
        console.say(
            f"no samples were drawn, for one would have taken too long: undiffuse sample {quoted(run.path)} draws them"
        )
    console.say(f"trained to step {plan.total:,} in {duration(time.monotonic() - began)}")
    if warning := too_short(model.config, plan.total, train_state.seconds / train_state.step):
        console.say(f"warning: {warning}")


def out_of_memory(error: Exception) -> bool:
    """True where a device, perhaps the CPU, says that it has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
