"""A folder that diffusers loads, by its own classes or by code beside the weights: see `foreign.diffusers`."""

from __future__ import annotations

import shutil
from pathlib import Path

from undiffuse.checkpoints.foreign.diffusers.folder import INDEX, write_folder
from undiffuse.config.distillation import student_of
from undiffuse.errors import UndiffuseError
from undiffuse.export.preconditions import without_paths
from undiffuse.model import Model
from undiffuse.runtime.durable_files import PLACE, check_writable, writing


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    """See `undiffuse.export`. The folder appears when it is whole; with ``overwrite`` other files in it stay."""
    _check_ordinary(model)
    _check_place(path, overwrite)
    check_writable(path, PLACE)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with writing(path, PLACE):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            reasons = write_folder(without_paths(model.config), model.info, model.network.state_dict(), partial)
            for file in [file for file in partial.rglob("*") if file.is_file()]:
                target = path / file.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if reasons:
        return [
            f'folder  {path}: diffusers.DiffusionPipeline.from_pretrained("{path}", trust_remote_code=True)',
            "code    its own, in pipeline.py and unet/modeling.py: needs torch and diffusers alone",
            f"why     diffusers' own UNet2DModel and DDPMScheduler cannot hold this model: {'; '.join(reasons)}",
            "own     undiffuse train ... --for diffusers trains one that they can",
        ]
    if model.conditions:
        return [
            f"folder  {path}: diffusers.DDPMPipeline loads it, and cannot say a class; its U-Net can: "
            f'diffusers.UNet2DModel.from_pretrained("{path / "unet"}")(x, t, class_labels=...)'
        ]
    return [f'folder  {path}: diffusers.DDPMPipeline.from_pretrained("{path}")']


def _check_ordinary(model: Model) -> None:
    student = student_of(model.config.distillation)
    if student and (student.student_steps or student.guidance_range):
        raise UndiffuseError(
            f"A folder of diffusers' cannot say how this model, distilled by {student.CALLED}, is to be sampled, and "
            f"its pipelines would walk otherwise: use `to=file`, or convert its teacher, {student.first_teacher}"
        )


def _check_place(path: Path, overwrite: bool) -> None:
    with writing(path, PLACE):
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if free:
        return
    if not overwrite:
        raise UndiffuseError(f"{path} exists already; give another name, or replace its files with `overwrite`")
    if not (path / INDEX).is_file():
        raise UndiffuseError(f"{path} is no folder of diffusers', so `overwrite` does not touch it; give another name")
