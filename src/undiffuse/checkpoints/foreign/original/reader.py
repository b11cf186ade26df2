"""A file of tensors under the names of somebody's code, as a model of ours: whose it is, is told by its names.

Such a file holds no settings. Shapes tell most of them; the rest is known for published files, or is in a .json beside.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import safetensors

from undiffuse.checkpoints.foreign.mapping import pair, read
from undiffuse.checkpoints.foreign.original import edm, ho, lucidrains, openai
from undiffuse.checkpoints.foreign.original.arrays import ENDING as ARRAYS
from undiffuse.checkpoints.foreign.original.arrays import opened_arrays
from undiffuse.checkpoints.foreign.original.layout import Layout
from undiffuse.checkpoints.foreign.tensors import (
    PICKLED,
    Tensors,
    check_state_dict,
    held,
    load_pickled,
    opened,
    unwrapped,
)
from undiffuse.checkpoints.saved_model import ForeignReader, SavedModel, foreign_config, provenance, unknown_data
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import outline

LAYOUTS = {
    "openai": "OpenAI's improved-diffusion and guided-diffusion",
    "ho": "Ho's TensorFlow code",
    "lucidrains": "denoising-diffusion-pytorch",
    "edm": "EDM's preconditioned network",
}
"""Whose a file is, by its recipe."""
MARKS = {openai.MARK, lucidrains.INSIDE + lucidrains.MARK, edm.MARK, edm.INSIDE + edm.MARK}
"""Names that tell a file of safetensors from ours."""
SAFE, OTHER_PICKLES = ".safetensors", (".pkl", ".pickle")


def recognizes(path: Path) -> bool:
    """True for a file of tensors alone: by its ending, and of safetensors by somebody's names in it."""
    if not path.is_file():
        return False
    if path.suffix != SAFE:
        return path.suffix in (*PICKLED, *OTHER_PICKLES, ARRAYS)
    try:
        with safetensors.safe_open(path, "pt") as file:
            return not MARKS.isdisjoint(unwrapped(file.keys()))
    except (safetensors.SafetensorError, OSError):
        return False


def holds_weights(path: Path) -> bool:
    """True where a file that `recognizes` knows by its ending holds weights rather than data: by its beginning.

    Arrays of images end in .npz, too, and anything may end in .bin.
    """
    if path.suffix == SAFE:
        return True
    if path.suffix != ARRAYS:
        with path.open("rb") as file:
            return file.read(2).startswith((b"PK", b"\x80"))  # an archive of torch's, or a plain pickle
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return False
    found = {*names, *ho.named(names), *lucidrains.named(names), *edm.named(names)}
    return not found.isdisjoint({openai.MARK, ho.MARK, lucidrains.MARK, edm.MARK})


def read_file(path: Path) -> SavedModel:
    """The model in such a file, which runs no code of it."""
    if path.suffix in (*PICKLED, *OTHER_PICKLES):
        tree = load_pickled(path)
        if (parts := lucidrains.trained(tree, str(path))) is not None:
            return _trainer(path, parts)
        check_state_dict(tree, path)
        return _of(path, held(tree))
    with opened(path) if path.suffix == SAFE else opened_arrays(path) as tensors:
        return _of(path, tensors)


READER = ForeignReader("a file of tensors", recognizes, read_file)


def _of(path: Path, stored: Tensors) -> SavedModel:
    stored = stored.renamed(unwrapped(stored.shapes))
    if openai.MARK in stored.shapes:
        weights = "raw" if path.name.startswith("model") else "ema"
        return _model(path, "openai", openai.layout(path, stored), stored, weights)
    names = ho.named(list(stored.shapes))
    if ho.MARK in names:
        tensors = stored.renamed(names)
        averaged = any(ho.AVERAGE in name for name in names.values())
        return _model(path, "ho", ho.layout(path, tensors), tensors, "ema" if averaged else "raw")
    names = lucidrains.named(list(stored.shapes))
    if lucidrains.MARK in names:
        tensors = stored.renamed(names)
        return _model(path, "lucidrains", lucidrains.layout(path, stored, tensors), tensors, "raw")
    names = edm.named(list(stored.shapes))
    if edm.MARK in names:
        tensors = stored.renamed(names)
        return _model(path, "edm", edm.layout(path, stored, tensors), tensors, "ema")
    raise UndiffuseError(
        f"{path} holds tensors under names that undiffuse does not know: it reads those of OpenAI's improved-diffusion "
        "and guided-diffusion, of Ho's TensorFlow code, denoising-diffusion-pytorch and EDM, and diffusers' folders"
    )


def _trainer(path: Path, parts: lucidrains.TrainerFile) -> SavedModel:
    """The average in a trainer's file, or the weights where there is none."""
    check_state_dict(parts.process, path)
    if parts.average is None:
        weights, tensors = "raw", parts.process
    else:
        check_state_dict(parts.average, path)
        weights, tensors = "ema", parts.average
    network, chain = (held(part).renamed(unwrapped(part)) for part in (tensors, parts.process))
    network = network.renamed(lucidrains.named(list(network.shapes)))
    return _model(path, "lucidrains", lucidrains.layout(path, chain, network), network, weights, parts.step)


def _model(path: Path, recipe: str, found: Layout, tensors: Tensors, weights: str, step: int = 0) -> SavedModel:
    config = foreign_config(recipe, path.stem, found.network, found.diffusion, found.classes)
    info = unknown_data(path.stem, found.shape, range(found.classes))
    expected = outline(config, info)
    values = read(pair(expected, found.rules), expected, tensors, str(path))
    return SavedModel(config, info, values, provenance(path, path, weights, step, layout=LAYOUTS[recipe]))
