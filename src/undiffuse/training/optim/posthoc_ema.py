"""Averages of the weights made after a training, from copies that it left: any length, without training again.

runs/NAME/averages/step-00001000-0.05.safetensors     a copy: the average of relative width 0.05 as it was at that step
runs/NAME/averages/std-0.02.safetensors               made of the copies

Each is a model's file (`model_file`) and loads as any other. `power_ema` has the mathematics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from undiffuse.checkpoints import model_file
from undiffuse.checkpoints.model_file import SUFFIX
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.errors import UndiffuseError
from undiffuse.training.optim.power_ema import Profile, combine

FOLDER = "averages"
_COPY = re.compile(r"step-(\d{8,})-(0\.\d+)" + re.escape(SUFFIX))


@dataclass(frozen=True)
class SynthesizedEMA:
    """An average that was made.

    Args:
        copies: of how many it is made.
        mismatch: how far its profile is from the one asked for, as a part of that one's length; 0.01 is a hundredth.
    """

    model: SavedModel
    profile: Profile
    copies: int
    mismatch: float


def copy_name(profile: Profile) -> str:
    """Name of the file with the copy of an average."""
    return f"step-{profile.step:08d}-{profile.std}{SUFFIX}"


def made_name(profile: Profile, last: int) -> str:
    """Name of the file with an average that was made; its step is told if it is not the training's ``last``."""
    return f"std-{profile.std:g}{'' if profile.step == last else f'-step-{profile.step:08d}'}{SUFFIX}"


def copies_of(run: Path) -> dict[Profile, Path]:
    """The copies that a run has, the earliest first."""
    found = {}
    for path in sorted((run / FOLDER).glob(f"step-*{SUFFIX}")):
        if name := _COPY.fullmatch(path.name):
            found[Profile(int(name[1]), float(name[2]))] = path
    if not run.exists():
        raise UndiffuseError(f"{run} is not there; averages are of a run's folder, as runs/NAME")
    if not found:
        raise UndiffuseError(
            f"{run} has no copies of averages to make others of: they are left by a training with `ema_std=0.05,0.1`"
        )
    return found


def make_average(run: str | Path, std: float, step: int | None = None) -> SynthesizedEMA:
    """The average of a relative width at a step of a run, made of the copies up to then.

    Args:
        run: a folder whose training had ``ema_std``.
        std: relative width, from 0 to 0.28.
        step: the last step in it; by default that of the last copies.
    """
    copies = copies_of(Path(run))
    wanted = Profile(max(profile.step for profile in copies) if step is None else step, std)
    earlier = [profile for profile in copies if profile.step <= wanted.step]
    if not earlier:
        raise UndiffuseError(f"the first copies of {run} are of step {min(p.step for p in copies)}, after {step}")
    weights, mismatch = combine(earlier, wanted)
    total: dict[str, Tensor] = {}
    for profile, weight in zip(earlier, weights.tolist(), strict=True):
        model = model_file.read(copies[profile])
        for name, tensor in model.tensors.items():
            total[name] = total.get(name, torch.zeros((), dtype=torch.float64)) + weight * tensor.double()
    tensors = {name: tensor.float() for name, tensor in total.items()}
    made = SavedModel.of(model.config, model.info, tensors, wanted.step, f"std-{std:g}")
    return SynthesizedEMA(made, wanted, len(earlier), mismatch)
