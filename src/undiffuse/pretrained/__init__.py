"""Models that come with the package: ``undiffuse sample digits`` draws with no training, no data and no network.

Each is one file here, NAME.safetensors (`undiffuse.modelfile`); README.md says where it comes from.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The models that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def shipped(name: str | Path) -> Path | None:
    """The file of the model of this name; None where there is none, or where a run or a file of that name is here."""
    path = Path(name)
    here = path.is_file() or (path / "checkpoints").is_dir() or (path / "manifest.json").exists()
    return FOLDER / f"{path}.safetensors" if not here and str(path) in names() else None
