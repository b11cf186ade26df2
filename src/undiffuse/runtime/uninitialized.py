"""Networks built without drawing their weights: for files whose tensors take the weights' places.

    with outlined(): network = UNet(...)      names, shapes and types alone, on the meta device
    with undrawn(): network = UNet(...)       memory whose contents are left to chance, until a file's are loaded

PyTorch's initialisers draw random numbers wherever the tensor lies. On the meta device, which holds none, that is no
work, but at the first draw it imports PyTorch's whole compiler: 1.5 s, as long as ``import torch`` itself. In memory it
is two draws a weight, which take a second for 100 M of them, to be overwritten at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

INITIALIZERS = frozenset({nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_})
"""Those of PyTorch's initialisers that show themselves as a whole to a mode, and not what they are made of."""
DRAWS = frozenset({Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_})
"""The methods that fill a tensor with random numbers, of which other initialisers are made."""

FACTORIES = frozenset({torch.rand, torch.randn})
"""Functions that make a tensor of random numbers, of torch's global stream unless a generator is given."""


class undrawn(TorchFunctionMode):  # noqa: N801  (used like a function, as torch.no_grad is)
    """A context, for this thread, in which tensors that would be filled with random numbers are left as they are.

    What is computed, such as tables of frequencies, and what is set to 0 or 1 is as ever.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in INITIALIZERS:
            return args[0] if args else given["tensor"]
        if func in FACTORIES and given.get("generator") is None:
            func = torch.empty
        return args[0] if func in DRAWS else func(*args, **given)


@contextmanager
def outlined() -> Iterator[None]:
    """A context in which networks get tensors that have shapes and types, and neither memory nor values."""
    with torch.device("meta"), undrawn():
        yield
