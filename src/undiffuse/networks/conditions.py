"""Conditions of a network beside the time: classes, vectors, tokens and images, each by its name.

    class     an index                  a row of a table, added to the time's embedding
    vector    numbers                   a linear map, added to the time's embedding
    tokens    a sequence of vectors     cross-attention wherever there is self-attention
    image     channels of x's size      a convolution of their own, added to the stem's

Notable choices:

* A missing condition is a *null* one. Networks are trained on null conditions now and then, which classifier-free
  guidance needs (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598). The null class is the index after the last; a
  null vector, token or image holds NaN, which no real one does.
* Conditions start without effect: tables, maps and last layers are 0. An unconditional network becomes a conditional
  one of the same outputs, and can be trained on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.networks.layers import group_norm, linear

Kind = Literal["class", "vector", "tokens", "image"]


@dataclass(frozen=True)
class Condition:
    """An argument of a network beside x and the time.

    Args:
        name: of the argument.
        kind: see the head of this file.
        size: number of classes, of a vector's or a token's entries, or of an image's channels.
        required: the condition is never null, since the network does nothing without it.
    """

    name: str
    kind: Kind
    size: int
    required: bool = False

    def null(
        self, batch: int | torch.SymInt, spatial: tuple[int, ...] = (), device: torch.device | None = None
    ) -> Tensor:
        """The null condition of a batch; ``spatial`` are an image's sides."""
        if self.kind == "class":
            return torch.full((batch,), self.size, dtype=torch.int64, device=device)
        shape = {"vector": (self.size,), "tokens": (1, self.size), "image": (self.size, *spatial)}[self.kind]
        return torch.full((batch, *shape), torch.nan, device=device)

    def dropped(self, value: Tensor, drop: Tensor) -> Tensor:
        """The condition, null where ``drop`` holds, (batch,)."""
        null = torch.tensor(self.size if self.kind == "class" else torch.nan, dtype=value.dtype, device=value.device)
        return torch.where(drop.to(value.device).reshape(-1, *[1] * (value.ndim - 1)), null, value)


class ClassTable(nn.Module):
    """A row for each class, and one for the null class."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(classes + 1, width)
        nn.init.zeros_(self.rows.weight)

    def forward(self, value: Int[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        y: Tensor = self.rows(value)
        return y


class VectorMap(nn.Module):
    """A linear map of the vector; a learned row takes the place of a null vector's."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.map = linear(size, width, zero=True)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, value: Float[Tensor, "batch size"]) -> Float[Tensor, "batch width"]:
        absent = value.isnan().any(1, keepdim=True)
        return torch.where(absent, self.missing, self.map(value.nan_to_num(0.0)))


class CrossAttention(nn.Module):
    """x + out(attention(q, k, v)) with q of GroupNorm(x), every position a query, and k, v of the tokens.

    One learned token is always there: attention finds it where the others are null.
    """

    def __init__(self, channels: int, tokens: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.missing = nn.Parameter(torch.zeros(tokens))
        self.token_norm = nn.LayerNorm(tokens)
        self.q = linear(channels, channels)
        self.kv = linear(tokens, 2 * channels)
        self.out = linear(channels, channels, zero=True)

    def forward(
        self, x: Float[Tensor, "batch channels *spatial"], tokens: Float[Tensor, "batch length size"]
    ) -> Float[Tensor, "batch channels *spatial"]:
        absent = tokens.isnan().any(-1)
        found = torch.cat([self.missing.expand(x.shape[0], 1, -1), tokens.nan_to_num(0.0)], dim=1)
        seen = F.pad(~absent, (1, 0), value=True)[:, None, None, :]
        q = self.q(self.norm(x).flatten(2).transpose(1, 2)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(self.token_norm(found)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        y: Tensor = x + self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)
        return y


class CrossAttentions(nn.Module):
    """Cross-attention to each sequence of tokens, one after another; the identity without any."""

    def __init__(self, attentions: Mapping[str, CrossAttention]) -> None:
        super().__init__()
        self.attentions = nn.ModuleDict(dict(attentions))

    def forward(self, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        for name, attention in self.attentions.items():
            x = attention(x, given[name])
        return x


def complete(wanted: tuple[Condition, ...], given: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The conditions of a batch x, the missing ones null.

    Raises:
        UndiffuseError: an unknown condition, one of another shape, or none where one is required.
    """
    names = [condition.name for condition in wanted]
    for name in given:
        if name not in names:
            raise UndiffuseError(
                f"This network cannot be told '{name}'{perhaps(name, names) if names else '; it is unconditional'}"
            )
    spatial = tuple(x.shape[2:])
    found = {}
    for condition in wanted:
        if condition.required and condition.name not in given:
            raise UndiffuseError(f"This network does nothing without the condition '{condition.name}', and got none")
        null = condition.null(x.shape[0], spatial, x.device)  # len(x) would fix the batch of an exported network
        value = given.get(condition.name, null)
        free = 1 if condition.kind == "tokens" else None  # the length of a sequence is free
        shapes = [[n for k, n in enumerate(tensor.shape) if k != free] for tensor in (value, null)]
        if value.ndim != null.ndim or shapes[0] != shapes[1]:
            raise UndiffuseError(
                f"The condition '{condition.name}' should have the shape {tuple(null.shape)}, not {tuple(value.shape)}"
            )
        found[condition.name] = value.to(x.device)
    return found
