"""What a picture, a run or a checkpoint says of itself."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from undiffuse.cli.parser import Parser
from undiffuse.cli.values import show
from undiffuse.errors import UndiffuseError


def configure(parser: Parser) -> None:
    parser.add_argument("FILE_OR_RUN", type=Path, help="a PNG file, a run's folder or a checkpoint's folder")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(typed: Namespace) -> None:
    from undiffuse.interop.hub import hub_name
    from undiffuse.modelfile import SUFFIX
    from undiffuse.pretrained import shipped

    options = vars(typed)
    path = options["FILE_OR_RUN"]
    if path.is_dir() or path.suffix == SUFFIX or shipped(path) or hub_name(path):
        found = about_model(path)
    elif path.exists():
        found = about_picture(path)
    else:
        raise UndiffuseError(f"{path} is not there; info takes a PNG file, a run's folder or a checkpoint's folder")
    if "json" in options:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)))


def lines(tree: dict[str, Any], indent: str = "") -> list[str]:
    """Names and values, one a line, sections indented."""
    rows = []
    for name, value in tree.items():
        if isinstance(value, dict):
            rows += [f"{indent}{name}", *lines(value, f"{indent}  ")]
        else:
            rows.append(f"{indent}{name:<22}{show(tuple(value) if isinstance(value, list) else value)}")
    return rows


def about_picture(path: Path) -> dict[str, Any]:
    """The text chunks of a PNG file."""
    from undiffuse.pictures.png import read_metadata

    found = read_metadata(path)
    if found.origin is not None:
        return {"file": str(path), "parameters": found.parameters, "made by": asdict(found.origin)}
    if found.edited is not None:
        return {"file": str(path), "parameters": found.parameters, "edited by": found.edited.about()}
    if found.parameters is None:
        raise UndiffuseError(
            f"{path} does not say how it was made: it has neither a 'parameters' nor an 'undiffuse' chunk"
        )
    return {"file": str(path), "parameters": found.parameters}


def about_model(path: Path) -> dict[str, Any]:
    """Where a training stands, and everything it depends on."""
    from undiffuse.config_file import to_dict
    from undiffuse.model import load

    model = load(path)
    parts = {
        f"stage {number}" if number else "base": {
            "shape": list(part.info.shape),
            "step": part.provenance["step"],
            "parameters": sum(parameter.numel() for parameter in part.network.parameters()),
        }
        for number, part in enumerate(model.cascade)
    }
    return {
        **model.provenance,
        "parameters": sum(part["parameters"] for part in parts.values()),
        **({"cascade": parts} if len(parts) > 1 else {}),
        "data": model.info.to_json(),
        "settings": to_dict(model.config),
    }
