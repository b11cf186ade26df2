"""From settings to the pieces of a training: device, state, step; and between those and a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.checkpoints.training_checkpoint import Checkpoint, State, ema_file, power_file
from undiffuse.conditioning.low_resolution import low_res_training
from undiffuse.conditioning.request import CLASS, IMAGE, VECTOR, dropped
from undiffuse.conditioning.text.embedding_table import text_table
from undiffuse.config.schema import TrainConfig
from undiffuse.data.augment import fair_coins, flipped
from undiffuse.data.codec import codec_of
from undiffuse.data.crops import Crops
from undiffuse.data.info import DataInfo
from undiffuse.data.masks import masks_of
from undiffuse.data.order import batch_indices
from undiffuse.factories.loss import make_objective, make_time_law
from undiffuse.model import Model
from undiffuse.runtime.compiling import Compiled
from undiffuse.runtime.precision import uses_bfloat16
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.random_streams import generator
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.threads import RowParallel, pays, the_team
from undiffuse.training.device_dataset import encoded
from undiffuse.training.loop import TrainState, TrainStep
from undiffuse.training.optim.ema import EMA, PowerAverages
from undiffuse.training.optim.optimizer import (
    expected_optimizer_tensors,
    follow_groups,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from undiffuse.training.parallel.batch_shards import BatchShard, placed, shard, whole
from undiffuse.training.parallel.threaded_gradients import ThreadedGradients
from undiffuse.training.plan import Plan

CPU = torch.device("cpu")
TIME_LAW = "time-law/"
"""Before the names of what the law of t has learned, beside the optimiser's tensors."""


class Images(Protocol):
    """An array, or what gives parts of one."""

    def __getitem__(self, chosen: Any, /) -> NDArray[Any]: ...


class Data(Protocol):
    """What a training needs of a prepared data set."""

    @property
    def info(self) -> DataInfo: ...

    @property
    def images(self) -> Images:
        """(count, channels, *spatial), values of the data's own type."""
        ...

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(count,), the class of each image; None without classes."""
        ...


@runtime_checkable
class Numbered(Protocol):
    """Data with numbers."""

    def vectors(self) -> NDArray[np.float32] | None:
        """(count, numbers), NaN where nothing is said of a sample; None without any."""
        ...


@runtime_checkable
class Paired(Protocol):
    """Data with pictures that go with the samples."""

    @property
    def pairs(self) -> Images | None:
        """(count, channels, *spatial); None without any."""
        ...


@runtime_checkable
class Ordered(Protocol):
    """Data that are not read in just any order."""

    def order(self, batch: int, step: int, seed: int) -> NDArray[np.int64]:
        """The samples of batch ``step``, once its images were asked for; before that some may be others."""
        ...


@runtime_checkable
class Described(Protocol):
    """Data with texts."""

    def texts(self) -> list[str]:
        """What is said of each sample; '' where nothing is."""
        ...


def order_of(data: Data, config: TrainConfig) -> Callable[[int], NDArray[np.int64]]:
    """``step -> samples`` of the whole batch: a function of (seed, step)."""
    batch, seed = config.loop.batch, config.loop.seed
    if isinstance(data, Ordered):
        return lambda step: data.order(batch, step, seed)
    return lambda step: batch_indices(data.info.count, batch, step, seed)


def image_batches(
    data: Data, config: TrainConfig, share: BatchShard, device: torch.device = CPU
) -> Callable[[int], Tensor]:
    """``step -> x0`` in model space, of this process's share: the order, the flips and
    what is cut at random are functions of (seed, step).

    Args:
        device: where x0 is wanted; it is there already where all images are.
    """
    loop, order, codec = config.loop, order_of(data, config), codec_of(data.info)
    values = encoded(data.images, codec, device)

    def batch(step: int) -> Tensor:
        chosen = share.take(order(step))
        if not isinstance(data.images, Crops):
            return values(chosen)
        where = torch.rand(loop.batch, 2, generator=generator(loop.seed, "crop", step), dtype=torch.float64)
        return codec.encode(data.images.at(chosen, share.take(where).numpy()))

    def images(step: int) -> Tensor:
        x0 = batch(step)
        if not config.data.flip:
            return x0
        return flipped(x0, share.take(fair_coins(loop.batch, generator(loop.seed, "flip", step))))

    return images


def mask_batches(data: Data, config: TrainConfig, share: BatchShard) -> Callable[[int], Tensor] | None:
    """``step -> mask`` of the images of `image_batches`; None where all values count, see `masks_of`."""
    masks = masks_of(data)
    if masks is None:
        return None
    loop, order = config.loop, order_of(data, config)

    def mask(step: int) -> Tensor:
        chosen = torch.from_numpy(masks[share.take(order(step))])
        if not config.data.flip:
            return chosen
        return flipped(chosen, share.take(fair_coins(loop.batch, generator(loop.seed, "flip", step))))

    return mask


Tables = Mapping[str, Callable[[Tensor], Tensor]]


def condition_batches(
    data: Data, model: Model, share: BatchShard, tables: Tables
) -> Callable[[int, Tensor], dict[str, Tensor]]:
    """``(step, x0) -> conditions`` of this process's images: what the tables say of them, hidden by a function of
    (seed, step); of a stage the images themselves, made smaller."""
    told, settings = model.conditions, model.config.conditions
    loop, order = model.config.loop, order_of(data, model.config)
    if not told:
        return lambda step, x0: {}
    small = low_res_training(settings, loop.seed, loop.batch)

    def conditions(step: int, x0: Tensor) -> dict[str, Tensor]:
        chosen = torch.from_numpy(order(step))
        values = {name: table(chosen) for name, table in tables.items()}
        if IMAGE in values and model.config.data.flip:  # with its image
            values[IMAGE] = flipped(values[IMAGE], fair_coins(loop.batch, generator(loop.seed, "flip", step)))
        whole = dropped(told, values, settings.condition_dropout, generator(loop.seed, "condition", step))
        found = {name: share.take(value) for name, value in whole.items()}
        return found | small(step, x0, share.take) if settings.upscale > 1 else found

    return conditions


def condition_tables(data: Data, model: Model) -> dict[str, Callable[[Tensor], Tensor]]:
    """``samples -> values`` of each condition that the data say something of."""
    told = [condition.name for condition in model.conditions if not condition.required]
    return {name: _condition_table(data, name, model.info) for name in told}


def _condition_table(data: Data, name: str, info: DataInfo) -> Callable[[Tensor], Tensor]:
    """``info`` is the model's, whose standard of numbers may be that of a model it started from."""
    if name == CLASS:
        assert data.labels is not None  # there are classes, so there are labels
        labels = torch.from_numpy(data.labels)
        return lambda samples: labels[samples]
    if name == VECTOR:
        assert isinstance(data, Numbered)  # there are numbers
        rows = data.vectors()
        assert rows is not None
        table = torch.from_numpy(info.numbers(rows))
        return lambda samples: table[samples]
    if name == IMAGE:
        pairs = data.pairs if isinstance(data, Paired) else None
        assert pairs is not None
        assert info.pair is not None
        codec = codec_of(info.pair)
        return lambda samples: codec.encode(pairs[samples.numpy()])
    assert isinstance(data, Described)  # there are texts
    return text_table(data.texts(), progress=True).batch


def examples_of(data: Data, model: Model, tables: Tables) -> dict[str, Tensor]:
    """What is said of the first images of the training, which its grids are drawn by: a model of texts should be seen
    following some.

    Nothing where classes are all that a model is told: those are taken by turns.
    """
    config = model.config
    if set(tables) <= {CLASS} and config.conditions.upscale == 1:
        return {}
    order, count = order_of(data, config), config.loop.sample_count
    first = np.concatenate([order(step) for step in range(math.ceil(count / config.loop.batch))])[:count]
    return {name: table(torch.from_numpy(first)) for name, table in tables.items()}


def make_train_state(model: Model, group: Group = ALONE) -> TrainState:
    """The state of step 0 around the model's network, on its device; 'fsdp' cuts the network up."""
    config = model.config
    model.network.train()
    if config.loop.parallel == "fsdp" and not group.is_single:
        shard(model.network, group, model.device)
    return TrainState(
        model.network,
        make_optimizer(config.optimizer, model.network),
        EMA(model.network, config.ema),
        PowerAverages(model.network, config.ema),
        make_time_law(config.objective, model.schedule),
    )


def make_train_step(model: Model, data: Data, total: int | Plan, group: Group = ALONE) -> TrainStep:
    """What the steps of this training are made of."""
    config, denoiser = model.config, model.denoiser
    share = BatchShard(config.loop.batch, config.optimizer.accumulate, group)
    tables = condition_tables(data, model)
    home = CPU if config.conditions.upscale > 1 else model.device  # small images are made of large ones on the CPU
    compiled = model.denoiser
    compiled.network = share.connect(model.network, config.loop)
    if config.loop.compile:
        compiled.network = Compiled(compiled.network)
    return TrainStep(
        config=config,
        plan=total if isinstance(total, Plan) else Plan(total),
        denoiser=compiled,
        eager=denoiser,
        objective=make_objective(config.objective, config.diffusion, model.codec.levels, model.codec.bounded),
        images=image_batches(data, config, share, home),
        whole_images=image_batches(data, config, BatchShard(config.loop.batch)),
        conditions=condition_batches(data, model, share, tables),
        examples=examples_of(data, model, tables),
        device=model.device,
        share=share,
        bfloat16=uses_bfloat16(config.loop.precision, model.device),
        team=make_threads(model, group),
        masks=mask_batches(data, config, share),
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


def state_of(train_state: TrainState, total: int | Plan, window: tuple[float, ...] = (), spent: float = 0.0) -> State:
    """Where the training stands now."""
    plan = total if isinstance(total, Plan) else Plan(total)
    return State(
        step=train_state.step,
        total=plan.total,
        images=train_state.images,
        seconds=round(train_state.seconds, 3),
        skipped=train_state.skipped,
        skipped_in_a_row=train_state.skipped_in_a_row,
        window=window,
        spent=round(spent, 3),
        decisions=plan.numbers,
    )


def to_checkpoint(
    train_state: TrainState, model: Model, total: int | Plan, window: tuple[float, ...] = (), spent: float = 0.0
) -> Checkpoint:
    """The training as it is now. The tensors are the live ones: save them before the next step.

    Where tensors are sharded, this puts them together, in which all processes must take part.
    """
    return Checkpoint(
        config=model.config,
        info=model.info,
        state=state_of(train_state, total, window, spent),
        weights={name: whole(tensor) for name, tensor in train_state.network.state_dict().items()},
        averages=train_state.ema.state_dicts(),
        powers=train_state.powers.state_dicts(),
        optimizer={
            **optimizer_tensors(train_state.optimizer, train_state.network),
            **{f"{TIME_LAW}{name}": tensor for name, tensor in train_state.time_law.tensors().items()},
        },
    )


def restore(train_state: TrainState, checkpoint: Checkpoint, where: Path) -> None:
    """Bring a new state to where the checkpoint is.

    Raises:
        UndiffuseError: tensors of other names, shapes or types than the settings make.
    """
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
    learned = {f"{TIME_LAW}{name}": tensor for name, tensor in train_state.time_law.tensors().items()}
    found = {name: tensor for name, tensor in checkpoint.optimizer.items() if name.startswith(TIME_LAW)}
    check_tensors(found, learned, str(where / "optimizer.safetensors"))
    for name, tensor in learned.items():
        tensor.copy_(found[name])
    moments = {name: tensor for name, tensor in checkpoint.optimizer.items() if name not in found}
    if moments:  # there are none before the first step
        follow_groups(train_state.optimizer, network, moments)
        expected = expected_optimizer_tensors(train_state.optimizer, network)
        check_tensors(moments, expected, str(where / "optimizer.safetensors"))
        load_optimizer_tensors(train_state.optimizer, network, moments)
    train_state.step, train_state.images, train_state.seconds = state.step, state.images, state.seconds
    train_state.skipped, train_state.skipped_in_a_row = state.skipped, state.skipped_in_a_row
