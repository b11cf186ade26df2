"""The network as an ONNX file, and beside it a script that samples from it with NumPy and onnxruntime alone.

The description (see `program`) is in the file's metadata, so the two files are all there is to hand on.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from undiffuse.errors import UndiffuseError, quoted
from undiffuse.export.program import KEY, Run, check_model, check_parity, check_path, describe, names, program, quiet
from undiffuse.model import Model
from undiffuse.provenance.png import check_free, write_file
from undiffuse.runtime.durable_files import PLACE
from undiffuse.runtime.installing import install_extra

SCRIPT = Path(__file__).with_name("sample_onnx.py")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Change = Callable[[bytes], tuple[bytes, str]]
"""What makes another file of the contents of one, and a line of what it did."""


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    return save(model, path, overwrite)


def save(model: Model, path: Path, overwrite: bool, change: Change | None = None) -> list[str]:
    """As `write`, with a change of the file once it has been compared with the network."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UndiffuseError(f"ONNX needs the package {missing[0]}, which is not here: {install_extra('export')}")
    check_path(path, ".onnx")
    script = path.with_name(f"{path.stem}_sample.py")
    for file in (path, script):
        check_free(file, overwrite, PLACE)
    data = to_bytes(check_model(model))
    said = [check_parity(model, runner(data, names(model)))]
    if change is not None:
        data, line = change(data)
        said.append(line)
    write_file(path, data, overwrite, PLACE)
    write_file(script, SCRIPT.read_bytes(), overwrite, PLACE)
    again = f"python {quoted(script)} {quoted(path)} -n 16"
    return [
        f"file    {path}, {len(data):,} bytes, inputs {', '.join(names(model))}",
        *said,
        f"script  {script}: samples from it with numpy and onnxruntime alone: {again}",
    ]


def to_bytes(model: Model) -> bytes:
    """The network as ONNX, its description in the metadata."""
    import onnx

    inputs = names(model)
    with quiet():
        found = torch.onnx.export(program(model), input_names=inputs, output_names=["prediction"], dynamo=True)
    assert found is not None
    proto = found.model_proto
    if proto.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise UndiffuseError("An ONNX file holds 2 GB, and this network is larger; use `to=pt2`")
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(describe(model))
    data: bytes = proto.SerializeToString()
    return data


def runner(data: bytes, inputs: list[str]) -> Run:
    """An ONNX file's contents as a function of tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(values: Any) -> torch.Tensor:
        fed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return run
