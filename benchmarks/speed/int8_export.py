"""What do weights of 8 bits cost? Size, time and quality of ONNX files in float32 and in two kinds of 8 bits.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.int8_export digits mnist-train.npz -n 2000

Each row draws -n samples in 20 steps of DPM-Solver++ 2M, the classes by turns, from the noise of each seed, with the
script that `undiffuse convert --to onnx` writes. *FD* is the Frechet distance in the features of the data's own
classifier (`lib/feature_judge.py`); between two seeds of float32 it says what chance does. *ms* is the processor's time
for the quickest call of 16 samples by one thread. 'dynamic' is onnxruntime's `quantize_dynamic`: weights and
activations in 8 bits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

import undiffuse
from benchmarks.lib.feature_judge import FeatureJudge, make_judge
from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.export import convert
from undiffuse.export.sample_onnx import Network, steps, to_values
from undiffuse.model import Model

BATCH, STEPS, CALLS = 16, 20, 30


def files(model: Model, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each kind of file by its name."""
    plain = folder / "float32.onnx"
    for name, target in (("float32", "onnx"), ("8-bit weights", "onnx-int8")):
        path = folder / f"{target}.onnx" if target != "onnx" else plain
        convert(model, path, target)
        yield name, path
    bare = onnx.load(plain)
    del bare.graph.value_info[:]  # of which the quantiser's own shape inference has another opinion
    onnx.save(bare, folder / "bare.onnx")
    quantize_dynamic(folder / "bare.onnx", folder / "dynamic.onnx", per_channel=True, weight_type=QuantType.QInt8)
    yield "dynamic", folder / "dynamic.onnx"


def open_file(path: Path) -> Network:
    """The file as the script opens it, with one thread."""
    network = Network(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return network


def told(about: dict[str, Any], start: int, count: int) -> dict[str, NDArray[np.int64]]:
    """The classes of some samples, by turns."""
    return {c["name"]: np.arange(start, start + count) % c["size"] for c in about["conditions"] if c["kind"] == "class"}


def draw(network: Network, n: int, seed: int) -> NDArray[Any]:
    about = network.about
    noise = np.random.default_rng(seed).standard_normal((n, *about["shape"]), np.float32)
    parts = []
    for start in range(0, n, BATCH):
        x = np.float32(about["prior_std"]) * noise[start : start + BATCH]
        parts.append(steps(network, x, "dpm++2m", STEPS, told(about, start, len(x)), 1.0))
    return to_values(np.concatenate(parts), about)


def milliseconds(network: Network) -> float:
    """Of the processor, for a call of `BATCH` samples: the quickest, as whatever else runs only makes it slower."""
    x = np.random.default_rng(0).standard_normal((BATCH, *network.about["shape"]), np.float32)
    found = []
    for _ in range(CALLS):
        start = time.process_time()
        network.output(x, len(network.rows["time"]) // 2, told(network.about, 0, BATCH), 1.0)
        found.append(1000 * (time.process_time() - start))
    return min(found)


def measure(model: Model, judge: FeatureJudge, n: int, seeds: int) -> None:
    """Print a row for each file."""
    print(judge)
    print("| file | bytes | ms | " + " | ".join(f"FD, seed {seed}" for seed in range(seeds)) + " |")
    print("|---|" + "---:|" * (2 + seeds))
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files(model, Path(folder)):
            network = open_file(path)
            row = [name, f"{path.stat().st_size:,}", f"{milliseconds(network):.1f}"]
            row += [f"{judge.distance(draw(network, n, seed)):.3f}" for seed in range(seeds)]
            print("| " + " | ".join(row) + " |", flush=True)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    typed = parser.parse_args(words)
    measure(undiffuse.load(typed.run), make_judge(prepare(DataConfig(source=typed.data))), typed.n, typed.seeds)


if __name__ == "__main__":
    main()
