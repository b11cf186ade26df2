"""The network that settings and data describe."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from undiffuse.conditioning.request import conditions_of
from undiffuse.conditioning.student import critic_conditions
from undiffuse.config import registry
from undiffuse.config.distillation import DistributionConfig, has_critic
from undiffuse.config.fields import fields_of
from undiffuse.config.network import GivenNetworkConfig, NetworkConfig, RMSUNetConfig, ScoreUNetConfig, UNetConfig
from undiffuse.config.schema import ARCHITECTURES, TrainConfig
from undiffuse.config.sections import sections
from undiffuse.config.training import LoRAConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, one_of
from undiffuse.networks.conditions import Condition
from undiffuse.networks.diffusers_unet import CLASS_NAME, DiffusersUNet, is_diffusers_unet
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.layers import LAYOUTS
from undiffuse.networks.lora import adapt, merged
from undiffuse.networks.rms_unet import RMSUNet
from undiffuse.networks.score_unet import ScoreUNet
from undiffuse.networks.unet import UNet
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.uninitialized import outlined

NETWORKS: dict[type[NetworkConfig], Callable[..., nn.Module]] = {
    UNetConfig: UNet,
    RMSUNetConfig: RMSUNet,
    ScoreUNetConfig: ScoreUNet,
}
"""What builds a network, from channels of x and of the result, dimensions, options and conditions."""
ARCHITECTURE = "architecture"
"""The kind of objects that `registry` keeps."""
CRITIC = "critic"
"""The module of a student's network that learns what the student draws; see `diffusion.distillation.distribution`."""
SIDE, VALUES = 1 << 16, 1 << 30
"""Of one sample: a side, and how many values at most."""
WEIGHTS = 1 << 34
"""At most, float32 of 64 GB: four times the largest U-Nets there are."""
ARGUMENTS = ("source", "recipe", "config", "name", "runs", "resume", "quiet", "callbacks", "help")
"""Of `undiffuse.train` and of its command: no setting can have such a name."""


def register(options: type[NetworkConfig], network: Callable[..., nn.Module]) -> None:
    """Make a new network known: to files, to ``--architecture``, to Python's keywords, and to `build_network`.

    Args:
        options: a frozen dataclass whose ``architecture`` is a Literal of its names, every field with its help below.
        network: see `NETWORKS`.

    Raises:
        UndiffuseError: a name of its is taken, or means something else elsewhere.
    """
    taken = {name: section for name, section in sections(TrainConfig).items() if section != "network"}
    if names := [name for name in fields_of(options) if name in taken or name in ARGUMENTS]:
        raise UndiffuseError(f"'{names[0]}' is a setting already; give the field of {options.__name__} another name")
    ARCHITECTURES.add(options)
    registry.reserve(ARCHITECTURE, *fields_of(options)["architecture"].kind.choices)
    NETWORKS[options] = network


def give_network(network: nn.Module | Callable[..., nn.Module], architecture: str = "") -> str:
    """Make a network that a program has known to this process, and return the architecture that settings name it by.

    Args:
        network: a module, of which every model gets a copy, with the weights that it has; or a function or class that
            makes one, called with those of ``channels``, ``outputs``, ``dims`` and ``conditions`` that it takes, under
            the settings' seed. It is called as ``network(x, time, **conditions)`` and returns as many channels as it
            gets, or ``outputs`` of them. A UNet2DModel of diffusers is called as theirs are.
        architecture: the name in a file that is to be loaded; without it the object's own.

    Raises:
        UndiffuseError: it is neither.
    """
    if not (isinstance(network, nn.Module) or callable(network)):
        raise UndiffuseError(
            "A network is given as a torch.nn.Module, a function that makes one, or the name of an architecture; got "
            f"a {type(network).__name__}"
        )
    if is_diffusers_unet(network):
        network, architecture = DiffusersUNet(network), architecture or CLASS_NAME
    name = registry.keep(ARCHITECTURE, network, architecture)
    ARCHITECTURES.add_given(name)
    return name


def is_given(architecture: str) -> bool:
    """Whether this process was given a network of this name."""
    return registry.knows(ARCHITECTURE, architecture)


def _build_given(
    channels: int, outputs: int, dims: int, options: NetworkConfig, conditions: tuple[Condition, ...]
) -> nn.Module:
    """A network of the object that a program gave under this name."""
    given = registry.kept(ARCHITECTURE, options.architecture)
    if isinstance(given, nn.Module):
        return _checked(copy.deepcopy(given), options.architecture, conditions)
    known = {"channels": channels, "outputs": outputs, "dims": dims, "conditions": conditions}
    takes = signature(given).parameters
    everything = any(one.kind is Parameter.VAR_KEYWORD for one in takes.values())
    made = given(**{name: value for name, value in known.items() if everything or name in takes})
    if not isinstance(made, nn.Module):
        raise UndiffuseError(
            f"The function for the network '{options.architecture}' should return a torch.nn.Module, and it returned "
            f"a {type(made).__name__}"
        )
    return _checked(made, options.architecture, conditions)


def _checked(network: nn.Module, name: str, conditions: tuple[Condition, ...]) -> nn.Module:
    """The network, if it can be called with what it is told, as far as its forward says what it takes."""
    try:
        signature(network.forward).bind(None, None, **{told.name: None for told in conditions})
    except ValueError:  # a traced one says nothing
        return network
    except TypeError as error:
        told = "".join(f", {one.name}" for one in conditions)
        raise UndiffuseError(
            f"The network '{name}' is called as network(x, time{told}) by these settings, and its forward cannot be: "
            f"{error}"
        ) from None
    return network


def _builder(options: NetworkConfig) -> Callable[..., nn.Module]:
    return _build_given if isinstance(options, GivenNetworkConfig) else NETWORKS[type(options)]


def build_network(config: TrainConfig, info: DataInfo, told: tuple[Condition, ...] | None = None) -> nn.Module:
    """The network for data of this shape, its weights drawn from the settings' seed.

    Args:
        told: its conditions, if not those of the settings.

    Raises:
        UndiffuseError: as for `check_size`, or settings that describe no network.
    """
    check_size(config, info)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from torch's global stream
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        channels, *sides = codec_of(info).shape(info.shape)
        outputs = 2 * channels if config.diffusion.learn_variance else channels
        told = conditions_of(config, info) if told is None else told
        build = _builder(config.network)
        network = accelerate_cpu(build(channels, outputs, len(sides), config.network, told))
        if has_critic(config.distillation):  # it goes where the student goes: optimizer, averages, checkpoints, shards
            told = (*told, *critic_conditions(config.distillation))
            setattr(network, CRITIC, accelerate_cpu(build(channels, outputs, len(sides), config.network, told)))
        if config.lora.lora_rank:
            adapt(network, config.lora.lora_rank, config.lora.lora_layers)
    layout = LAYOUTS.get(len(info.spatial) + 2)
    if config.loop.channels_last and layout is not None:
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
    return network


def drawing_settings(config: TrainConfig) -> TrainConfig:
    """Settings whose network has no critic and no adapters beside its weights: nobody needs them who draws, and nobody
    who learns from it."""
    return replace(_with_critic(config, False), lora=LoRAConfig())


def learning_settings(config: TrainConfig) -> TrainConfig:
    """Settings whose network has the critic that a student's training needs."""
    return _with_critic(config, True)


def _with_critic(config: TrainConfig, there: bool) -> TrainConfig:
    if isinstance(config.distillation, DistributionConfig):
        return replace(config, distillation=replace(config.distillation, with_critic=there))
    return config


def drawing_tensors(config: TrainConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network of `drawing_settings`, of those of the network that these settings describe: without
    its critic's, if it has one, and with the sums that its adapters add to its weights."""
    critic = f"{CRITIC}." if has_critic(config.distillation) else None
    kept = {name: tensor for name, tensor in tensors.items() if critic is None or not name.startswith(critic)}
    return merged(kept) if config.lora.lora_rank else kept


def check_size(config: TrainConfig, info: DataInfo) -> None:
    """Check the size of a network before anything is allocated: settings may come from a stranger's file.

    Raises:
        UndiffuseError: a shape, a seed or a network that cannot be.
    """
    network, shape = config.network, info.shape
    if not 2 <= len(shape) <= 4 or min(shape) < 1 or max(shape) > SIDE or math.prod(shape) > VALUES:
        raise UndiffuseError(
            f"The shape of a sample is channels and 1 to 3 sides, from 1 to {SIDE:,} each; it is {_short(shape)}"
        )
    if config.loop.seed < 0:
        raise UndiffuseError(f"`seed` must be a whole number from 0 on, not {_short(config.loop.seed)}")
    if network.count_weights(info.channels, len(shape) - 1) > WEIGHTS:
        sizes = one_of(f"`{name}`" for name in network.SIZES)
        raise UndiffuseError(f"The network is too large, over {WEIGHTS:,} weights: lower {sizes}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def outline(config: TrainConfig, info: DataInfo) -> dict[str, Tensor]:
    """The names, shapes and types of that network's tensors, without their values and without their memory.

    What is read from a file is compared with it before anything of the file's making is allocated.
    """
    with outlined():
        return build_network(config, info).state_dict()
