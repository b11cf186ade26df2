"""Muon: momentum whose matrices are made orthogonal before they move the weights.

Adam scales every number by itself; a weight matrix's gradient is dominated by a few directions, and the rest hardly
move. Muon gives every direction of a matrix the same step.

References:
    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon
    Liu et al. 2025, "Muon is scalable for LLM training", https://arxiv.org/abs/2502.16982 (the scale that matches
    Adam's)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM = "momentum"
"""Name of a matrix's running mean in the optimiser's state."""

MATCH_ADAM = 0.2
"""Root mean square of an update in units of the learning rate: about Adam's, so that one rate serves both."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with singular values of about 1 (between 0.7 and 1.2), by Newton-Schulz iteration.

    X <- a X + b (X X^T) X + c (X X^T)^2 X,   from X = matrix / |matrix|

    The coefficients push small singular values up fast rather than to 1 exactly, which training does not need.

    Args:
        matrix: of (rows, columns), not all zero for a result that means something.
        steps: of the iteration.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix  # X X^T of the smaller side
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(Optimizer):
    """Muon for the matrices inside a network, Adam for everything else, under one learning rate.

    m <- mu m + (1 - mu) g,   u = (1 - mu) g + mu m          (Nesterov)
    w <- w - lr 0.2 sqrt(max(rows, columns)) orthogonalise(u)

    A convolution's filter is a matrix of (outputs, inputs x positions).

    Args:
        matrices: parameters of two and more dimensions that Muon moves.
        others: parameters that Adam moves: norms, biases, the first and the last layer.
        lr: learning rate of both.
        momentum: mu.
        betas: Adam's.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        groups = [{"params": list(matrices), "muon": True}, {"params": list(others), "muon": False}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; ``closure`` is not used."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adam)(parameters, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        mu = group["momentum"]
        for p in parameters:
            assert p.grad is not None
            mean = self.state[p].setdefault(MOMENTUM, torch.zeros_like(p)).lerp_(p.grad, 1 - mu)
            update = orthogonalise(p.grad.lerp(mean, mu).flatten(1))
            scale = MATCH_ADAM * max(update.shape) ** 0.5
            p.add_(update.reshape(p.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            count = int(state["step"])
            mean = state["exp_avg"].lerp_(p.grad, 1 - beta1)
            square = state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            denominator = (square / (1 - beta2**count)).sqrt_().add_(group["eps"])
            p.addcdiv_(mean, denominator, value=-group["lr"] / (1 - beta1**count))


def split(
    network: nn.Module, ends: tuple[str, ...] = ("stem", "out", "time")
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon (matrices and filters, but for those of the parts named ``ends``) and for Adam (the rest)."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        inner = parameter.ndim >= 2 and not name.startswith(ends)
        (matrices if inner else others).append(parameter)
    return matrices, others
