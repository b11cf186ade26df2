"""The embedding of time: sinusoids of geometrically spaced frequencies, then a small MLP."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import linear


def sinusoids(
    time: Float[Tensor, " batch"], width: int, family: Literal["ho", "adm"]
) -> Float[Tensor, "batch {width}"]:
    """Sines and cosines of ``time`` at ``width / 2`` frequencies from 1 down to about 1/10000, in float32.

    With h = width / 2 and k = 0 .. h - 1:

        ho:   [sin(w_k t), cos(w_k t)],  w_k = 10000^(-k / (h - 1))    (Ho et al. 2020; diffusers' google/ddpm-*)
        adm:  [cos(w_k t), sin(w_k t)],  w_k = 10000^(-k / h)          (Nichol & Dhariwal 2021; OpenAI's networks)

    Float32 whatever the network computes in: bfloat16 has 8 bits and cannot tell t = 998 from t = 999.

    Args:
        time: any real numbers; the index of the chain, 0 .. T - 1, where the published weights are used.
        width: even, at least 4.
        family: the order and the divisor.
    """
    half = width // 2
    steps = half - 1 if family == "ho" else half
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=time.device) * (-math.log(10000) / steps))
    angles = time.float()[:, None] * frequencies
    parts = (angles.sin(), angles.cos()) if family == "ho" else (angles.cos(), angles.sin())
    return torch.cat(parts, dim=1)


class TimeEmbedding(nn.Module):
    """linear(SiLU(linear(sinusoids(time)))), of shape ``(batch, outputs)``.

    Args:
        width: number of sinusoids, even and at least 4.
        outputs: width of the MLP and of what it returns.
        family: see `sinusoids`.

    Raises:
        UndiffuseError: for a width that sines and cosines cannot share evenly.
    """

    def __init__(self, width: int, outputs: int, family: Literal["ho", "adm"]) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise UndiffuseError(
                "The time embedding is half sines, half cosines, so `base` (or `time_width`) must be even and at least "
                f"4, not {width}."
            )
        self.width = width
        self.family = family
        self.linear1 = linear(width, outputs)
        self.linear2 = linear(outputs, outputs)

    def forward(self, time: Float[Tensor, " batch"]) -> Float[Tensor, "batch outputs"]:
        h = sinusoids(time, self.width, self.family).to(self.linear1.weight.dtype)
        embedding: Tensor = self.linear2(F.silu(self.linear1(h)))
        return embedding
