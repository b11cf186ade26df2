"""Trained models set upon each other in a folder that `undiffuse.load` reads as a `Cascade`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.foreign import SavedModel
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.adapters import find_whole
from undiffuse.model.cascade import Cascade, check_top
from undiffuse.model.loading import load
from undiffuse.provenance.adapter_names import short_name
from undiffuse.runtime.durable_files import unwritable


@in_one_sentence
def make_cascade(models: Sequence[str | Path], folder: str | Path, weights: str = "ema") -> Cascade:
    """Set models upon each other in a folder that holds all of them, and return the whole.

    Args:
        models: of small images first, then the stages; runs, checkpoints or models' files.
        folder: empty or not there. `undiffuse.load` reads it, and nothing else is needed.
        weights: which of each: 'ema' (the first average), 'raw', or a rate.

    Raises:
        UndiffuseError: fewer than two models, a folder in use, or models that do not fit upon each other.
    """
    folder = Path(folder)
    if len(models) < 2:
        raise UndiffuseError("A cascade takes a model of small images and at least one stage, trained with `upscale`")
    found = [find_whole(model, weights) for model in models]
    check_fits([str(model) for model in models], found)
    if folder.exists() and any(folder.iterdir()):
        raise UndiffuseError(f"{folder} is not empty; choose another `name`")
    try:
        cascade_folder.write(folder, [(_name(part), part) for part in found])
    except (OSError, UndiffuseError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        advice = "choose another `name`, or another folder of runs with `runs`"
        raise unwritable(folder, error, advice) if isinstance(error, OSError) else error from None
    made = load(folder)
    assert isinstance(made, Cascade)
    return made


def check_fits(names: Sequence[str], found: Sequence[SavedModel]) -> None:
    """Check that each model is a stage for the one before.

    Raises:
        UndiffuseError: the first is a stage or another is none, or shapes, kinds of number or conditions differ.
    """
    check_top(found[-1].config)
    base = found[0]
    if base.config.conditions.upscale > 1:
        raise UndiffuseError(
            f"{names[0]} enlarges small images and cannot be the first of a cascade; name a model that draws them"
        )
    for (low_name, low), (name, stage) in pairwise(zip(names, found, strict=True)):
        factor = stage.config.conditions.upscale
        if factor == 1:
            raise UndiffuseError(f"{name} is no stage; train it with `upscale=2`, say")
        wanted = (stage.info.channels, *(side // factor for side in stage.info.spatial))
        if low.info.shape != wanted:
            raise UndiffuseError(
                f"{name} enlarges images of the shape {wanted}, and {low_name} makes {low.info.shape}: "
                "prepare the data alike with `size` and `channels`"
            )
        kinds = [(part.info.dtype, part.info.low, part.info.high) for part in (low, stage)]
        if kinds[0] != kinds[1]:
            raise UndiffuseError(f"{name} learned values of another kind or range than {low_name}: {kinds}")
        asked = set(stage.config.conditions.condition)
        if asked and asked != set(base.config.conditions.condition):
            raise UndiffuseError(
                f"A stage is told nothing or what the first model is told; {name} is told {', '.join(sorted(asked))}, "
                f"{names[0]} {', '.join(base.config.conditions.condition) or 'nothing'}"
            )
        if "class" in asked and stage.info.classes != base.info.classes:
            raise UndiffuseError(f"{name} knows other classes than {names[0]}")
        if "vector" in asked and stage.info.vectors != base.info.vectors:
            raise UndiffuseError(f"{name} knows other numbers than {names[0]}")


def _name(part: SavedModel) -> str:
    return re.sub(r"[^\w.+-]", "_", short_name(part.provenance["checkpoint"]).removesuffix(".safetensors"))
