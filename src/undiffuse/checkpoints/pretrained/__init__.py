"""Models that come with the package: ``undiffuse sample digits`` draws with no training, no data and no network.

Each is one file here, NAME.safetensors (`undiffuse.checkpoints.model_file`); README.md says where it comes from.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The models that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


PREFIX = "builtin:"
"""Before its name, a model that ships, whatever else here has that name."""
MARKS = ("checkpoints", "manifest.json", "cascade.json", "model.safetensors", "model_index.json", "config.json", "unet")
"""What a folder that is a model holds one of, whoever wrote it."""


def shipped(name: str | Path) -> Path | None:
    """The file of the model of this name; None where there is none, or where a model of that name is here.

    ``builtin:digits`` is the one that ships, always.
    """
    text = str(name)
    plain = text.removeprefix(PREFIX)
    if plain not in names() or (plain == str(name) and (written_as_path(name) or is_here(name))):
        return None
    return FOLDER / f"{plain}.safetensors"


def is_here(name: str | Path) -> bool:
    """True where a model of this name is in the working directory, so that one that ships is not meant."""
    path = Path(name)
    return path.is_file() or any((path / mark).exists() for mark in MARKS)


def written_as_path(name: str | Path) -> bool:
    """True where a text says by './' that it is a path; a `Path` has forgotten that."""
    return isinstance(name, str) and name != str(Path(name))


def shipped_name(name: str | Path) -> str:
    """The name of a model that ships in what is made with it, by which it is found again, here and elsewhere."""
    plain = str(name).removeprefix(PREFIX)
    return f"{PREFIX}{plain}" if is_here(plain) else plain
