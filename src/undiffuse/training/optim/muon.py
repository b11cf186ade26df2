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

from undiffuse.training.optim.learning import learning

MOMENTUM = "momentum"
"""Name of a matrix's running mean in the optimiser's state."""

MATCH_ADAM = 0.2
"""Root mean square of an update in units of the learning rate: about Adam's, so that one rate serves both."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrices with singular values of about 1 (between 0.7 and 1.2), by Newton-Schulz iteration.

    X <- a X + b (X X^T) X + c (X X^T)^2 X,   from X = matrix / |matrix|

    The coefficients push small singular values up fast rather than to 1 exactly, which training does not need.

    Args:
        matrix: of (..., rows, columns), not all zero for a result that means something.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    # Every iterate is P x with P a polynomial of x x^T, so the iteration can go on P, which is square and small: for
    # filters that are many times wider than tall it saves four fifths of the work.
    square = x @ x.mT
    one = torch.eye(square.shape[-1], dtype=x.dtype, device=x.device)
    p = one
    for _ in range(steps):
        gram = p @ square @ p
        p = (a * one + b * gram + c * gram @ gram) @ p
    x = p @ x
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
            if parameters := [p for p in group["params"] if p.grad is not None]:
                (self._muon if group["muon"] else self._adam)(parameters, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        mu = group["momentum"]
        means = [self.state[p].setdefault(MOMENTUM, torch.zeros_like(p)) for p in parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_lerp_(means, gradients, 1 - mu)
        updates = torch._foreach_lerp(gradients, means, mu)
        # Matrices of one shape go through the iteration together: small products cost more to start than to compute.
        shapes: dict[torch.Size, list[int]] = {}
        for k, update in enumerate(updates):
            shapes.setdefault(update.flatten(1).shape, []).append(k)
        for shape, members in shapes.items():
            stack = orthogonalise(torch.stack([updates[k].flatten(1) for k in members]))
            scale = MATCH_ADAM * max(shape) ** 0.5
            for k, matrix in zip(members, stack, strict=True):
                parameters[k].add_(matrix.reshape(parameters[k].shape), alpha=-group["lr"] * scale)

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            if not self.state[p]:
                self.state[p].update(step=torch.zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        gradients = [p.grad for p in parameters if p.grad is not None]
        steps, means, squares = ([self.state[p][key] for p in parameters] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        counts = [int(step) for step in steps]
        denominators = torch._foreach_div(squares, [1 - beta2**count for count in counts])
        torch._foreach_sqrt_(denominators)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(
            list[Tensor](parameters), means, denominators, [-group["lr"] / (1 - beta1**n) for n in counts]
        )


ENDS = ("stem", "out", "time")
"""Where something else comes into a network, or goes out of it."""
CONDITIONS = "told"
"""The part of a network that embeds classes and numbers."""


def split(
    network: nn.Module, ends: tuple[str, ...] = (*ENDS, CONDITIONS)
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon (matrices and filters, but for those of the parts named ``ends``) and for Adam (the rest).

    A table of classes is no matrix that anything is multiplied by: its rows are vectors of their own, which Adam moves
    further, so that classes are heeded sooner (docs/develop/lab-notes.md).
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in learning(network):
        inner = parameter.ndim >= 2 and not name.startswith(ends)
        (matrices if inner else others).append(parameter)
    return matrices, others
