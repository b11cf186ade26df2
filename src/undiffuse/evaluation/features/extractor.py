"""What an extractor is: a frozen network from pictures to features, with an identity.

A distance between images means nothing without the network whose features it was measured in. So an extractor says
what it is called, the sha256 of its weights and how it resizes; that identity stands beside every figure and is part of
the key of every cached reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Identity:
    """What identifies an extractor: two with equal identities give equal features, up to float rounding."""

    name: str
    """'inception-v3', 'efficientnet-lite0', 'classifier', 'pixels', 'onnx:FILE', 'module:NAME'."""
    sha256: str
    """Of the weights (of the code, where there are none), 64 hexadecimal digits."""
    resize: str
    """How images become the network's input, in words: size, filter, antialias, grey to colour, range."""
    standard: bool = False
    """Whether these are the published weights of the original FID, so that a distance may be called FID."""


@dataclass(frozen=True)
class Outputs:
    """What an extractor makes of a batch of images."""

    features: Float[Tensor, "batch features"]
    """Pooled features, float32: what FID, KID, precision, recall, density and coverage are computed on."""
    spatial: Float[Tensor, "batch positions"] | None = None
    """Some channels of an inner layer with their positions, flattened, for sFID (Nash et al. 2021), or None."""
    logits: Float[Tensor, "batch classes"] | None = None
    """Unnormalised log probabilities of classes, for the Inception Score; None where there are no classes."""


class Extractor(Protocol):
    """From images to features, without gradients, the same for an image in any batch up to float rounding."""

    @property
    def identity(self) -> Identity: ...

    def __call__(self, images: Float[Tensor, "batch channels *spatial"]) -> Outputs:
        """Features of images.

        Args:
            images: float32 in [0, 1], where 0 and 1 are the ends of the data's range: 8-bit values over 255. On any
                device; the extractor follows.

        Raises:
            UndiffuseError: a number of channels or of dimensions that it cannot take.
        """
        ...
