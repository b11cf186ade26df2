"""Folders for diffusers whose network none of its classes can hold: the same files, and the code of ours beside them.

    model_index.json                                 names the classes in the files below
    pipeline.py, unet/modeling.py                    self-contained, see `remote_code`
    unet/config.json, diffusion_pytorch_model.safetensors     tensors under our own names
    scheduler/scheduler_config.json, undiffuse.json  as in the other folders

diffusers runs such code with ``trust_remote_code=True`` alone. Nothing here ever does: the settings in undiffuse.json
and the tensors are the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from undiffuse.checkpoints.foreign.diffusers.scheduler import PREDICTIONS, is_chain
from undiffuse.conditioning.request import conditions_of
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import TIME_INPUTS
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.factories.schedule import make_schedule

CLASS_NAME, PIPELINE = "UndiffuseUNet2DModel", "UndiffusePipeline"
CODE = {"pipeline.py": "pipeline.py", "unet/modeling.py": "modeling.py"}
"""Files of code in the folder, and where their text is here."""

SAME = (
    *("base", "multipliers", "blocks", "attention_levels", "middle_attention", "middle_attention_norm"),
    *("heads", "head_width", "dropout", "scale_shift", "embedding", "time_width", "patch", "norm_groups", "norm_eps"),
    *("downsample_padding", "center_input"),
)
"""Settings of a `UNetConfig` that have the same name there."""


def code() -> dict[str, str]:
    """The text of each file of code."""
    here = Path(__file__).parent / "remote_code"
    return {name: (here / file).read_text(encoding="utf-8") for name, file in CODE.items()}


def obstacles(config: TrainConfig, info: DataInfo) -> list[str]:
    """All that our own code for diffusers does not have, either."""
    found = []
    if config.network.architecture != "unet":
        found.append(f"`architecture={config.network.architecture}`")
    if len(info.spatial) != 2:
        found.append(f"data of {len(info.spatial)} dimensions")
    if others := [told.name for told in conditions_of(config, info) if told.kind != "class"]:
        found.append(f"networks that are told '{others[0]}'")
    if not is_chain(config.diffusion):
        found.append(f"the continuous process '{config.diffusion.schedule}'")
    return found


def unet_values(config: TrainConfig, info: DataInfo) -> dict[str, Any]:
    """unet/config.json of a network of ours, as the arguments of `CLASS_NAME`."""
    network = config.network
    assert isinstance(network, UNetConfig)  # else there are `obstacles`
    return {
        "_class_name": CLASS_NAME,
        "_diffusers_version": "0.35.0",
        "sample_size": list(info.spatial),
        "in_channels": info.channels,
        "out_channels": (2 if config.diffusion.learn_variance else 1) * info.channels,
        **{name: _plain(getattr(network, name)) for name in SAME},
        "has_middle": network.middle,  # diffusers' models take attributes for settings of the same name
        "up_attention_levels": list(network.attention_up),
        "residual_down_levels": list(network.residual_down),
        "residual_up_levels": list(network.residual_up),
        "num_class_embeds": len(info.classes) + 1 if config.conditions.condition else None,
        **_tables(config.diffusion),
    }


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def scheduler_config(config: DiffusionConfig) -> DiffusionConfig:
    """The process as a scheduler of diffusers sees it, the rest being in the network's tables."""
    known = config.parameterization in PREDICTIONS.values()
    return replace(config, time_input="index", parameterization=config.parameterization if known else "x0")


def _tables(config: DiffusionConfig) -> dict[str, Any]:
    """The network's input at each timestep, and the meaning of its output, where a scheduler expects something else.

    x0 = (q x - sigma F) / (alpha q - sigma p), see `undiffuse.diffusion.parameterization`.
    """
    schedule = make_schedule(config)
    t = torch.arange(1, config.timesteps + 1, dtype=torch.float64)
    found: dict[str, Any] = dict.fromkeys(("times", "input_scale", "x0_of_input", "x0_of_output"))
    if config.time_input != "index":
        found["times"] = TIME_INPUTS[config.time_input](schedule, t).tolist()
    if config.parameterization not in PREDICTIONS.values():
        row, q_t = make_parameterization(config.parameterization, config.sigma_data), schedule(t)
        _, q = row.row(q_t)
        det = row.determinant(q_t)
        found["input_scale"] = row.input_scale(q_t).tolist()
        found["x0_of_input"], found["x0_of_output"] = (q / det).tolist(), (-q_t.sigma / det).tolist()
    return found
