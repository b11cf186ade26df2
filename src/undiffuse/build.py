"""The network that settings and data describe."""

from __future__ import annotations

import torch
from torch import Tensor

from undiffuse.conditions import conditions_of
from undiffuse.config import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.networks.conditions import Condition
from undiffuse.networks.unet import UNet
from undiffuse.seeds import stream_seed


def build_network(config: TrainConfig, info: DataInfo, told: tuple[Condition, ...] | None = None) -> UNet:
    """The network for data of this shape, its weights drawn from the settings' seed.

    Args:
        told: its conditions, if not those of the settings.
    """
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from torch's global stream
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        outputs = 2 * info.channels if config.diffusion.learn_variance else info.channels
        told = conditions_of(config, info) if told is None else told
        network = UNet(info.channels, outputs, len(info.spatial), config.network, told)
    return _arranged(network, config, info)


def outline(config: TrainConfig, info: DataInfo) -> dict[str, Tensor]:
    """The names, shapes and types of that network's tensors, without their values and without their memory.

    What is read from a file is compared with it before anything of the file's making is allocated.
    """
    with torch.device("meta"):
        return build_network(config, info).state_dict()


def _arranged(network: UNet, config: TrainConfig, info: DataInfo) -> UNet:
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    if config.loop.channels_last and len(info.spatial) in formats:
        network = network.to(memory_format=formats[len(info.spatial)])  # type: ignore[call-overload]
    return network
