"""An extractor is a frozen network from pictures to features, with an identity.

A distance between images means nothing without the network whose features it was measured in. So an extractor says
what it is called, the sha256 of its weights and how it resizes; that identity stands beside every figure and is part of
the key of every cached reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.evaluation.metrics.moments import Moments


@dataclass(frozen=True)
class Identity:
    """The name, weights and resizing of an extractor: equal identities give equal features, up to float rounding."""

    name: str
    """'inception-v3', 'efficientnet-lite0', 'classifier', 'pixels', 'onnx:FILE', 'module:NAME'."""
    sha256: str
    """Of the weights (of the code, where there are none), 64 hexadecimal digits."""
    resize: str
    """How images become the network's input, in words: size, filter, antialias, grey to colour, range."""
    standard: bool = False
    """Whether these are the published weights of the original FID, so that a distance may be called FID."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of an extractor for some images, float32 with a row an image."""

    features: Float[Tensor, "images features"]
    """Pooled features: what FID, KID, precision, recall, density and coverage are computed on."""
    spatial: Float[Tensor, "images positions"] | None = None
    """Some channels of an inner layer with their positions, flattened, for sFID (Nash et al. 2021), or None."""
    logits: Float[Tensor, "images classes"] | None = None
    """Unnormalised log probabilities of classes, for the Inception Score; None where there are no classes."""

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def moments(self) -> Moments:
        """Count, mean and scatter of ``features`` in float64."""
        return Moments.of(self.features)

    def take(self, indices: Tensor | Sequence[int]) -> Outputs:
        """The outputs for the images at these positions, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return Outputs(**{name: tensor[chosen] for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that there are, by name."""
        named = {"features": self.features, "spatial": self.spatial, "logits": self.logits}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def join(cls, parts: Sequence[Outputs]) -> Outputs:
        rows = [part.tensors() for part in parts]
        return cls(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})


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


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inside, a GPU convolves in float32: PyTorch rounds the inputs to 10 bits (TF32) unless told otherwise.

    Features are an instrument's reading; they must not depend on the device that it stands on.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
