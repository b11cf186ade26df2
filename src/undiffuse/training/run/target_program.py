"""Settings of a training whose model another program is to hold in its own classes: `meant_for=diffusers`.

What the recipe chose and diffusers' UNet2DModel does not have is chosen otherwise; what the user chose is not touched.
If something is left that cannot be exported, that is said before the training, with all reasons.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from undiffuse.checkpoints.foreign.diffusers.folder import obstacles
from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.networks.layers import group_count


def fitted(config: TrainConfig, info: DataInfo, typed: Collection[str] = ()) -> TrainConfig:
    """The settings with which the program that ``meant_for`` names can hold the model; as they are where none is named.

    Args:
        typed: flat names of settings that stay.
    """
    if not config.loop.meant_for:
        return config
    if not config.start.start_from:  # those weights are of one network
        wanted = {name: value for name, value in _choices(config, info).items() if name not in typed}
        config = override(config, **wanted)
    if reasons := obstacles(config, info):
        raise UndiffuseError(
            "`meant_for=diffusers`: its UNet2DModel and DDPMScheduler could not hold this model: "
            f"{'; '.join(reasons)}; without `meant_for`, undiffuse convert --to diffusers writes code of its own "
            "beside such a model"
        )
    return config


def _choices(config: TrainConfig, info: DataInfo) -> dict[str, object]:
    """Settings in place of the recipe's."""
    network, found = config.network, dict[str, object]()
    if not isinstance(network, UNetConfig):
        return found
    multipliers, attends = network.multipliers, network.attention_levels
    if network.patch > 1:  # a level at full size in place of patches: the others stay as coarse as they were
        found["patch"] = 1
        multipliers, attends = (1, *multipliers), tuple(k + 1 for k in attends)
    while len(multipliers) > 1 and any(side % 2 ** (len(multipliers) - 1) for side in info.spatial):
        multipliers = multipliers[:-1]
    attends = tuple(k for k in attends if k < len(multipliers))
    found |= {"multipliers": multipliers, "attention_levels": attends, "time_input": "index"}
    if network.norm_groups is None:
        found["norm_groups"] = group_count(network.base)
    if network.heads > 1 and network.head_width is None:
        found["head_width"] = network.base * multipliers[-1] // network.heads
    now = flatten(config)
    return {name: value for name, value in found.items() if value != now[name]}


def changes(before: TrainConfig, after: TrainConfig) -> str:
    """The choices of `fitted` as one line; empty where there are none."""
    old, new = flatten(before), flatten(replace(after, loop=before.loop))
    words = [f"`{name}={_typed(new[name])}`" for name in new if new[name] != old[name]]
    return f"for {after.loop.meant_for}: {', '.join(words)}, in place of the recipe's choices" if words else ""


def _typed(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
