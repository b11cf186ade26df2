"""Which files of a folder hold the weights: one, or several with an index of them; in full precision, or a variant.

    diffusion_pytorch_model.safetensors                          one file
    diffusion_pytorch_model.safetensors.index.json               several: 'weight_map' has the file of each tensor
    diffusion_pytorch_model-00001-of-00002.safetensors
    diffusion_pytorch_model.fp16.safetensors                     of a variant, and
    diffusion_pytorch_model.safetensors.index.fp16.json          several of it
    diffusion_pytorch_model.fp16-00001-of-00002.safetensors

An index is a stranger's: the files that it names are looked for beside it alone, under names of this form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from undiffuse.checkpoints.foreign.settings import read_settings
from undiffuse.checkpoints.foreign.tensors import Tensors, opened
from undiffuse.errors import UndiffuseError

STEM = "diffusion_pytorch_model"
WEIGHTS, PICKLED = f"{STEM}.safetensors", f"{STEM}.bin"
INDEX = f"{WEIGHTS}.index.json"
SHARDS = 1000
"""The most files that are read."""
_VARIANT = re.compile(
    rf"{STEM}(?:\.(?P<one>[\w-]+)\.safetensors|\.safetensors\.index\.(?P<several>[\w-]+)\.json"
    rf"|\.(?P<early>[\w-]+)\.safetensors\.index\.json)",
    re.ASCII,
)
_SHARD = re.compile(rf"{STEM}(?:\.[\w-]+)?-\d{{5}}-of-\d{{5}}(?:\.[\w-]+)?\.safetensors", re.ASCII)

FETCHED = (WEIGHTS, INDEX, f"{STEM}-*-of-*.safetensors")
VARIANTS = (f"{STEM}.*.safetensors", f"{STEM}.safetensors.index.*.json", f"{STEM}.*.safetensors.index.json")
"""Patterns of what is fetched from the hub, and of what is where there is nothing in full precision."""


@dataclass(frozen=True)
class Weights:
    """The files, each with the tensors that it should hold where an index says so.

    Args:
        listed: file of each tensor, by the index; None for one file.
        variant: such as 'fp16'; '' for full precision.
    """

    files: tuple[Path, ...]
    listed: Mapping[str, Path] | None = None
    variant: str = ""

    @contextmanager
    def opened(self) -> Iterator[Tensors]:
        """All tensors of all files, while they are open."""
        with ExitStack() as stack:
            parts = {file: stack.enter_context(opened(file)) for file in self.files}
            if self.listed is None:
                yield parts[self.files[0]]
                return
            for file, part in parts.items():
                wanted = {name for name, place in self.listed.items() if place == file}
                if wrong := wanted ^ part.shapes.keys():
                    raise UndiffuseError(f"{file} does not hold what the index beside it says: '{min(wrong)}' differs")
            part_of = {name: parts[file] for name, file in self.listed.items()}
            shapes = {name: part.shapes[name] for name, part in part_of.items()}
            yield Tensors(shapes, lambda name: part_of[name](name))


def find_weights(folder: Path) -> Weights:
    """The weights in a folder: in full precision where they are, else of the one variant."""
    if (folder / WEIGHTS).is_file():
        return Weights((folder / WEIGHTS,))
    if (folder / INDEX).is_file():
        return _sharded(folder / INDEX)
    if (folder / PICKLED).is_file():
        return Weights((folder / PICKLED,))
    variants = dict[str, Path]()
    for path in sorted(folder.iterdir()):
        found = _VARIANT.fullmatch(path.name)
        if found is not None and path.is_file() and not _SHARD.fullmatch(path.name):
            variants[next(name for name in found.groups() if name)] = path
    if len(variants) > 1:
        raise UndiffuseError(
            f"{folder} has weights of the variants {', '.join(variants)} and none in full precision: leave one of them "
            "there"
        )
    for variant, path in variants.items():
        return Weights((path,), None, variant) if path.suffix != ".json" else _sharded(path, variant)
    beside = sorted(path.name for path in folder.iterdir() if path.name.startswith(STEM))
    there = f", and {beside[0]} is not read here" if beside else ""
    raise UndiffuseError(
        f"{folder} has no {WEIGHTS}{there}: save its pipeline again with diffusers' "
        "save_pretrained(..., safe_serialization=True)"
    )


def _sharded(index: Path, variant: str = "") -> Weights:
    settings = read_settings(index)
    listed = settings.values.get("weight_map")
    valid = isinstance(listed, dict) and listed and all(type(file) is str for file in listed.values())
    names = set(listed.values()) if valid and isinstance(listed, dict) else set()
    if not names or len(names) > SHARDS or not all(_SHARD.fullmatch(name) for name in names):
        raise settings.wrong("weight_map", f"the name of a file of at most {SHARDS} beside it for each tensor")
    if missing := sorted(name for name in names if not (index.parent / name).is_file()):
        raise UndiffuseError(f"{index} names {missing[0]}, which is not beside it ({len(missing)} files in all)")
    assert isinstance(listed, dict)
    files = tuple(index.parent / name for name in sorted(names))
    return Weights(files, {name: index.parent / file for name, file in listed.items()}, variant)
