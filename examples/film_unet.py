"""An own U-Net that is told classes by FiLM (Perez et al. 2018), on the digits that come with undiffuse.

python examples/film_unet.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import undiffuse


class FiLM(nn.Module):
    """A convolution whose channels are scaled and shifted as the class and the time say."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs)
        self.film = nn.Linear(told, 2 * outputs)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.film(told)[:, :, None, None].chunk(2, 1)
        return F.silu(self.norm(self.conv(x)) * (1 + scale) + shift)


class FiLMUNet(nn.Module):
    """Two levels down and up. A class beyond the last one is none: some are left out in training, for guidance."""

    def __init__(self, channels: int, classes: int = 10, width: int = 32, told: int = 128) -> None:
        super().__init__()
        self.time, self.label = nn.Linear(32, told), nn.Embedding(classes + 1, told)
        self.down = nn.ModuleList([FiLM(channels, width, told), FiLM(width, 2 * width, told)])
        self.middle = FiLM(2 * width, 2 * width, told)
        self.up = nn.ModuleList([FiLM(4 * width, width, told), FiLM(2 * width, width, told)])
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        waves = time[:, None] * torch.exp(torch.linspace(0, -9, 16, device=x.device))
        told = F.silu(self.time(torch.cat([waves.sin(), waves.cos()], 1)) + self.label(label))
        first = self.down[0](x, told)
        second = self.down[1](F.avg_pool2d(first, 2), told)
        low = self.middle(F.avg_pool2d(second, 2), told)
        high = self.up[0](torch.cat([F.interpolate(low, scale_factor=2.0), second], 1), told)
        result: Tensor = self.last(self.up[1](torch.cat([F.interpolate(high, scale_factor=2.0), first], 1), told))
        return result


def main(steps: int = 1500, runs: str = "runs") -> None:
    own = undiffuse.train(
        "digits", network=FiLMUNet, condition=("class",), parameterization="v", steps=steps, runs=runs
    )
    own.sample(40, guidance=2.0).grid().save(f"{runs}/film-digits.png")


if __name__ == "__main__":
    main()
