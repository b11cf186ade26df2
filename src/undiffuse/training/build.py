"""From settings to the pieces of a training: device, state, step; and between those and a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from undiffuse.checkpoints.training_checkpoint import Checkpoint, State, ema_file, power_file
from undiffuse.config.distillation import student_of
from undiffuse.config.schema import TrainConfig
from undiffuse.diffusion.losses import Loss, TimeLaw
from undiffuse.factories.loss import make_objective, make_time_law
from undiffuse.model import Model
from undiffuse.runtime.compiling import Compiled
from undiffuse.runtime.precision import uses_bfloat16
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.threads import RowParallel, pays, the_team
from undiffuse.training.batches import (
    CPU,
    Data,
    TrainData,
    condition_batches,
    condition_tables,
    examples_of,
    image_batches,
    mask_batches,
)
from undiffuse.training.distillation.methods import module_rates, student_objective, student_time_law
from undiffuse.training.held_out import held_out_of
from undiffuse.training.loop import TrainState, TrainStep
from undiffuse.training.optim.ema import ema_averages, power_averages
from undiffuse.training.optim.given import given_tensors, load_given
from undiffuse.training.optim.optimizer import (
    OWN,
    expected_optimizer_tensors,
    follow_groups,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from undiffuse.training.parallel.batch_shards import BatchShard, placed, shard, whole
from undiffuse.training.parallel.threaded_gradients import ThreadedGradients
from undiffuse.training.step_plan import Plan

TIME_LAW = "time-law/"
"""Before the names of what the law of t has learned, beside the optimiser's tensors."""


def make_train_state(model: Model, group: Group = ALONE) -> TrainState:
    """The state of step 0 around the model's network, on its device; 'fsdp' cuts the network up."""
    config = model.config
    model.network.train()
    if config.loop.parallel == "fsdp" and not group.is_single:
        shard(model.network, group, model.device)
    return TrainState(
        model.network,
        make_optimizer(config.optimizer, model.network, module_rates(config.distillation)),
        ema_averages(model.network, config.ema),
        power_averages(model.network, config.ema),
        _time_law(model),
    )


def _time_law(model: Model) -> TimeLaw:
    if student := student_of(model.config.distillation):
        return student_time_law(student)
    return make_time_law(model.config.objective, model.schedule)


def _objective(model: Model) -> Loss:
    config, codec = model.config, model.codec
    if student := student_of(config.distillation):
        return student_objective(model, student)
    return make_objective(config.objective, config.diffusion, codec.levels, codec.bounded)


def make_train_step(
    model: Model, data_set: Data, total: int | Plan, group: Group = ALONE, validation: Data | None = None
) -> TrainStep:
    """What the steps of a training need.

    Args:
        validation: prepared data that are not learned, where the settings name some.
    """
    config, data = model.config, TrainData.of(data_set)
    share = BatchShard(config.loop.batch, config.optimizer.accumulate, group)
    tables = condition_tables(data, model)
    home = CPU if config.conditions.upscale > 1 else model.device  # small images are made of large ones on the CPU
    compiled = model.denoiser
    compiled.network = share.connect(model.network, config.loop)
    if config.loop.compile:
        compiled.network = Compiled(compiled.network, sizes=share.sizes)
    return TrainStep(
        model=model,
        plan=total if isinstance(total, Plan) else Plan(total),
        denoiser=compiled,
        objective=_objective(model),
        images=image_batches(data, config, share, home),
        whole_images=image_batches(data, config, BatchShard(config.loop.batch)),
        conditions=condition_batches(data, model, share, tables),
        examples=examples_of(data, model, tables),
        share=share,
        bfloat16=uses_bfloat16(config.loop.precision, model.device),
        team=make_threads(model, group),
        masks=mask_batches(data, config, share),
        held_out=held_out_of(data, model, tables, validation),
    )


def make_threads(model: Model, group: Group = ALONE) -> ThreadedGradients | None:
    """Threads that share a batch's rows out among them: on a CPU of several cores that this process has to itself.

    Not with dropout or recomputed blocks: both use torch's one global random stream, whose order threads would shuffle.
    """
    config, network, threads = model.config, model.network, torch.get_num_threads()
    plain = not (config.loop.compile or config.network.draws_in_training)
    if not (plain and group.is_single and model.device.type == "cpu" and isinstance(network, RowParallel)):
        return None
    rows = config.loop.batch // config.optimizer.accumulate
    if not pays(network, (rows, *model.shape), threads):
        return None
    return ThreadedGradients(the_team(threads), network)


def to_checkpoint(
    train_state: TrainState, model: Model, total: int | Plan, window: tuple[float, ...] = (), spent: float = 0.0
) -> Checkpoint:
    """The training as it is now. The tensors are the live ones: save them before the next step.

    Where tensors are sharded, this puts them together, in which all processes must take part.
    """
    plan = total if isinstance(total, Plan) else Plan(total)
    return Checkpoint(
        config=model.config,
        info=model.info,
        state=State(
            step=train_state.step,
            total=plan.total,
            images=train_state.images,
            seconds=round(train_state.seconds, 3),
            skipped=train_state.skipped,
            skipped_in_a_row=train_state.skipped_in_a_row,
            window=window,
            spent=round(spent, 3),
            decisions=plan.numbers,
        ),
        weights={name: whole(tensor) for name, tensor in train_state.network.state_dict().items()},
        averages=train_state.ema.state_dicts(),
        powers=train_state.powers.state_dicts(),
        optimizer=_memory(train_state, model.config) | _law_tensors(train_state),
    )


def _memory(train_state: TrainState, config: TrainConfig) -> dict[str, Tensor]:
    """What the optimizer remembers; nothing before its first step."""
    tensors_of = optimizer_tensors if config.optimizer.optimizer in OWN else given_tensors
    return tensors_of(train_state.optimizer, train_state.network) if train_state.step else {}


def _law_tensors(train_state: TrainState) -> dict[str, Tensor]:
    return {f"{TIME_LAW}{name}": tensor for name, tensor in train_state.time_law.tensors().items()}


def restore(train_state: TrainState, checkpoint: Checkpoint, where: Path) -> None:
    """Bring a new state to where the checkpoint is."""
    network, state = train_state.network, checkpoint.state
    expected = network.state_dict()
    check_tensors(checkpoint.weights, expected, str(where / "model.safetensors"))
    network.load_state_dict({name: placed(checkpoint.weights[name], like) for name, like in expected.items()})
    for rate, tensors in checkpoint.averages.items():
        check_tensors(tensors, expected, str(where / ema_file(rate)))
        train_state.ema.load_state_dict(rate, tensors)
    for std, tensors in checkpoint.powers.items():
        check_tensors(tensors, expected, str(where / power_file(std)))
        train_state.powers.load_state_dict(std, tensors)
    learned = _law_tensors(train_state)
    found = {name: tensor for name, tensor in checkpoint.optimizer.items() if name.startswith(TIME_LAW)}
    check_tensors(found, learned, str(where / "optimizer.safetensors"))
    for name, tensor in learned.items():
        tensor.copy_(found[name])
    moments = {name: tensor for name, tensor in checkpoint.optimizer.items() if name not in found}
    if moments and checkpoint.config.optimizer.optimizer not in OWN:
        load_given(train_state.optimizer, network, moments, str(where / "optimizer.safetensors"))
    elif moments:  # there are none before the first step
        follow_groups(train_state.optimizer, network, moments)
        expected = expected_optimizer_tensors(train_state.optimizer, network)
        check_tensors(moments, expected, str(where / "optimizer.safetensors"))
        load_optimizer_tensors(train_state.optimizer, network, moments)
    train_state.step, train_state.images, train_state.seconds = state.step, state.images, state.seconds
    train_state.skipped, train_state.skipped_in_a_row = state.skipped, state.skipped_in_a_row
