"""One process's part of a training: the loop with its observers, on a run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from undiffuse.checkpoint import Checkpoint, latest, save
from undiffuse.distributed import is_lost
from undiffuse.errors import UndiffuseError
from undiffuse.files import replace_file
from undiffuse.model import Model
from undiffuse.training.budget import Clock, Costs, measure_step, steps_that_fit
from undiffuse.training.card import model_card
from undiffuse.training.console import Console
from undiffuse.training.copies import Copies
from undiffuse.training.live import LiveLine, duration
from undiffuse.training.loop import Learner, NonFiniteError, Task, training
from undiffuse.training.metrics import MetricsFile
from undiffuse.training.observers import CheckpointWriter, Collector, LoaderWatch, Observer
from undiffuse.training.previews import Previews, over_data, preview_evaluations
from undiffuse.training.run import RunFolder
from undiffuse.training.setup import capture, state_of
from undiffuse.training.signals import Interrupts, StoppedError
from undiffuse.training.tracking import Tracking

MEASURING = 0.02
"""Part of a budget in minutes that is spent on measuring the speed."""


def fit_minutes(
    run: RunFolder, model: Model, learner: Learner, task: Task, started: float, console: Console, clock: Clock
) -> int:
    """The steps that fit into the budget in minutes, which began at ``started``, by what they are measured to cost.

    Among many processes it is rank 0 that measures and decides.
    """
    loop, group = model.config.loop, task.share.group
    assert loop.minutes is not None
    console.status("measuring the speed")
    step = measure_step(task, learner, MEASURING * 60 * loop.minutes, clock)
    preview = 0.0
    if loop.sample_every:
        drawing = over_data(model, task.whole_images, task.examples)
        drawing.sample(1, steps=1)
        preview = preview_evaluations(model.config) * _timed(lambda: drawing.sample(1, steps=1), clock)
    began = clock()
    trial = capture(learner, model, total=1)

    def decide() -> str:
        # Under the name of an unfinished checkpoint, so that the next start removes it if this one is killed here.
        save(trial, run.checkpoints / ".partial-trial")
        total = steps_that_fit(loop, Costs(step, preview, clock() - began), clock() - started)
        console.say(f"a step takes {step:.3g} s: {total:,} steps fit into {loop.minutes:g} minutes")
        return str(total)

    return int(group.told(decide))


def _timed(work: Callable[[], object], clock: Clock) -> float:
    began = clock()
    work()
    return clock() - began


def carry_out(
    run: RunFolder, model: Model, learner: Learner, task: Task, window: tuple[float, ...], console: Console
) -> None:
    """Train from the learner's step to the last one, on a run whose lock is held.

    Args:
        window: what the checkpoint at the learner's step held of `metrics.Window`.

    Raises:
        StoppedError: a signal asked to stop; the state is saved.
        NonFiniteError: too many steps in a row were not finite.
        UndiffuseError: memory or disk ran out.
    """
    loop, total, group = model.config.loop, task.total, task.share.group
    interrupts = Interrupts(group)
    metrics = previews = tracking = None
    if group.leads:
        metrics = MetricsFile(run.metrics, learner.step, window, loop.log_every, total, task.denoiser.schedule.t_max)
        previews = Previews(run, learner, model, total, metrics, console, interrupts, task.whole_images, task.examples)
        tracking = Tracking(run, model.config, learner.step, console)
        metrics.listeners.append(tracking.line)

    def state() -> Checkpoint:
        return capture(learner, model, total, metrics.window.to_tuple() if metrics else ())

    def before_save() -> None:
        assert metrics is not None
        metrics.sync()
        replace_file(run.card, model_card(run.path, model, state_of(learner, total), metrics.last))

    writer = CheckpointWriter(
        run.checkpoints, loop.checkpoint_every, total, loop.keep, state, before_save, interrupts, group.leads
    )
    # Sharded averages are put together before a grid is drawn from them. The checkpoint comes last, so that the lines
    # and the grid of its step are there before it is.
    sharded = not group.alone and loop.parallel == "fsdp"
    collector = Collector(learner.ema, loop.sample_every if sharded else 0, total)
    copies = Copies(run.averages, model, learner.powers, total, group.leads)
    observers: list[Observer] = [collector, copies, writer]
    if metrics and previews:
        observers[1:1] = [metrics, LiveLine(console, total), LoaderWatch(console), previews]
    began = time.monotonic()
    try:
        with interrupts.listening():
            collector.collect_if_due(learner.step)
            if previews:
                previews.catch_up(learner.step)
            for result in training(task, learner):
                interrupts.agree()
                for observe in observers:
                    observe(result)
                if interrupts.requested is not None and result.step < total:
                    group.barrier()  # until rank 0 has saved
                    raise StoppedError(
                        f"stopped at step {result.step:,} of {total:,}, saved in {writer.last}; "
                        f"go on with: undiffuse train --resume {run.path}",
                        interrupts.requested,
                    )
    except NonFiniteError as error:
        hint = " or with --precision float32" if task.bfloat16 else ""
        message = f"{error}; the last good checkpoint is {latest(run.checkpoints)[0]}; "
        raise NonFiniteError(f"{message}start again with an --lr below {model.config.optimizer.lr:g}{hint}") from None
    except (RuntimeError, MemoryError) as error:
        if not group.alone and is_lost(error):
            advice = f"the checkpoints are whole: go on with torchrun ... -m undiffuse train --resume {run.path}"
            raise group.lost(advice) from error
        if not out_of_memory(error):
            raise
        raise UndiffuseError(
            f"memory ran out on {model.device} with a batch of {loop.batch} in {model.config.optimizer.accumulate} "
            "part(s): a higher --accumulate needs less for the same result; a lower --batch or --base needs less"
        ) from error
    finally:
        if tracking:
            tracking.close()
        console.close()
    console.say(f"trained to step {total:,} in {duration(time.monotonic() - began)}")


def out_of_memory(error: Exception) -> bool:
    """Whether this is how a device, the CPU among them, says that it has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
