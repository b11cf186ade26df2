"""What a picture, samples or a model says of itself, be it a run, a checkpoint, a file, or somebody else's."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from undiffuse.cli.naming import model_path
from undiffuse.cli.parse_values import show
from undiffuse.cli.parser import Parser
from undiffuse.config.sections import to_plain
from undiffuse.errors import UndiffuseError

KINDS = "a picture (PNG), samples (.npz), or a model: a run's folder, a checkpoint's, a file, or ORG/NAME on the hub"


def configure(parser: Parser) -> None:
    parser.add_argument("FILE_OR_RUN", type=model_path, help=KINDS)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(typed: Namespace) -> None:
    options = vars(typed)
    found = about(options["FILE_OR_RUN"])
    if "json" in options:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)))


def about(path: Path) -> dict[str, Any]:
    """All that is known of what is there."""
    from undiffuse.checkpoints.foreign import reader_of
    from undiffuse.checkpoints.hub import hub_name
    from undiffuse.checkpoints.model_file import SUFFIX
    from undiffuse.checkpoints.pretrained import shipped
    from undiffuse.provenance.adapter_names import adapters_in
    from undiffuse.provenance.npz import read_origin

    if path.suffix == ".npz" and (origin := read_origin(path)) is not None:
        return {"file": str(path), "made by": to_plain(origin)}
    named = shipped(path) or hub_name(path) or adapters_in(path)[1]
    if path.is_dir() or path.suffix == SUFFIX or reader_of(path) or named:
        return about_model(path)
    if not path.exists():
        raise UndiffuseError(f"{path} is not there; info takes {KINDS}")
    if path.suffix.lower() != ".png":
        raise UndiffuseError(f"{path} is none of what info takes: {KINDS}")
    return about_picture(path)


def lines(tree: dict[str, Any], indent: str = "") -> list[str]:
    """Names and values, one a line, sections indented."""
    rows = []
    for name, value in tree.items():
        if isinstance(value, dict):
            rows += [f"{indent}{name}", *lines(value, f"{indent}  ")]
        else:
            rows.append(f"{indent}{name:<21} {show(tuple(value) if isinstance(value, list) else value)}")
    return rows


def about_picture(path: Path) -> dict[str, Any]:
    """The text chunks of a PNG file."""
    from undiffuse.provenance.png import read_metadata

    found = read_metadata(path)
    about = {"file": str(path), "parameters": found.parameters}
    if found.origin is not None:
        return {**about, "made by": to_plain(found.origin)}
    if found.edited is not None:
        return {**about, "edited by": found.edited.about()}
    if found.parameters is None:
        raise UndiffuseError(
            f"{path} does not say how it was made: it has neither a 'parameters' nor an 'undiffuse' chunk"
        )
    return about


def about_model(path: Path) -> dict[str, Any]:
    """The state of a training, and everything it depends on."""
    from undiffuse.config.distillation import student_of
    from undiffuse.config.files import spelled_out
    from undiffuse.model import load
    from undiffuse.model.cascade import stages_of
    from undiffuse.model.student_words import in_words, spent_in_words, walk_in_words

    model = load(path)
    parts = {
        f"stage {number}" if number else "base": {
            "shape": list(part.info.shape),
            "step": part.provenance["step"],
            "parameters": sum(parameter.numel() for parameter in part.network.parameters()),
            **({"student": in_words(own)} if (own := student_of(part.config.distillation)) else {}),
        }
        for number, part in enumerate(stages_of(model))
    }
    told = {}
    if student := student_of(model.config.distillation):
        spent = spent_in_words(model.config, model.provenance["step"])
        told = {"student": in_words(student), "walk": walk_in_words(student), "evaluations spent": spent}
    return {
        **told,
        **model.provenance,
        "parameters": sum(part["parameters"] for part in parts.values()),
        **({"cascade": parts} if len(parts) > 1 else {}),
        "data": model.info.to_json(),
        "settings": spelled_out(stages_of(model)[-1].trained_config),
    }
