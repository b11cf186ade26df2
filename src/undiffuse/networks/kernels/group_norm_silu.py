"""GroupNorm and SiLU in one, for channels last in memory on a core of a CPU.

    mu, s    mean and deviation of h + e over a group's channels and all positions, for each sample
    z = (h + e - mu) / s w + b = scale h + shift        scale = w / s, shift = b + scale (e - mu), numbers a channel
    y = z sigmoid(z)

(e: the embedding of the residual block, a number a channel.) PyTorch's kernel reads all of the memory once for every
group where there are few positions and four channels a group. Sums over the positions, with all channels side by
side, read it once; what remains of the group is arithmetic on a few numbers a channel. The sum h + e is never written,
and for the backward pass only h is kept, where PyTorch keeps h + e and z.

The backward pass, with dz = dL/dz, x^ = (h + e - mu) / s, and means over a group's channels and positions:

    dL/dh = w dz / s - (mean(w dz) + x^ mean(w dz x^)) / s = scale dz + a + c h        a, c: numbers a channel

Notable choices:

* The variance is mean(d^2) - mean(d)^2 with d = h - h[first position]. That has not much to cancel: the first position
  is one of the n, so mean(d)^2 is at most n times the variance, whose relative error stays below n times 1e-7.
* Whether this way is taken is a fixed rule of shapes (`applies`), never a measurement at run time. Forward and backward
  it is one to two times as quick as PyTorch's; wider groups, few numbers, and many positions in evaluations are left to
  PyTorch's kernel. (That takes up to five times as long with channels last on a CPU as with channels first; changing
  the layout before and after it was slower still.)
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from undiffuse.networks.layers import NormSiLU

Features = Float[Tensor, "batch channels *spatial"]
Numbers = Float[Tensor, "batch channels"]

WIDTH = 4
"""Most channels a group."""
FEWEST = 10_000
"""Fewest numbers of a sample: below, the few numbers a channel take longer than the many. The number of samples is no
part of the rule, so that a sample comes out with the same bits in a batch of any size."""
POSITIONS, EVALUATED = 4096, 1023
"""Most positions, and most where no gradient is wanted."""


def applies(h: Tensor, norm: nn.GroupNorm) -> bool:
    """True where this way is taken: float32 with channels last, one thread of a CPU, run eagerly, worth it."""
    return (
        not torch.compiler.is_compiling()
        and norm.affine
        and h.device.type == "cpu"
        and torch.get_num_threads() == 1
        and h.dtype == norm.weight.dtype == torch.float32
        and norm.num_channels <= WIDTH * norm.num_groups
        and math.prod(h.shape[1:]) >= FEWEST
        and math.prod(h.shape[2:]) <= (POSITIONS if torch.is_grad_enabled() else EVALUATED)
        and h.movedim(1, -1).is_contiguous()
    )


class NormSiLUByChannel(NormSiLU):
    """A `NormSiLU` that goes this file's way where `applies` says so."""

    def forward(self, h: Features, embedding: Numbers | None = None) -> Features:
        if not applies(h, self):
            return super().forward(h, embedding)
        e = h.new_zeros(h.shape[:2]) if embedding is None else embedding
        y: Tensor = _NormSiLU.apply(h, e, self.weight, self.bias, self.num_groups, self.eps)
        return y


class _NormSiLU(torch.autograd.Function):
    """Shapes: h as (batch, positions, channels), and numbers a channel as (batch, groups, channels of a group)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, e: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels = h.shape[:2]
        last = h.movedim(1, -1)
        rows = last.reshape(batch, -1, channels)
        n = rows.shape[1]
        by_group = (batch, groups, -1)

        d = rows - rows[:, :1]
        mean_d = d.sum(1) / n
        variance = (d.square_().sum(1) / n - mean_d.square()).clamp_(min=0).view(by_group)
        mean_h = mean_d + rows[:, 0]
        mean = (mean_h + e).view(by_group)
        mu = mean.mean(2, keepdim=True)
        inverse = torch.rsqrt((variance + (mean - mu).square_()).mean(2, keepdim=True) + eps)
        offset = e.view(by_group) - mu
        scale = inverse * weight.view(1, groups, -1)
        shift = torch.addcmul(bias.view(1, groups, -1), offset, scale)

        scale, shift = scale.view(batch, 1, channels), shift.view(batch, 1, channels)
        ctx.save_for_backward(rows, weight, mean_h, inverse, offset, scale, shift)
        z = torch.addcmul(shift, rows, scale, out=d)
        return F.silu(z, inplace=True).view(last.shape).movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, mean_h, inverse, offset, scale, shift = ctx.saved_tensors
        batch, n, channels = rows.shape
        groups = inverse.shape[1]
        by_group = (batch, groups, -1)
        last = dy.movedim(1, -1)
        z = torch.addcmul(shift, rows, scale)
        dz = torch.ops.aten.silu_backward(last.reshape(rows.shape), z)

        # Sums over positions of dz and of dz x^, then over a group.
        total = dz.sum(1).view(by_group)
        with_h = torch.mul(dz, rows, out=z).sum(1).view(by_group)
        with_x = inverse * (with_h + offset * total)
        w = weight.view(1, groups, -1)
        means = [(w * s).mean(2, keepdim=True) / n for s in (total, with_x)]
        c = -inverse.square() * means[1]
        a = c * offset - inverse * means[0]
        c = c.expand_as(a).reshape(batch, 1, channels)
        a = a.view(batch, 1, channels)

        dh = torch.addcmul(a, rows, c, out=z).addcmul_(dz, scale)
        de = scale[:, 0] * total.view(batch, channels) + n * (a[:, 0] + c[:, 0] * mean_h)
        found = (dh.view(last.shape).movedim(-1, 1), de, with_x.sum(0).view(-1), total.sum(0).view(-1))
        return (*(g if wanted else None for g, wanted in zip(found, ctx.needs_input_grad[:4], strict=True)), None, None)
