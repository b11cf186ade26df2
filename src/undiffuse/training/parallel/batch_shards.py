"""One training in many processes: who learns from which samples, and how their gradients meet.

Every process draws what belongs to the whole batch (order, flips, noise, times, dropout) from the streams of (seed,
step), and takes its slice. The loss of a sample is divided by the whole batch and gradients are summed, not averaged,
so the slices need not be equal, and the result is that of one process up to the rounding of sums.

* 'ddp': every process holds the network; gradients are summed while the backward pass still runs.
* 'fsdp': every process holds a part of each tensor (weights, gradients, optimiser, averages) and borrows the rest when
  it is needed: Zhao et al. 2023, https://arxiv.org/abs/2304.11277, in PyTorch's second version (`fully_shard`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import LoopConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import LAYOUTS
from undiffuse.runtime.process_group import ALONE, Group, cut

Rows = TypeVar("Rows", Tensor, NDArray[np.int64])


class BatchShard:
    """The part that this process takes in every step.

    A batch is cut into parts (`accumulate`), and each part into one slice a process.

    Args:
        batch: samples of a step, over all processes.
        parts: that a batch is accumulated from.

    Attributes:
        sizes: samples of this process in each part.
    """

    def __init__(self, batch: int, parts: int = 1, group: Group = ALONE) -> None:
        self.batch, self.group = batch, group
        self._parts = cut(batch, parts)
        self._slices = [group.shard(part) for part in self._parts]
        self.sizes = [len(mine) for mine in self._slices]
        self._numbers = np.concatenate(self._slices)
        self._ddp: DistributedDataParallel | None = None
        self._place = SliceOffset()

    def take(self, rows: Rows) -> Rows:
        """This process's rows of a whole batch."""
        return rows if self.group.is_single else rows[self._numbers]

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """Around the forward and backward pass of a part: gradients of all but the last stay here."""
        self._place.whole, self._place.start = len(self._parts[number]), self._slices[number].start
        self._place.start -= self._parts[number].start
        last = number == len(self._parts) - 1
        with nullcontext() if self._ddp is None or last else self._ddp.no_sync():
            yield

    def merge(self, losses: Tensor, norm: Tensor) -> Tensor:
        """The losses of the whole batch in its order, then rank 0's gradient norm: (batch + 1,) on the CPU.

        The same numbers in every process, so that all decide alike what to do with the step.
        """
        if self.group.is_single:
            return torch.cat([losses, norm.float().reshape(1)]).cpu()
        whole = losses.new_zeros(self.batch + 1)  # each number plus zeros: the sum is exact
        whole[self._numbers] = losses
        if self.group.is_main:
            whole[-1] = norm
        dist.all_reduce(whole)
        return whole.cpu()

    def first_found(self, found: str, nothing: str) -> str:
        """The finding of the first process that has one, which is to say, not ``nothing``."""
        group = self.group
        found_by = group.world - group.largest(group.world - group.rank if found != nothing else 0)
        return group.broadcast_text(lambda: found, by=found_by % group.world)

    def connect(self, network: nn.Module, loop: LoopConfig) -> nn.Module:
        """The module for the denoiser in place of ``network``, so that gradients are summed over the processes."""
        if self.group.is_single:
            return network
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, SlicedDropout(child.p, self._place))
        if loop.parallel == "fsdp":  # `shard` saw to the gradients
            self._place.channels_last = loop.channels_last
            return network
        self._ddp = DistributedDataParallel(network, gradient_as_bucket_view=True)
        self._ddp.register_comm_hook(None, lambda state, bucket: _sum(bucket))
        return self._ddp


def check_share(config: TrainConfig, group: Group) -> None:
    """Check that settings work with so many processes."""
    batch, parts = config.loop.batch, config.optimizer.accumulate
    if batch // parts < group.world:
        raise UndiffuseError(
            f"a batch of {batch} in {parts} part(s) cannot be shared among {group.world} processes, since each needs "
            f"an image of every part: use at most {batch // parts} processes, or a `batch` of {parts * group.world}"
        )
    if not group.is_single and config.loop.parallel == "fsdp" and config.optimizer.optimizer == "muon":
        raise UndiffuseError(
            "Muon needs whole matrices, and `parallel=fsdp` gives every process a part of each: "
            "use `parallel=ddp`, or `optimizer=adam`"
        )


def _sum(bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """DDP would average; the losses are divided by the whole batch already."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return summed


# --- dropout ----------------------------------------------------------------------------------------------------------


class SliceOffset:
    """The place of a process's samples in the part that is computed: ``start`` .. of ``whole``."""

    whole = start = 0
    channels_last = False
    """Whether one process would have its activations so, although they may not be so here."""


class SlicedDropout(nn.Module):
    """Dropout of a slice with the mask that the whole would have.

    The mask of the whole is drawn from torch's stream as `nn.Dropout` draws it, in the same memory format, and cut: so
    masks do not depend on the number of processes. That costs each process the drawing of all masks.
    """

    def __init__(self, p: float, place: SliceOffset) -> None:
        super().__init__()
        self.p = p
        self._place = place

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p):
            return x
        layout = LAYOUTS.get(x.ndim, torch.contiguous_format)
        if not (self._place.channels_last or x.is_contiguous(memory_format=layout)):
            layout = torch.contiguous_format
        ones = torch.empty(
            (self._place.whole, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout
        ).fill_(1)
        return x * F.dropout(ones, self.p)[self._place.start : self._place.start + len(x)]


# --- sharding ---------------------------------------------------------------------------------------------------------


@runtime_checkable
class Shardable(Protocol):
    """A network that says which of its modules are borrowed one after another."""

    def shard_units(self) -> list[nn.Module]:
        """Modules of about one size, none within another."""
        ...


def shard(network: nn.Module, group: Group, device: torch.device) -> None:
    """Give every process its part of each parameter, in place; a `Shardable`'s units are borrowed as a whole.

    Weights lose their channels-last order, which FSDP2 cannot shard; activations keep theirs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (group.world,))
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.register_forward_hook(lambda module, inputs, output: output.clone())  # FSDP2 warns of views
    units = network.shard_units() if isinstance(network, Shardable) else []
    for module in (*units, network):
        unit = fully_shard(module, mesh=mesh)
        unit.set_gradient_divide_factor(1.0)  # the losses are divided by the whole batch already
        unit.set_force_sum_reduction_for_comms(True)  # gloo knows no other


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of one that is sharded, on the CPU: every process must ask at the same time."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor itself, or this process's part of it where ``like`` is sharded."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
