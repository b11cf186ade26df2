"""Networks behind torch.compile: the operators between convolutions fused, and on CUDA an evaluation as one graph.

The first call compiles, half a minute or more; `undiffuse bench --compile` measures what that takes and from how many
steps or images on it is paid back. A compiled network rounds differently, so it is never a default: pictures say
whether they were made with one, and are made again with one.

On a CPU it pays for small networks alone: the ways of `networks.kernels` and of `threads` are for eager runs, and are
worth more to large ones than what fusion saves (docs/develop/lab-notes.md).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError


class Compiled(nn.Module):
    """A network whose calls are compiled, forward and backward; ``network(x, time, **conditions)`` as before.

    Args:
        sizes: of the batches that are compiled for; any other goes eagerly. Each size is compiled by itself, half a
            minute or more, and a student of jumps asks its network for another part of the batch in every step. None:
            all are compiled for.
    """

    def __init__(self, network: nn.Module, mode: str | None = None, sizes: Collection[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self._sizes = sizes
        # Batches of a training and micro-batches have one size each; a compiler that saw two would make code for any.
        self._compiled = torch.compile(network, mode=mode, dynamic=False)

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        if self._sizes is not None and len(x) not in self._sizes:
            eager: Tensor = self.network(x, time, **conditions)
            return eager
        try:
            y: Tensor = self._compiled(x, time, **conditions)
        except Exception as error:
            from torch._dynamo.exc import TorchDynamoException  # a second of importing, done where something compiles

            if not isinstance(error, TorchDynamoException):
                raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UndiffuseError(
                "torch.compile failed here: leave out `compile`, or give `compile=False` to a run that was started "
                f"with it; it said: {reason[:300]}"
            ) from error
        return y


class CompiledEvaluations(Compiled):
    """The same for evaluations: what gradients are wanted of goes eagerly, and on CUDA an evaluation is one graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, "reduce-overhead")

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            y: Tensor = self.network(x, time, **conditions)
            return y
        # A graph writes its output to the same memory every time, and samplers remember outputs: hence the copy.
        torch.compiler.cudagraph_mark_step_begin()
        return super().forward(x, time, **conditions).clone()
