"""Self-attention over all positions of a feature map."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import group_norm, linear


class SelfAttention(nn.Module):
    """x + out(attention(q, k, v)) with q, k, v = qkv(GroupNorm(x)), every position being a token.

        attention(q, k, v) = softmax(q k^T / sqrt(channels / heads)) v     for each head

    Ho et al. 2020 use one head; Nichol & Dhariwal 2021 four, or heads of a fixed width.

    q, k and v come from one matrix, stacked in this order with the heads inside. (Ho's code has three 1x1 convolutions:
    the same numbers.)

    Args:
        heads: must divide ``channels``.
        norm: makes the norm before q, k and v.

    Raises:
        UndiffuseError: if the heads do not divide the channels.
    """

    def __init__(self, channels: int, heads: int = 1, norm: Callable[[int], nn.Module] = group_norm) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise UndiffuseError(
                f"{channels} channels cannot be shared evenly by {heads} attention heads; "
                "change `heads`, `head_width`, `base` or `multipliers`."
            )
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = linear(channels, 3 * channels)
        for matrix in self.qkv.weight.detach().chunk(3):  # three square matrices to the initialiser, not a wide one
            nn.init.xavier_uniform_(matrix)
        self.out = linear(channels, channels, zero=True)

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch channels *spatial"]:
        # Tokens are rows: with channels last in memory, the two reshapes around the linear layers copy nothing.
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v)  # (batch, heads, tokens, channels / heads)
        y: Tensor = x + self.out(h.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)
        return y
