"""The network as a file of torch.export: ``torch.export.load(path).module()(x, time, label)``, without this package.

The description (see `program`) is in the file, too: ``torch.export.load(path, extra_files={"undiffuse.json": ""})``.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from undiffuse.export.program import KEY, check_model, check_parity, check_path, describe, names, program, quiet
from undiffuse.model import Model
from undiffuse.provenance.png import check_free, write_file
from undiffuse.runtime.durable_files import PLACE


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    check_path(path, ".pt2")
    check_free(path, overwrite, PLACE)
    packed = io.BytesIO()
    with quiet():
        torch.export.save(program(check_model(model)), packed, extra_files={f"{KEY}.json": json.dumps(describe(model))})
        packed.seek(0)
        module = torch.export.load(packed).module()
    with torch.no_grad():
        parity = check_parity(model, lambda inputs: module(*inputs))
    write_file(path, packed.getvalue(), overwrite, PLACE)
    return [f"file    {path}, {len(packed.getvalue()):,} bytes, inputs {', '.join(names(model))}", parity]
