"""``python -m undiffuse.evaluation.features.inception_check [FILE]``: are these FID's weights, and is this the network?

Three questions, answered as far as can be here. The hash says whether the file is the published one; the tensors' names
and shapes, whether the network takes it whole. Whether the network then computes what the reference computes is
measured where torch-fidelity is installed, whose own code gets the same file and images; otherwise it says that this
was not checked.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.inception import InceptionV3, Taps
from undiffuse.evaluation.features.inception_fid import tensorflow_input
from undiffuse.evaluation.features.inception_weights import find_weights, read_network
from undiffuse.runtime.standard_streams import open_streams

TOLERANCE = 1e-4
"""Largest deviation from the reference, relative to the largest value of a tap, that rounding may explain."""

_REFERENCE = {
    "64": "pool_64",
    "192": "pool_192",
    "768": "pool_768",
    "2048": "pool_2048",
    "logits_unbiased": "logits_without_bias",
    "logits": "logits",
}
"""torch-fidelity's names of the taps, and ours."""


def pictures() -> UInt8[Tensor, "2 3 48 40"]:
    """Two pictures of curved stripes with sharp jumps, by integer arithmetic: the same anywhere."""
    n, c, i, j = (
        torch.arange(size).reshape([-1 if axis == place else 1 for axis in range(4)])
        for place, size in enumerate((2, 3, 48, 40))
    )
    return ((i * i + 3 * j * j + 7 * i * j + 50 * c + 900 * n) // 8 % 256).to(torch.uint8)


def run_taps(network: InceptionV3, images: UInt8[Tensor, "batch 3 h w"]) -> Taps:
    """Our network's outputs for 8-bit images by the original's input rule."""
    with torch.inference_mode():
        taps: Taps = network(tensorflow_input(images.float() / 255))
    return taps


def reference_taps(
    file: Path, images: UInt8[Tensor, "batch 3 h w"]
) -> dict[str, Float[Tensor, "batch features"]] | None:
    """torch-fidelity's outputs for the same images with the same file; None where it is not installed.

    It reads pickles with code in them: only for a file of the published hash.
    """
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError:
        return None
    with redirect_stdout(sys.stderr), torch.inference_mode():
        reference = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", list(_REFERENCE), feature_extractor_weights_path=str(file)
        )
        outputs = reference(images)
    return dict(zip(_REFERENCE.values(), outputs, strict=True))


def deviation(ours: Float[Tensor, "batch features"], reference: Float[Tensor, "batch features"]) -> float:
    """``max |ours - reference| / max |reference|``."""
    return float((ours - reference).abs().max() / reference.abs().max())


def check(file: Path) -> bool:
    """Print what is known of a file and of the network with it; whether nothing is wrong."""
    network, sha256 = read_network(file)
    state = network.state_dict()
    numbers = sum(tensor.numel() for tensor in state.values())
    print(f"file       {file}")
    print(f"sha256     {sha256}: the published weights")
    print(f"tensors    {len(state)} with {numbers:,} numbers: names and shapes are the network's")
    images = pictures()
    taps = run_taps(network, images)
    reference = reference_taps(file, images)
    deviations = {}
    for name in _REFERENCE.values():
        ours = getattr(taps, name)
        line = f"{name:20} mean {float(ours.double().mean()):+.6e}  std {float(ours.double().std()):.6e}"
        if reference is not None:
            deviations[name] = deviation(ours, reference[name])
            line += f"  deviation {deviations[name]:.1e}"
        print(line)
    if reference is None:
        print("not checked against other code: pip install torch-fidelity, and run this again")
        return True
    agree = all(value <= TOLERANCE for value in deviations.values())  # not so for nan, either
    print(f"torch-fidelity {'agrees' if agree else 'DISAGREES'}: deviations of up to {TOLERANCE:.0e} are rounding")
    return agree


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 where all is well, 1 where the reference disagrees, 2 where the file will not do."""
    parser = argparse.ArgumentParser(
        prog="python -m undiffuse.evaluation.features.inception_check", description=__doc__
    )
    parser.add_argument("file", nargs="?", type=Path, help="the weights; else UNDIFFUSE_INCEPTION, else the cache")
    parser.add_argument("--download", action="store_true", help="fetch them into the cache where they are missing")
    options = parser.parse_args(arguments)
    try:
        with open_streams():
            return 0 if check(find_weights(options.file, download=options.download)) else 1
    except UndiffuseError as error:
        print(f"undiffuse: {error}", file=sys.stderr)
        return error.status


if __name__ == "__main__":
    sys.exit(main())
