"""Draw samples from an ONNX file that `undiffuse convert ... --to onnx` wrote.

    python sample_onnx.py model.onnx -n 16 --sampler dpm++2m --steps 20 --class 7 --out samples

Needs numpy and onnxruntime, and nothing else. The file's metadata hold, under "undiffuse", JSON with all that is not in
the network: the samples' shape and range, and for each time of the process one row of float64 numbers,

    x_t = alpha x0 + sigma eps,    F(scale x_t, time) = p x0 + q eps

so that from the network's output F at x_t, with d = alpha q - sigma p,

    x0  = (q x_t - sigma F) / d        eps = (alpha F - p x_t) / d

DDIM and DPM-Solver++ 2M go from one time to the next with these (see `steps`). A student, which was distilled for a few
steps, has rows for its own times alone and says under "student" how it is sampled; nothing else is taken.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FORMAT = 2


class Network:
    """The network in a file and the description that came with it."""

    def __init__(self, path: str) -> None:
        self.session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = json.loads(self.session.get_modelmeta().custom_metadata_map["undiffuse"])
        if about["format"] > FORMAT:
            sys.exit(f"{path} has format {about['format']}, this script reads up to {FORMAT}")
        self.about = about
        self.rows = {name: np.array(column) for name, column in about["rows"].items()}

    def null(self, condition: dict[str, Any], count: int) -> np.ndarray:
        """What says that nothing is said: the class after the last, a vector of NaN."""
        if condition["kind"] == "class":
            return np.full(count, condition["size"], np.int64)
        if condition["kind"] == "vector":
            return np.full((count, condition["size"]), np.nan, np.float32)
        return np.full((count, 1, condition["size"]), np.nan, np.float32)

    def output(self, x: np.ndarray, row: int, told: dict[str, np.ndarray], guidance: float) -> np.ndarray:
        """F(scale x, time); guidance leads by (F - F_null), and F is linear in x0 and eps."""
        inputs = {
            "x": np.float32(self.rows["scale"][row]) * x,
            "time": np.full(len(x), self.rows["time"][row], np.float32),
        }
        nulls = {c["name"]: self.null(c, len(x)) for c in self.about["conditions"]}
        found: np.ndarray = self.session.run(None, {**inputs, **nulls, **told})[0]
        if guidance != 1:
            null = self.session.run(None, {**inputs, **nulls})[0]
            found = null + np.float32(guidance) * (found - null)
        return found[:, : x.shape[1]]  # a learned variance, which comes after it, has no part here


def waves(u: float, count: int, size: int) -> np.ndarray:
    """sin(k pi u / 2) and cos(k pi u / 2), k = 1 .. size / 2: how a network is told a number in [0, 1]."""
    angles = np.float32(u) * np.arange(1, size // 2 + 1) * (math.pi / 2)
    return np.repeat(np.concatenate([np.sin(angles), np.cos(angles)])[None].astype(np.float32), count, 0)


def numbers(about: dict[str, Any], count: int, end: tuple[float, float], scale: float) -> dict[str, np.ndarray]:
    """What a student is told of a step: the noise level where it ends, and how far guidance is to lead."""
    found = {}
    for condition in about["conditions"]:
        if condition["name"] == "until":
            u = math.atan2(end[1], end[0]) * 2 / math.pi
        elif condition["name"] == "scale":
            low, high = about["student"]["scales"]
            u = (scale - low) / (high - low)
        else:
            continue
        found[condition["name"]] = waves(u, count, condition["size"])
    return found


def walk(rows: int, count: int) -> list[int]:
    """The rows of ``count`` steps, evenly spread, from the noisiest on ('trailing', Lin et al. 2023)."""
    return [math.floor((k + 1) * rows / count + 0.5) - 1 for k in reversed(range(count))]


def steps(
    network: Network,
    x: np.ndarray,
    sampler: str,
    count: int,
    told: dict[str, np.ndarray],
    guidance: float,
    fresh: np.ndarray | None = None,
) -> np.ndarray:
    """From noise x to data, in model space.

        DDIM             x_s = alpha_s x0 + sigma_s eps                          (Song et al. 2021, eq. 12)
        DPM-Solver++ 2M  and alpha_s (1 - e^-h) (x0 - x0_before) / (2 r)         (Lu et al. 2022b, algorithm 2)
        renoise          x_s = alpha_s x0 + sigma_s z, z fresh in each step      (Song et al. 2023, algorithm 1)
        jump             DDIM of a network that is told where the step ends

    with lambda = log(alpha / sigma), h = lambda_s - lambda_t and r h = lambda_t - lambda_before; the first step, steps
    from pure noise and the last one to data are DDIM's. Coefficients are float64, the state is float32.
    """
    columns = ("alpha", "sigma", "p", "q")
    chosen = walk(len(network.rows["time"]), count)
    points = [(row, tuple(float(network.rows[name][row]) for name in columns)) for row in chosen]
    end = network.about["end"]
    student = network.about.get("student")
    before: tuple[float, np.ndarray] | None = None
    for k, ((row, (alpha, sigma, p, q)), following) in enumerate(zip(points, [*points[1:], None], strict=True)):
        alpha_s, sigma_s = following[1][:2] if following else (end["alpha"], end["sigma"])
        if student:  # its guidance is inside
            own = numbers(network.about, len(x), (alpha_s, sigma_s), guidance)
            F = network.output(x, row, {**told, **own}, 1.0)
        else:
            F = network.output(x, row, told, guidance)
        d = alpha * q - sigma * p
        x0 = np.float32(q / d) * x - np.float32(sigma / d) * F
        if not student or student["threshold"] == "clip":
            x0 = np.clip(x0, -1, 1)
        eps = np.float32(1 / sigma) * x - np.float32(alpha / sigma) * x0  # of the clipped x0
        if sampler == "renoise" and sigma_s > 0:
            assert fresh is not None
            eps = fresh[k]
        x = np.float32(alpha_s) * x0 + np.float32(sigma_s) * eps
        level = math.log(alpha / sigma) if alpha else -math.inf
        if sampler == "dpm++2m" and before is not None and sigma_s > 0 and math.isfinite(before[0]):
            h = math.log(alpha_s / sigma_s) - level
            x = x - np.float32(alpha_s * math.expm1(-h) * h / (2 * (level - before[0]))) * (x0 - before[1])
        before = (level, x0)
    return x


def in_micro_batches(
    network: Network,
    x: np.ndarray,
    sampler: str,
    count: int,
    told: dict[str, np.ndarray],
    guidance: float,
    fresh: np.ndarray | None = None,
) -> np.ndarray:
    """The same, as many samples at a time as the file says, the last ones filled up with its last one.

    A network's rounding may depend on the size of a batch; so a sample is the same however many are drawn. A file of
    before that said nothing of it: all go together.
    """
    size = network.about.get("micro_batch", len(x))
    found = []
    for first in range(0, len(x), size):
        rows = np.minimum(np.arange(first, first + size), len(x) - 1)
        mine = {name: values[rows] for name, values in told.items()}
        new = None if fresh is None else fresh[:, rows]
        found.append(steps(network, x[rows], sampler, count, mine, guidance, new)[: len(x) - first])
    return np.concatenate(found)


def to_values(x: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    """Model space, [-1, 1], to the data's own values."""
    low, high = about["low"], about["high"]
    values = np.clip((x.astype(np.float64) + 1) * (high - low) / 2 + low, low, high)
    found: np.ndarray = (values if about["dtype"] == "float32" else np.rint(values)).astype(about["dtype"])
    return found


def png(picture: np.ndarray) -> bytes:
    """(channels, height, width) of 8 bits as a PNG file."""
    channels, height, width = picture.shape
    lines = np.pad(picture.transpose(1, 2, 0).reshape(height, -1), ((0, 0), (1, 0)))  # filter 0 before each line

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def split_names(text: str, classes: list[str]) -> list[str]:
    """The names in a text with commas between them; names may have some, so the longest from the left are taken."""
    pieces, found = text.split(","), []
    while pieces:
        sizes = range(len(pieces), 1, -1)
        size = next((k for k in sizes if ",".join(pieces[:k]).strip() in classes), 1)
        found.append(",".join(pieces[:size]).strip())
        pieces = pieces[size:]
    return found


def conditions(typed: argparse.Namespace, about: dict[str, Any], count: int) -> dict[str, np.ndarray]:
    """What the network is told, by name; classes are taken in turns, all of them where none is asked for."""
    told: dict[str, np.ndarray] = {}
    for condition in about["conditions"]:
        if condition["kind"] == "class":
            asked = split_names(typed.classes, about["classes"]) if typed.classes else about["classes"]
            if unknown := [word for word in asked if word not in about["classes"]]:
                sys.exit(f"There is no class '{unknown[0]}'; there are {', '.join(about['classes'])}")
            labels = [about["classes"].index(word) for word in asked]
            told[condition["name"]] = np.resize(np.array(labels, np.int64), count)
        elif condition["kind"] == "tokens" and typed.tokens:
            vectors = np.load(typed.tokens).astype(np.float32)
            told[condition["name"]] = np.repeat(vectors[None], count, 0)
    return told


def how(typed: argparse.Namespace, about: dict[str, Any]) -> tuple[str, int, float]:
    """Sampler, steps and guidance: those that were typed, or a student's own, which are all that it can be asked."""
    student, rows = about.get("student"), len(about["rows"]["time"])
    if student is None:
        count = 20 if typed.steps is None else typed.steps
        if not 1 <= count <= rows:
            sys.exit(f"--steps must be from 1 to {rows}")
        if typed.sampler in ("renoise", "jump"):
            sys.exit(f"--sampler {typed.sampler} is for students, and this network is none")
        return typed.sampler or "dpm++2m", count, 1.0 if typed.guidance is None else typed.guidance
    count = student["steps"][0] if typed.steps is None else typed.steps
    if count not in student["steps"]:
        sys.exit(f"This student was distilled for --steps {' or '.join(map(str, sorted(student['steps'])))}")
    if typed.sampler not in (None, student["sampler"]):
        sys.exit(f"This student was distilled for --sampler {student['sampler']}")
    low, high = student["scales"] or (student["guidance"],) * 2
    guidance = student["guidance"] if typed.guidance is None else typed.guidance
    if not low <= guidance <= high:
        sys.exit(f"This student learned guidance {f'from {low:g} to {high:g}' if high > low else f'{low:g}'}")
    return student["sampler"], count, guidance


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=16, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of NumPy's noise")
    text = "an .npy file with the noise to start from, (n, channels, ...), instead; for renoise with that of all steps"
    parser.add_argument("--noise", help=f"{text}, (steps, n, channels, ...)")
    parser.add_argument("--sampler", choices=("ddim", "dpm++2m", "renoise", "jump"), help="(default: dpm++2m)")
    parser.add_argument("--steps", type=int, help="(default: 20; a student knows its own)")
    parser.add_argument("--class", dest="classes", help="names with commas between them, taken in turns")
    parser.add_argument("--tokens", help="an .npy file with a text's vectors, (length, size)")
    parser.add_argument("--guidance", type=float, help="(default: 1)")
    parser.add_argument("--out", default="samples", help="folder for samples.npy and, of 8-bit images, PNG files")
    typed = parser.parse_args()

    network = Network(typed.model)
    about = network.about
    sampler, count, guidance = how(typed, about)
    fresh = None
    if typed.noise:
        noise = np.load(typed.noise).astype(np.float32)
        if noise.ndim == len(about["shape"]) + 2:
            noise, fresh = noise[0], noise[1:]
    else:
        noise = np.random.default_rng(typed.seed).standard_normal((typed.n, *about["shape"]), np.float32)
    if sampler == "renoise" and count > 1 and fresh is None:
        streams = (np.random.default_rng([typed.seed, k]) for k in range(1, count))
        fresh = np.stack([stream.standard_normal(noise.shape, np.float32) for stream in streams])
    if sampler == "renoise" and count > 1 and (fresh is None or len(fresh) < count - 1):
        sys.exit(f"--noise must hold noise for each of the {count} steps of renoise: (steps, n, channels, ...)")
    x = np.float32(about["prior_std"]) * noise
    told = conditions(typed, about, len(x))
    made = to_values(in_micro_batches(network, x, sampler, count, told, guidance, fresh), about)
    folder = Path(typed.out)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "samples.npy", made)
    if made.dtype == np.uint8 and made.ndim == 4 and made.shape[1] <= 4:
        for number, picture in enumerate(made):
            (folder / f"{number:05d}.png").write_bytes(png(picture))
    print(f"{folder}: {len(made)} sample{'s' * (len(made) != 1)}")


if __name__ == "__main__":
    main()
