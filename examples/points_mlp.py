"""An own network on data that are no pictures: points on a spiral, learned by an MLP.

python examples/points_mlp.py
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import undiffuse


class PointMLP(nn.Module):
    """Three layers that see points, (batch, 1, 2), and the time beside them as waves."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 8, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] / 1000 * math.pi * 2.0 ** torch.arange(4, device=x.device)
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        moved: Tensor = self.layers(torch.cat([x.flatten(1), waves], 1))
        return moved[:, None]


def spiral(count: int) -> Tensor:
    """Points on two turns of a spiral, (count, 2)."""
    angle = 4 * math.pi * torch.rand(count, generator=torch.Generator().manual_seed(0)).sqrt()
    radius = angle / (4 * math.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def main(steps: int = 3000, runs: str = "runs") -> float:
    model = undiffuse.train(
        spiral(10_000),
        network=PointMLP,
        parameterization="v",
        schedule="cosine",
        steps=steps,
        batch=256,
        lr=1e-3,
        runs=runs,
    )
    points = torch.from_numpy(model.sample(500, steps=50).array)
    distance = torch.cdist(points[:, 0], spiral(10_000)).min(1).values.mean().item()
    print(f"{len(points)} points drawn, on average {distance:.3f} from the spiral")
    path = model.save(f"{runs}/spiral.safetensors", overwrite=True)
    assert torch.equal(points, torch.from_numpy(undiffuse.load(path, network=PointMLP).sample(500, steps=50).array))
    return distance


if __name__ == "__main__":
    main()
