"""InceptionV3 of the original FID: the network of the TensorFlow graph of 2015-12-05, with its quirks.

Fréchet distances are comparable only in the features of this one network (Heusel et al. 2017,
https://arxiv.org/abs/1706.08500), which is not quite the InceptionV3 of the paper (Szegedy et al. 2016,
https://arxiv.org/abs/1512.00567) nor that of other libraries:

- average pools inside the blocks divide by the pixels that lie in the image (4 in a corner), not by 9;
- the last block pools by maximum where the one before it averages;
- batch normalisation has eps 1e-3, convolutions have no bias, there is no auxiliary head, and there are 1008 logits.

Names of parameters are those of the published PyTorch weights. Blocks are tables: a branch is a row of units, each a
convolution, a normalisation and a ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

INPUT_SIZE = 299
"""Height and width that the network was trained at and the reference resizes to."""

Pool = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Taps:
    """The network's outputs: averages over positions at four depths, a map with its positions, and logits."""

    pool_64: Float[Tensor, "batch 64"]
    """After the first max pool (73 x 73)."""
    pool_192: Float[Tensor, "batch 192"]
    """After the second max pool (35 x 35)."""
    pool_768: Float[Tensor, "batch 768"]
    """After Mixed_6e (17 x 17)."""
    pool_2048: Float[Tensor, "batch 2048"]
    """After Mixed_7c (8 x 8): the features of FID."""
    spatial: Float[Tensor, "batch 2023"]
    """For sFID (Nash et al. 2021, https://arxiv.org/abs/2103.03841): 7 channels x 17 x 17, flattened.

    The TensorFlow tensor is mixed_6/conv: the output, after its ReLU, of the 1x1 branch of Mixed_6d (TensorFlow counts
    the mixed blocks from Mixed_5b = mixed). It comes first in the block's concatenation.
    """
    logits: Float[Tensor, "batch 1008"]
    logits_without_bias: Float[Tensor, "batch 1008"]
    """``W pool_2048``: the Inception Score's code has always left the bias out (Salimans et al. 2016)."""


@dataclass(frozen=True)
class Unit:
    """A convolution in a block: kernel as (height, width); stride 1 keeps the size, stride 2 pads nothing."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


@dataclass(frozen=True)
class Branch:
    """Units one after another and then, side by side, those of the fork."""

    chain: tuple[Unit, ...]
    fork: tuple[Unit, ...] = ()


class FrozenBatchNorm(nn.Module):
    """``weight (x - running_mean) / sqrt(running_var + 1e-3) + bias``: never trained, so nothing is counted."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-3)


class ConvUnit(nn.Module):
    """Convolution without bias, normalisation, ReLU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = FrozenBatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side, concatenated; last a pool, followed by a 1x1 unit where `pool_channels` is given."""

    def __init__(
        self, in_channels: int, branches: Iterable[Branch], pool: Pool, pool_channels: int | None = None
    ) -> None:
        super().__init__()
        self.branches = tuple(branches)
        self.pool = pool
        for branch in self.branches:
            channels = in_channels
            for unit in branch.chain:
                self._add(unit, channels)
                channels = unit.channels
            for unit in branch.fork:
                self._add(unit, channels)
        self.branch_pool = None if pool_channels is None else ConvUnit(in_channels, pool_channels, (1, 1))

    def _add(self, unit: Unit, in_channels: int) -> None:
        height, width = unit.kernel
        padding = (height // 2, width // 2) if unit.stride == 1 else (0, 0)
        self.add_module(unit.name, ConvUnit(in_channels, unit.channels, unit.kernel, unit.stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(list(self._outputs(x)), dim=1)

    def _outputs(self, x: Tensor) -> Iterator[Tensor]:
        for branch in self.branches:
            y = x
            for unit in branch.chain:
                y = self.get_submodule(unit.name)(y)
            if branch.fork:
                yield from (self.get_submodule(unit.name)(y) for unit in branch.fork)
            else:
                yield y
        pooled = self.pool(x)
        yield pooled if self.branch_pool is None else self.branch_pool(pooled)


average_inside = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
"""3x3 means over the pixels that lie in the image: the padding counts neither above nor below the line."""
maximum_same = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
"""3x3 maxima at every pixel."""
maximum_halving = partial(F.max_pool2d, kernel_size=3, stride=2)
"""3x3 maxima at every second pixel, from the first whole window on."""


def block_a(in_channels: int, pool_channels: int) -> Mixed:
    """35 x 35: 1x1, 5x5 and two 3x3 (Szegedy et al. 2016, figure 5, its 5x5 kept)."""
    branches = (
        Branch((Unit("branch1x1", 64),)),
        Branch((Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5)))),
        Branch((Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3)))),
    )
    return Mixed(in_channels, branches, average_inside, pool_channels)


def block_b(in_channels: int) -> Mixed:
    """35 x 35 to 17 x 17 (figure 10)."""
    branches = (
        Branch((Unit("branch3x3", 384, (3, 3), 2),)),
        Branch(
            (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3), 2)),
        ),
    )
    return Mixed(in_channels, branches, maximum_halving)


def block_c(in_channels: int, inner: int) -> Mixed:
    """17 x 17: 7x7 convolutions as rows and columns (figure 6)."""
    row, column = (1, 7), (7, 1)
    branches = (
        Branch((Unit("branch1x1", 192),)),
        Branch((Unit("branch7x7_1", inner), Unit("branch7x7_2", inner, row), Unit("branch7x7_3", 192, column))),
        Branch(
            (
                Unit("branch7x7dbl_1", inner),
                Unit("branch7x7dbl_2", inner, column),
                Unit("branch7x7dbl_3", inner, row),
                Unit("branch7x7dbl_4", inner, column),
                Unit("branch7x7dbl_5", 192, row),
            )
        ),
    )
    return Mixed(in_channels, branches, average_inside, pool_channels=192)


def block_d(in_channels: int) -> Mixed:
    """17 x 17 to 8 x 8."""
    branches = (
        Branch((Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), 2))),
        Branch(
            (
                Unit("branch7x7x3_1", 192),
                Unit("branch7x7x3_2", 192, (1, 7)),
                Unit("branch7x7x3_3", 192, (7, 1)),
                Unit("branch7x7x3_4", 192, (3, 3), 2),
            )
        ),
    )
    return Mixed(in_channels, branches, maximum_halving)


def block_e(in_channels: int, pool: Pool) -> Mixed:
    """8 x 8: forks of 1x3 and 3x1 (figure 7)."""
    row, column = (1, 3), (3, 1)
    branches = (
        Branch((Unit("branch1x1", 320),)),
        Branch((Unit("branch3x3_1", 384),), (Unit("branch3x3_2a", 384, row), Unit("branch3x3_2b", 384, column))),
        Branch(
            (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, (3, 3))),
            (Unit("branch3x3dbl_3a", 384, row), Unit("branch3x3dbl_3b", 384, column)),
        ),
    )
    return Mixed(in_channels, branches, pool, pool_channels=192)


class InceptionV3(nn.Module):
    """The whole network. Its weights are to be loaded: it draws none worth using.

    Reference implementations that it agrees with: torch-fidelity's FeatureExtractorInceptionV3 and, but for the logits
    and the spatial tap, pytorch-fid's InceptionV3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, (3, 3))
        self.Mixed_5b = block_a(192, pool_channels=32)
        self.Mixed_5c = block_a(256, pool_channels=64)
        self.Mixed_5d = block_a(288, pool_channels=64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, inner=128)
        self.Mixed_6c = block_c(768, inner=160)
        self.Mixed_6d = block_c(768, inner=160)
        self.Mixed_6e = block_c(768, inner=192)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280, average_inside)
        self.Mixed_7c = block_e(2048, maximum_same)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Float[Tensor, "batch 3 299 299"]) -> Taps:
        """All taps of images in [-1, 1], that is (v - 128) / 128 of 8-bit values v."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = maximum_halving(x)
        pool_64 = _mean(x)
        x = maximum_halving(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        pool_192 = _mean(x)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        spatial = x[:, :7].flatten(1)
        x = self.Mixed_6e(x)
        pool_768 = _mean(x)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        pool_2048 = _mean(x)
        without_bias = F.linear(pool_2048, self.fc.weight)
        return Taps(pool_64, pool_192, pool_768, pool_2048, spatial, without_bias + self.fc.bias, without_bias)


def _mean(x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels"]:
    return x.mean(dim=(2, 3))
