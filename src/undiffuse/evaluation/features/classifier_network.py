"""The network of the extractor 'classifier': a few convolutions over one, two or three dimensions."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import CONVOLUTIONS

LIMITS = {1: 1024, 2: 64, 3: 16}
"""Longest side that the network sees, by the number of dimensions; what is longer is area-averaged to it."""
FEATURES = 64
"""Few enough for a covariance of full rank from a hundred images, and for a distance that a thousand estimate well."""
WIDEST = 64
POSITIONS = 64
"""Pooling goes on until so few positions are left."""
POOLINGS: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class SmallClassifier(nn.Module):
    """Convolution, BatchNorm, ReLU, pooling by two, until at most 64 positions are left; then two linear layers.

    The first linear layer sees each position by itself: averaging over them would not notice parts that are in the
    wrong place. 28 x 28 digits: 16, 32, 64 channels, two poolings, 0.23 M parameters.

    Args:
        shape: (channels, *spatial) of the images, before `LIMITS`.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        dims = len(shape) - 1
        if dims not in LIMITS:
            raise UndiffuseError(f"the classifier takes data of 1, 2 or 3 spatial dimensions, got the shape {shape}")
        self.shape = shape
        sides = [min(side, LIMITS[dims]) for side in shape[1:]]
        inputs, outputs = shape[0], 16
        layers: list[nn.Module] = []
        stages = 0
        while stages < 3 or math.prod(sides) > POSITIONS:
            layers += [CONVOLUTIONS[dims](inputs, outputs, 3, padding=1), NORMS[dims](outputs), nn.ReLU()]
            if math.prod(sides) > POSITIONS:
                layers.append(POOLINGS[dims](2, ceil_mode=True))
                sides = [-(-side // 2) for side in sides]
            inputs, outputs = outputs, min(2 * outputs, WIDEST)
            stages += 1
        head = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(inputs * math.prod(sides), FEATURES), nn.ReLU()]
        self.features = nn.Sequential(*layers, *head)
        self.classes = nn.Linear(FEATURES, classes)

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> tuple[Tensor, Tensor]:
        """(batch, 64) features and (batch, classes) logits."""
        features = self.features(x)
        return features, self.classes(features)
