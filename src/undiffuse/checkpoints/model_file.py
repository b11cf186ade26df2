"""A model in one file: safetensors with the settings and what is known of the data in its header.

A checkpoint is for training on; this is for handing on. It holds one set of weights, as a rule an average, and where it
is made for others in half precision: its 11 bits of mantissa are finer than what one more step of training changes. The
header's metadata have one entry, ``undiffuse``, with JSON: format, config, data, step, weights, and the sha256 of all
that follows the header.

A student's file has format 2, for whoever knows format 1 alone would draw from it as from any model, and badly. One of
format 3 holds adapters alone (`networks.lora`), for the model that its settings say they started from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.config.distillation import student_of
from undiffuse.config.files import from_dict, to_dict
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import from_plain
from undiffuse.data.info import StoredInfo
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.installing import check_format
from undiffuse.runtime.safe_tensors import from_bytes

SUFFIX = ".safetensors"
FORMAT, STUDENT_FORMAT, ADAPTER_FORMAT = 1, 2, 3
_KEY = "undiffuse"


def to_bytes(model: SavedModel, half: bool = True) -> bytes:
    """The file of a model.

    Args:
        half: floating-point tensors in half precision; otherwise as they are.
    """
    kept = {name: _half(name, tensor) if half else _whole(tensor) for name, tensor in model.tensors.items()}
    header = {
        "format": _format(model.config),
        "config": to_dict(model.config),
        "data": model.info.to_json(),
        "step": model.provenance["step"],
        "weights": model.provenance["weights"],
        "sha256": _digest(safetensors.torch.save(kept)),
    }
    return safetensors.torch.save(kept, {_KEY: json.dumps(header)})


def _format(config: TrainConfig) -> int:
    if config.lora.lora_rank:
        return ADAPTER_FORMAT
    return STUDENT_FORMAT if student_of(config.distillation) else FORMAT


def model_of(data: bytes, where: Path) -> SavedModel:
    """The model in a file's bytes, every setting checked, float32; ``where`` is its name in messages."""
    stored = from_bytes(data, where)
    length = int.from_bytes(data[:8], "little")
    text = (json.loads(data[8 : 8 + length]).get("__metadata__") or {}).get(_KEY)
    if text is None:
        raise UndiffuseError(f"{where} holds tensors and no settings; a model's file is made by undiffuse")
    try:
        header = json.loads(text)
        version, step, weights, digest = (header[name] for name in ("format", "step", "weights", "sha256"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UndiffuseError(f"{where} is not valid: its header does not hold what a model's does") from None
    check_format(version, ADAPTER_FORMAT, where)
    if type(step) is not int or step < 0 or type(weights) is not str:
        raise UndiffuseError(f"{where} is not valid: it says step {step!r:.20} and weights {weights!r:.20}")
    if digest != _digest(data):
        raise UndiffuseError(f"{where} is damaged: its weights are not those that were saved")
    config = from_dict(header.get("config"), str(where))
    info = from_plain(StoredInfo, header.get("data"), str(where)).info()
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    return SavedModel.of(config, info, tensors, step, weights)


def read(path: Path) -> SavedModel:
    """The model in a file."""
    try:
        return model_of(path.read_bytes(), path)
    except OSError as error:
        raise UndiffuseError(f"cannot read {path}: {error.strerror or error}") from None


def _digest(data: bytes) -> str:
    """sha256 of the tensors of a safetensors file: of what follows the 8 bytes of length and the header."""
    return hashlib.sha256(memoryview(data)[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def _whole(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return _whole(tensor)
    half = tensor.detach().cpu().to(torch.float16).contiguous()
    if not half.isfinite().all():
        raise UndiffuseError(f"'{name}' has values that half precision cannot hold: this model does not fit a file")
    return half
