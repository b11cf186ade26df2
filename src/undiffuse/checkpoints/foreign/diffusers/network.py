"""unet/config.json of a UNet2DModel as a `UNetConfig`, and back.

    block_out_channels          base, multipliers        multiples of the first
    layers_per_block            blocks
    down_, up_block_types       attention_levels, up_attention_levels, residual_down_levels, residual_up_levels
    downsample_, upsample_type  the last two, where a level has attention
    attention_head_dim          head_width; null is one head
    flip_sin_to_cos, freq_shift embedding; where only the order of sines and cosines differs, the weights are turned
    norm_num_groups, norm_eps   norm_groups, norm_eps
    resnet_time_scale_shift     scale_shift
    downsample_padding          downsample_padding: 0 is 'end', 1 is 'both'
    mid_block_type              middle
    add_attention               middle_attention
    attn_norm_num_groups        middle_attention_norm: by default there is none where there is scale_shift
    center_input_sample         center_input
    num_class_embeds            condition=class

Names that a UNet2DModel does not know are ignored here as there. Bounds are wide, and come before anything is built.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from undiffuse.checkpoints.foreign.settings import Settings
from undiffuse.conditioning.request import conditions_of
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import build_network
from undiffuse.runtime.uninitialized import outlined

CLASS_NAME = "UNet2DModel"
LEVELS, BLOCKS, WIDTH, SIDE, CHANNELS, CLASSES = 12, 32, 1 << 16, 1 << 14, 256, 1 << 20
"""The most that is read."""

DOWN = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, ""), "ResnetDownsampleBlock2D": (False, "resnet")}
UP = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, ""), "ResnetUpsampleBlock2D": (False, "resnet")}
"""Kinds of levels: whether they have attention, and how they are left; '' is as downsample_ or upsample_type says."""
OLD = "UNetRes"
"""Kinds of levels may begin with it in old files."""


@dataclass(frozen=True)
class Architecture:
    """The network of such a file.

    Args:
        learn_variance: whether there are twice as many channels out as in.
        class_rows: of the table of classes; 0 for none.
        swapped: whether sines and cosines come in the other order than in ``network.embedding``.
    """

    network: UNetConfig
    channels: int
    size: tuple[int, int]
    learn_variance: bool
    class_rows: int
    swapped: bool


# --- reading ----------------------------------------------------------------------------------------------------------


def architecture(settings: Settings) -> Architecture:
    """The network that the file describes."""
    if settings.values.get("_class_name") != CLASS_NAME:
        raise settings.wrong("_class_name", f"'{CLASS_NAME}', the unconditional or class-conditional U-Net of images,")
    _refuse_others(settings)
    widths = settings.wholes("block_out_channels", (224, 448, 672, 896), 1, WIDTH, LEVELS)
    base = widths[0]
    if any(width % base for width in widths):
        raise settings.wrong("block_out_channels", "multiples of its first")
    if settings.whole("time_embedding_dim", 4 * base, 1, 1 << 20) != 4 * base:
        raise settings.wrong("time_embedding_dim", f"{4 * base}, four times the first of block_out_channels,")
    family, swapped = _embedding(settings)
    down_attends, down_residual = _levels(settings, "down", DOWN, len(widths))
    up_attends, up_residual = _levels(settings, "up", UP, len(widths))
    shifted = settings.text("resnet_time_scale_shift", "default", ("default", "scale_shift")) == "scale_shift"
    groups = settings.whole("norm_num_groups", 32, 1, WIDTH)
    middle = "mid_block_type" not in settings.values or "mid_block_type" in settings
    network = UNetConfig(
        base=base,
        multipliers=tuple(width // base for width in widths),
        blocks=settings.whole("layers_per_block", 2, 1, BLOCKS),
        attention_levels=down_attends,
        up_attention_levels=None if up_attends == down_attends else up_attends,
        residual_down_levels=down_residual,
        residual_up_levels=up_residual,
        middle=middle,
        middle_attention=middle and settings.flag("add_attention", True),
        head_width=_head_width(settings),
        dropout=settings.number("dropout", 0.0, 0.0, 0.999),
        scale_shift=shifted,
        embedding="ho" if family == 1 else "adm",
        norm_groups=groups,
        norm_eps=settings.number("norm_eps", 1e-5, 0.0, 1.0),
        downsample_padding="both" if settings.whole("downsample_padding", 1, 0, 1) else "end",
        center_input=settings.flag("center_input_sample", False),
    )
    network = _with_middle_norm(network, settings)
    channels = settings.whole("in_channels", 3, 1, CHANNELS)
    out = settings.whole("out_channels", 3, 1, 2 * CHANNELS)
    if out not in (channels, 2 * channels):
        raise settings.wrong("out_channels", f"{channels}, or {2 * channels} with a learned variance,")
    rows = settings.whole("num_class_embeds", 0, 1, CLASSES) if "num_class_embeds" in settings else 0
    return Architecture(network, channels, image_size(settings), out == 2 * channels, rows, swapped)


def _refuse_others(settings: Settings) -> None:
    settings.text("time_embedding_type", "positional", ("positional",))
    settings.text("act_fn", "silu", ("silu", "swish"))
    if settings.number("mid_block_scale_factor", 1.0) != 1:
        raise settings.wrong("mid_block_scale_factor", "1")
    if "class_embed_type" in settings:
        raise settings.wrong("class_embed_type", "null, which is a table of classes,")
    if settings.values.get("mid_block_type") not in (None, "UNetMidBlock2D"):
        raise settings.wrong("mid_block_type", "'UNetMidBlock2D' or null")


def _embedding(settings: Settings) -> tuple[int, bool]:
    """(1 for Ho's divisor or 0 for OpenAI's, whether the halves come the other way round)."""
    family = settings.whole("freq_shift", 0, 0, 1)
    cosines_first = settings.flag("flip_sin_to_cos", True)
    return family, cosines_first == (family == 1)


def _levels(
    settings: Settings, way: str, kinds: dict[str, tuple[bool, str]], levels: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Levels with attention and levels that a residual block leaves, the finest being 0."""
    name = f"{way}_block_types"
    names = [*kinds, *(OLD + kind for kind in kinds)]
    default = ("DownBlock2D", *["AttnDownBlock2D"] * 3) if way == "down" else (*["AttnUpBlock2D"] * 3, "UpBlock2D")
    given = settings.texts(name, default, names, LEVELS)
    if len(given) != levels:
        raise settings.wrong(name, f"{levels} of them, one for each of block_out_channels,")
    chosen = settings.text(f"{way}sample_type", "conv", ("conv", "resnet"))
    found = [kinds[kind.removeprefix(OLD)] for kind in (given if way == "down" else reversed(given))]
    leaves = range(levels - 1) if way == "down" else range(1, levels)
    attends = tuple(k for k, (attention, _) in enumerate(found) if attention)
    return attends, tuple(k for k in leaves if (found[k][1] or chosen) == "resnet")


def _head_width(settings: Settings) -> int | None:
    """Null is one head of all channels; left out it is 8."""
    if "attention_head_dim" in settings.values and "attention_head_dim" not in settings:
        return None
    return settings.whole("attention_head_dim", 8, 1, WIDTH)


def _with_middle_norm(network: UNetConfig, settings: Settings) -> UNetConfig:
    """With or without a norm before the attention in the middle; it must be one like all others."""

    groups = network.norm_groups
    if not network.middle_attention:
        return network
    if "attn_norm_num_groups" not in settings:
        return replace(network, middle_attention_norm=not network.scale_shift)
    if settings.whole("attn_norm_num_groups", None, 1, WIDTH) != groups:
        raise settings.wrong("attn_norm_num_groups", f"null, or {groups} as norm_num_groups is,")
    return network


def image_size(settings: Settings) -> tuple[int, int]:
    """(height, width)."""
    if "sample_size" not in settings:
        raise settings.wrong("sample_size", "the side of the images in pixels")
    if isinstance(settings.values["sample_size"], list | tuple):
        height, *width = settings.wholes("sample_size", None, 1, SIDE, 2)
        return height, width[0] if width else height
    side = settings.whole("sample_size", None, 1, SIDE)
    return side, side


# --- writing ----------------------------------------------------------------------------------------------------------


def unet_values(config: TrainConfig, info: DataInfo) -> dict[str, Any]:
    """The file for a network of ours."""
    if found := obstacles(config, info):
        raise UndiffuseError(f"diffusers' UNet2DModel cannot be this network: {'; '.join(found)}")
    network = config.network
    assert isinstance(network, UNetConfig)  # any other is an obstacle
    (down, down_ways), (up, up_ways) = _kinds(network, "down"), _kinds(network, "up")
    groups = _group_counts(config, info)[0]
    told = config.conditions.condition
    return {
        "_class_name": CLASS_NAME,
        "_diffusers_version": "0.35.0",
        "sample_size": info.spatial[0] if len(set(info.spatial)) == 1 else list(info.spatial),
        "in_channels": info.channels,
        "out_channels": (2 if config.diffusion.learn_variance else 1) * info.channels,
        "center_input_sample": network.center_input,
        "time_embedding_type": "positional",
        "time_embedding_dim": None,
        "freq_shift": 1 if network.embedding == "ho" else 0,
        "flip_sin_to_cos": network.embedding == "adm",
        "down_block_types": down,
        "up_block_types": up[::-1],
        "downsample_type": "resnet" if True in down_ways else "conv",
        "upsample_type": "resnet" if True in up_ways else "conv",
        "mid_block_type": "UNetMidBlock2D" if network.middle else None,
        "mid_block_scale_factor": 1,
        "add_attention": network.middle_attention,
        "attn_norm_num_groups": groups if network.scale_shift and network.middle_attention_norm else None,
        "block_out_channels": [network.base * multiplier for multiplier in network.multipliers],
        "layers_per_block": network.blocks,
        "downsample_padding": 0 if network.downsample_padding == "end" else 1,
        "dropout": network.dropout,
        "act_fn": "silu",
        "attention_head_dim": _head_dim(network),
        "norm_num_groups": groups,
        "norm_eps": network.norm_eps,
        "resnet_time_scale_shift": "scale_shift" if network.scale_shift else "default",
        "class_embed_type": None,
        "num_class_embeds": len(info.classes) + 1 if told else None,  # the last row is that of no class
    }


def obstacles(config: TrainConfig, info: DataInfo) -> list[str]:
    """All that a UNet2DModel does not have of a network of ours, each with what to train instead."""
    network, found = config.network, list[str]()
    if not isinstance(network, UNetConfig):
        return [f"diffusers' UNet2DModel is another network than `architecture={network.architecture}`"]
    if others := [told.name for told in conditions_of(config, info) if told.kind != "class"]:
        found.append(f"it can be told a class and nothing else, this network '{others[0]}'")
    if network.time_width not in (None, network.base):
        found.append("it has as many sinusoids of time as `base`, this network `time_width`")
    if network.patch != 1:
        found.append(
            f"it has no patches, and this network folds patches of {network.patch} x {network.patch} pixels into "
            "channels (`patch=1`)"
        )
    if len(info.spatial) != 2:
        return [*found, f"it is for images, and this network for data of {len(info.spatial)} dimensions"]
    if any(side % 2 ** (len(network.multipliers) - 1) for side in info.spatial):
        height, width = info.spatial
        found.append(
            f"it pads nothing, and {height} x {width} pixels cannot be halved {len(network.multipliers) - 1} times "
            "(fewer `multipliers` or another `size`)"
        )
    if network.multipliers[0] != 1:
        found.append("it has `base` channels at its first level (`multipliers=1,...`)")
    if network.middle and network.middle_attention and not (network.middle_attention_norm or network.scale_shift):
        found.append("it leaves out the norm before the middle's attention with `scale_shift` alone")
    if len(groups := _group_counts(config, info)) > 1:
        found.append(
            f"its GroupNorms all have one number of groups, and this network's have {', '.join(map(str, groups))}, as "
            f"its channels are few (`norm_groups={groups[0]}`)"
        )
    if len(widths := _head_widths(network)) > 1:
        found.append(
            f"its heads are all of one width, and {network.heads} `heads` are of {' and '.join(map(str, widths))} "
            "channels here (`head_width`)"
        )
    if any(len(_kinds(network, way)[1]) > 1 for way in ("down", "up")):
        found.append("its levels with attention all change resolution alike, and this network's do not (`resample`)")
    return found


def _kinds(network: UNetConfig, way: str) -> tuple[list[str], set[bool]]:
    """The kind of each level, the finest first, and the ways of leaving those with attention: True is by a block."""
    levels = range(len(network.multipliers))
    if way == "down":
        kinds, attends, residual, last = DOWN, network.attention_levels, network.residual_down, levels[-1]
    else:
        kinds, attends, residual, last = UP, network.attention_up, network.residual_up, 0
    plain, attentive, resnet = kinds
    found = [attentive if k in attends else resnet if k in residual and k != last else plain for k in levels]
    return found, {k in residual for k in attends if k != last}


def _head_widths(network: UNetConfig) -> list[int]:
    if network.head_width is not None or network.heads == 1:
        return []
    levels = {*network.attention_levels, *(network.up_attention_levels or ())}
    middle = [network.multipliers[-1]] if network.middle and network.middle_attention else []
    widths = [network.base * m for m in [*(network.multipliers[k] for k in levels), *middle]]
    return sorted({width // network.heads for width in widths})


def _head_dim(network: UNetConfig) -> int | None:
    """Channels of a head; None is one head of all."""
    if network.head_width is not None or network.heads == 1:
        return network.head_width
    widths = _head_widths(network)
    return widths[0] if widths else None


def _group_counts(config: TrainConfig, info: DataInfo) -> list[int]:
    with outlined():
        network = build_network(config, info)
    return sorted({layer.num_groups for layer in network.modules() if isinstance(layer, nn.GroupNorm)})
