"""Names of models, and of folders for their pictures, on the command line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.checkpoints.pretrained import PREFIX, is_here, names, written_as_path
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.provenance.adapter_names import adapters_in
from undiffuse.provenance.pinned_path import path_of
from undiffuse.runtime.durable_files import shortened
from undiffuse.runtime.process_group import ALONE, Group

if TYPE_CHECKING:
    from undiffuse.model import AnyModel

MODEL = (
    "a model: a run's folder, a checkpoint's, a cascade's, a model's file, diffusers' folder or ORG/NAME on the hub "
    "(all kinds: docs/use/interop.md), or 'digits', which comes with undiffuse"
)

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Endings that no folder has."""


def add_model(parser: Parser, name: str = "RUN", **how: Any) -> None:
    """The positional argument that is a model of any kind."""
    parser.add_argument(name, type=model_path, help=MODEL, **how)


def model_path(text: str) -> Path:
    """The name of a model as a path, which forgets './': './digits' that is not there would be the one that ships."""
    path = Path(text)
    base = str(adapters_in(path)[0])
    if written_as_path(text) and base in names() and not is_here(base):
        raise UndiffuseError(f"{text} is not there; the model of that name that comes with undiffuse is {PREFIX}{path}")
    return path


def folder_of_pictures(text: str) -> Path:
    """The name of a folder that pictures go to, which is not called like a picture."""
    path = Path(text)
    if path.suffix.lower() in PICTURES and not path.is_dir():
        raise UndiffuseError(
            f"--out names a folder for pictures, and '{text}' is called like one of them: --out "
            f"{quoted(path.with_suffix(''))}"
        )
    return path


def is_subject_model(word: str, speaks: bool = True) -> bool:
    """Whether what is to be judged is a model that draws, not images; where a name means both, a line says so."""
    from undiffuse.checkpoints.find import is_model
    from undiffuse.data.formats.builtin import BUILTIN

    if not is_model(word):
        return False
    if word not in names() or is_here(word):
        return True
    folder = Path(word)
    images = folder.is_dir() and any(folder.iterdir())
    if speaks and images:
        print(
            f"{word} is the folder ./{word} here; the model of that name that comes with undiffuse is {PREFIX}{word}",
            file=sys.stderr,
        )
    elif speaks and word in BUILTIN:
        print(f"{word} is the model that comes with undiffuse, not the data set of that name", file=sys.stderr)
    return not images


def load_named(options: dict[str, Any], group: Group = ALONE, name: str = "RUN") -> AnyModel:
    """The model that was typed, with the weights and on the device that were."""
    from undiffuse.model import load
    from undiffuse.runtime.devices import choose_device

    device = choose_device(options.get("device", "auto"), group)
    return load(options[name], options.get("weights", "ema"), str(device))


def load_to_draw(options: dict[str, Any], group: Group = ALONE, name: str = "RUN") -> AnyModel:
    """The same, and a line where somebody else's scheduler says of sampling what there is no setting for."""
    model = load_named(options, group, name)
    if group.is_main and (unsaid := model.provenance.get("sampling_left_out")):
        words = f"its scheduler says {', '.join(unsaid)}, for which undiffuse has no setting: drawn without"
        print(f"undiffuse: {words}", file=sys.stderr)
    return model


def default_folder(model: AnyModel, settings: SampleConfig, seed: int) -> Path:
    """``pictures/...`` in the run's folder, or in the checkpoint's where it stands alone."""
    asked = [*settings.prompt.classes, settings.prompt.text[:40], *(f"{value:g}" for value in settings.prompt.vector)]
    asked += [path_of(settings.prompt.image).stem] if settings.prompt.image else []
    asked = [*filter(None, asked), *([f"guidance-{settings.guide.guidance:g}"] if settings.guide.guidance != 1 else [])]
    _, adapters = adapters_in(model.provenance["checkpoint"])
    asked += [f"with-{one.short}".replace(".safetensors", "") for one in adapters]
    name = "-".join([settings.solver.sampler, str(settings.solver.steps), "seed", str(seed), *asked])
    return model.home / "pictures" / shortened(re.sub(r"[^\w.+-]", "_", name))
