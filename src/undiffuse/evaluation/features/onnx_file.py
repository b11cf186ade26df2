"""An extractor out of an ONNX file: ``--extractor onnx:FILE.onnx``, from whatever framework.

The file has one input, float32 (batch, channels, height, width) with values in [0, 1], so that its normalisation is
inside; and one output, features (batch, D), or two, features and logits. Where it fixes height and width, images are
resized to them; where it fixes three channels, grey images are repeated.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError, first_line
from undiffuse.evaluation.features.custom import check_rows
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.runtime.installing import install_extra

_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)
"""How a tensor in an ONNX file (a protobuf) begins the name of the file that holds its values: key, length, name."""


@dataclass(frozen=True, eq=False)
class OnnxExtractor:
    """A session of onnxruntime on the CPU; use `load_onnx`."""

    session: Any
    identity: Identity
    input: str
    """Name of the input."""
    shape: tuple[int | None, int | None, int | None, int | None]
    """(batch, channels, height, width) of the input; None where the file leaves it open."""

    def __call__(self, images: Float[Tensor, "batch channels height width"]) -> Outputs:
        """Features, and logits where the file has a second output."""
        batch, channels, height, width = self.shape
        name = self.identity.name
        if images.ndim != 4 or (channels not in (None, images.shape[1]) and (channels, images.shape[1]) != (3, 1)):
            raise UndiffuseError(
                f"'{name}' takes 2-D images with {channels or 'any number of'} channels, got the shape "
                f"{tuple(images.shape[1:])}; prepare them with `channels=grey` or rgb, or choose another extractor"
            )
        x = images.detach().to("cpu", torch.float32).expand(-1, channels or -1, -1, -1)
        size = (height or x.shape[2], width or x.shape[3])
        if size != tuple(x.shape[2:]):
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        results = [self._run(part) for part in x.split(batch or len(x))]
        rows = [torch.cat(parts) for parts in zip(*results, strict=True)]
        for what, matrix in zip(("features", "logits"), rows, strict=False):
            check_rows(name, what, matrix, len(images))
        return Outputs(rows[0], logits=rows[1] if len(rows) == 2 else None)

    def _run(self, x: Tensor) -> list[Tensor]:
        try:
            results = self.session.run(None, {self.input: x.contiguous().numpy()})
        except Exception as error:  # onnxruntime's own kinds, which share no base but this
            raise UndiffuseError(
                f"'{self.identity.name}' failed on images of the shape {tuple(x.shape)}: {first_line(error)}"
            ) from error
        return [torch.as_tensor(result) for result in results]


def load_onnx(path: Path) -> OnnxExtractor:
    """The extractor 'onnx:FILE'. It runs on the CPU.

    Its sha256 is that of the file, followed by the files that hold its weights where they are stored beside it.

    Raises:
        UndiffuseError: onnxruntime is not installed, no file, no ONNX, or inputs or outputs of another kind.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise UndiffuseError(f"expected the package onnxruntime for 'onnx:...', got none; {install_extra('onnx')}")
    import onnxruntime

    try:
        digest = _digest(path)
    except OSError as error:
        raise UndiffuseError(f"expected an ONNX file {path}, got '{error.strerror}' for {error.filename}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings go to stderr past every filter
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, which share no base but this
        raise UndiffuseError(f"expected an ONNX file, got {path}: {first_line(error)}") from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    _check(path, inputs, outputs)
    shape = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
    batch, channels, height, width = shape
    if batch not in (None, 1):
        raise UndiffuseError(f"expected {path} to take batches of any size, or of 1, got {batch}; export it again")
    size = "the data's own size"
    if height or width:
        size = f"bilinear with antialias to {height or 'any'} x {width or 'any'}"
    gray = "grey repeated to three channels; " if channels == 3 else ""
    identity = Identity(f"onnx:{path.name}", digest, f"{size}; {gray}values in [0, 1]")
    return OnnxExtractor(session, identity, inputs[0].name, (batch, channels, height, width))


def _check(path: Path, inputs: list[Any], outputs: list[Any]) -> None:
    """Refuse what does not turn images into features, as far as the file says it."""
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        came = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise UndiffuseError(f"expected one float32 input (batch, channels, height, width) of {path}, got {came}")
    ranks = [len(one.shape) for one in outputs]
    if len(outputs) > 2 or any(rank not in (0, 2) for rank in ranks):  # 0: left open
        came = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        raise UndiffuseError(f"expected {path} to give features (batch, D) and at most logits (batch, K), got {came}")


def _digest(path: Path) -> str:
    data = path.read_bytes()
    digest = hashlib.sha256(data)
    names = {data[found.end() : found.end() + found[1][0]] for found in _EXTERNAL.finditer(data)}
    for name in sorted(names):
        digest.update((path.parent / name.decode(errors="replace")).read_bytes())
    return digest.hexdigest()
