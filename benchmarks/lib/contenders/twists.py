"""What was tried on the recipe `small` and is no setting of it: other optimisers, another stem, growing pictures.

**soap**: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, https://arxiv.org/abs/2409.11321), from
the package pytorch_optimizer; the basis is renewed every ten steps.

**schedule-free**: AdamW whose average takes the place of a falling rate (Defazio et al. 2024,
https://arxiv.org/abs/2405.15682), from the package schedulefree. It is judged by its own average, not by ours.

**haar**: the 2 x 2 patches as a mean and three differences (an orthonormal Haar transform, both ways) in place of the
four pixels. A linear layer could undo it, so it only changes what the optimiser finds easy.

**growing**: the first 40 % of the steps on pictures of half the side, whose step costs about a third. No weight of the
network knows the size, and it is given the whole ones then.

The packages are needed only where their contender is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.lib.contenders.training import Contender
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import OptimizerConfig
from undiffuse.data.info import DataInfo
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet import UNet
from undiffuse.recipes import get_recipe
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.training.loop import TrainState

HAAR = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
"""Orthonormal and its own inverse; rows: mean, vertical, horizontal and diagonal difference."""
GROWN_FROM = 0.4
"""Part of the steps after which the pictures have their full size."""


def soap(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """SOAP with its authors' betas, for all parameters."""
    from pytorch_optimizer import SOAP

    optimizer: Optimizer = SOAP(network.parameters(), lr=config.lr, betas=(0.95, 0.95), weight_decay=0.0)
    return optimizer


def schedule_free(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """Schedule-free AdamW in its state of training: the network holds y, at which gradients are taken."""
    from schedulefree import AdamWScheduleFree

    optimizer: Optimizer = AdamWScheduleFree(network.parameters(), lr=config.lr, betas=(config.beta1, config.beta2))
    optimizer.train()  # type: ignore[attr-defined]
    return optimizer


def own_average(train_state: TrainState) -> dict[str, Tensor]:
    """The network's weights at x, the optimiser's average, which goes back to y then."""
    train_state.optimizer.eval()  # type: ignore[attr-defined]
    weights = {name: tensor.clone() for name, tensor in train_state.network.state_dict().items()}
    train_state.optimizer.train()  # type: ignore[attr-defined]
    return weights


class HaarUNet(UNet):
    """The U-Net on Haar coefficients of half the side in place of pixels, and back."""

    def forward(self, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        y = super().forward(_mix(F.pixel_unshuffle(x, 2)), time, **conditions)
        return F.pixel_shuffle(_mix(y), 2)


def _mix(x: Tensor) -> Tensor:
    """HAAR over each channel's four pixels, which pixel_unshuffle puts next to each other."""
    return torch.einsum("kp,bcphw->bckhw", HAAR, x.unflatten(1, (-1, 4))).flatten(1, 2)


def haar_network(config: TrainConfig, info: DataInfo) -> nn.Module:
    """As many parameters as patches of 2 x 2 have, the same first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        network = HaarUNet(4 * info.channels, 4 * info.channels, 2, replace(config.network, patch=1))
    return accelerate_cpu(network).to(memory_format=torch.channels_last)


def half(x: Tensor) -> Tensor:
    """Pictures of half the side."""
    return F.avg_pool2d(x, 2)


def _recipe(info: DataInfo) -> TrainConfig:
    return get_recipe("small").build(info)


_small = partial(Contender, settings=_recipe, ours=True)
TWISTS = (
    _small("soap", optimizer=soap),
    _small("schedule-free", optimizer=schedule_free, weights=own_average),
    _small("haar", network=haar_network),
    _small("growing", early=half, early_until=GROWN_FROM),
)
