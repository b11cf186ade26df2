"""The parameters of a network that a training moves."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def learning(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters, but for those that stay as they are: with adapters, the weights that they add to."""
    return ((name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad)
