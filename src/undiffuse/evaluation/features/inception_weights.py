"""The published weights of the FID network: where they are, whether they are the right ones, and reading them safely.

The conversion of the TensorFlow graph to PyTorch is published twice, by pytorch-fid and by torch-fidelity, under two
names with the same bytes. Their sha256 is known, so a file either is that one or is refused; and the pickle inside is
read by the loader that builds tensors and runs nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import urllib.request
import uuid
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from undiffuse.errors import UndiffuseError, first_line
from undiffuse.evaluation.features.inception import InceptionV3
from undiffuse.runtime import safe_tensors
from undiffuse.runtime.cache import cache_root
from undiffuse.runtime.durable_files import expanded
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.uninitialized import outlined

PUBLISHED_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PUBLISHED_URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
)
FILE_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
"""As pytorch-fid and as torch-fidelity call the file."""
VARIABLE = "UNDIFFUSE_INCEPTION"
"""The environment variable that names the file."""

_LARGEST = 512 << 20
"""Bytes above which no file can be these 96 MB of weights, in whatever format."""
_TIMEOUT = 30.0
"""Seconds without a byte after which a download has failed."""


def find_weights(path: Path | None, *, download: bool = False, progress: bool = True) -> Path:
    """The file of the weights: ``path``, else what UNDIFFUSE_INCEPTION names, else in the cache, else downloaded."""
    named = path or expanded(os.environ.get(VARIABLE) or "")
    if named != Path():
        if not named.is_file():
            whose = "" if path else f" that {VARIABLE} names"
            raise UndiffuseError(
                f"expected the weights of the FID network in the file {named}{whose}, got no such file"
            )
        return named
    folder = cache_root(None) / "weights"
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    place = folder / FILE_NAMES[0]
    if not download:
        raise UndiffuseError(
            f"expected the weights of the FID network (96 MB) in {place} or in a file that {VARIABLE} names, "
            f"got neither; to download {PUBLISHED_URL} to there and verify it, type: "
            "python -m undiffuse.evaluation.features.inception_check --download"
        )
    fetch(PUBLISHED_URL, place, PUBLISHED_SHA256, progress=progress)
    return place


def fetch(url: str, place: Path, sha256: str, *, progress: bool = True) -> None:
    """Download to a temporary file beside ``place``, verify the hash, and only then give it its name."""
    draft = place.with_name(f".new-{uuid.uuid4().hex}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = _download(url, draft, progress)
        if digest != sha256:
            raise UndiffuseError(f"expected a file with sha256 {sha256} at {url}, got {digest}; nothing was kept")
        draft.replace(place)
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)  # urllib wraps what went wrong
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise UndiffuseError(
            f"expected to download {url} to {place.parent}, got '{reason}'; "
            f"bring the file there on another way, or name it by {VARIABLE}"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _download(url: str, draft: Path, progress: bool) -> str:
    """Stream to a file, through to the disk; the sha256 of what came, of a prefix where there is too much."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, draft.open("xb") as file:
        total = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(total=total, desc="FID network", unit="B", unit_scale=True, disable=hidden(progress)) as bar:
            while file.tell() < _LARGEST and (block := answer.read(1 << 20)):
                digest.update(block)
                file.write(block)
                bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def read_network(path: Path, *, allow_other: bool = False) -> tuple[InceptionV3, str]:
    """The network with the weights of a file (.pth or .safetensors), in float32 on the CPU, and the file's sha256.

    Weights other than the published ones, where they are allowed, must still fit the network.
    """
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != PUBLISHED_SHA256 and not allow_other:
        raise UndiffuseError(
            f"expected the published weights of the FID network, sha256 {PUBLISHED_SHA256}, "
            f"got the file {path} with {sha256}; download {PUBLISHED_URL} again, or, for your own weights in Python, "
            "say allow_other=True (a distance in their features is not FID)"
        )
    return network_of(_tensors(data, path), path), sha256


def network_of(tensors: dict[str, Tensor], where: Path) -> InceptionV3:
    """The network with these weights: exactly its tensors, by name, shape and type.

    Counters of batches, which some versions of the file carry, mean nothing to a frozen network and are left out.
    ``where`` is the file's name in messages.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}
    with outlined():  # no memory, and above all no draws from the global generator
        network = InceptionV3()
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise UndiffuseError(f"expected the tensor '{name}' of the FID network in {where}, got none of this name")
        given = tensors[name]
        if given.shape != tensor.shape or given.dtype != torch.float32:
            raise UndiffuseError(
                f"expected float32 values of shape {tuple(tensor.shape)} for '{name}' in {where}, "
                f"got {str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
            )
    for name in tensors:
        if name not in expected:
            raise UndiffuseError(f"expected only tensors of the FID network in {where}, got '{name}', too")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> bytes:
    """The file's bytes, once: what is hashed is what is loaded."""
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise UndiffuseError(f"expected a file of about 96 MB with the FID network, got {path} with {size:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UndiffuseError(f"expected to read the FID network from {path}, got '{error.strerror}'") from error


def _tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return safe_tensors.from_bytes(data, path)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes are, and the reader raises many kinds
        raise UndiffuseError(
            f"expected a PyTorch file with nothing but tensors, got {path}: {first_line(error)}"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UndiffuseError(f"expected a PyTorch file with named tensors, got {path} with a {type(content).__name__}")
    return content
