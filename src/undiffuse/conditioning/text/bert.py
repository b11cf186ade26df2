"""BERT's encoder (Devlin et al. 2019, https://arxiv.org/abs/1810.04805), for one sentence at a time.

    h_0     = norm(word + position + segment)
    a       = norm(h + out(attention(h)))        twelve heads, no mask: a sentence comes alone
    h       = norm(a + down(gelu(up(a))))        in each of the layers

The modules have the names of the published weights, so that a file of them loads as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, INNER = 384, 6, 12, 1536
"""MiniLM-L6 (Wang et al. 2020, https://arxiv.org/abs/2002.10957)."""
POSITIONS = 512


class _Named(nn.ModuleDict):
    """Modules by the names that the weights have."""


def _dense_and_norm(inputs: int, width: int) -> _Named:
    return _Named({"dense": nn.Linear(inputs, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})


class Layer(nn.Module):
    """Self-attention and two linear maps, each with its residual and its norm after it."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        own = _Named({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.attention = _Named({"self": own, "output": _dense_and_norm(width, width)})
        self.intermediate = _Named({"dense": nn.Linear(width, inner)})
        self.output = _dense_and_norm(inner, width)

    def forward(self, h: Float[Tensor, "length width"]) -> Float[Tensor, "length width"]:
        own, mix = self.attention["self"], self.attention["output"]
        assert isinstance(own, _Named)
        assert isinstance(mix, _Named)
        q, k, v = (own[name](h).unflatten(-1, (self.heads, -1)).transpose(0, 1) for name in ("query", "key", "value"))
        seen = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
        a: Tensor = mix["LayerNorm"](h + mix["dense"](seen))
        y: Tensor = self.output["LayerNorm"](a + self.output["dense"](F.gelu(self.intermediate["dense"](a))))
        return y


class Bert(nn.Module):
    """Numbers of pieces to a vector for each.

    Args:
        pieces: size of the vocabulary.
        width, layers, heads, inner: by default MiniLM-L6's.
    """

    def __init__(
        self, pieces: int, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS, inner: int = INNER
    ) -> None:
        super().__init__()
        self.embeddings = _Named(
            {
                "word_embeddings": nn.Embedding(pieces, width),
                "position_embeddings": nn.Embedding(POSITIONS, width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": nn.LayerNorm(width, eps=1e-12),
            }
        )
        self.encoder = _Named({"layer": nn.ModuleList([Layer(width, heads, inner) for _ in range(layers)])})

    @torch.no_grad()
    def forward(self, numbers: Int[Tensor, "length"]) -> Float[Tensor, "length width"]:
        e = self.embeddings
        places, first_segment = torch.arange(len(numbers)), torch.zeros(1, dtype=torch.int64)
        words = e["word_embeddings"](numbers) + e["position_embeddings"](places)
        h: Tensor = e["LayerNorm"](words + e["token_type_embeddings"](first_segment))
        layers = self.encoder["layer"]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            h = layer(h)
        return h
