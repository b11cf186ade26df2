"""Three families of generative models on the same digits, of the same size, for the same minutes.

    python -m benchmarks.quality.model_families                         # three seeds, four minutes a training
    python -m benchmarks.quality.model_families --minutes 1 --repeats 1 --families ddpm vae

Our demo recipe (DDPM), a variational autoencoder and a generative adversarial network (lib/baselines/), each with about
0.65 million trained parameters, all its networks counted, and each trained for the same processor time on one thread,
in alternation (lib/alternation.py). Weights, batches and noise are functions of the seed. Measured:

* quality: FD and confidence by lib/judge.py;
* fidelity and variety: precision, recall, density and coverage in the judge's features, against as many real digits
  (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991; Naeem et al. 2020, https://arxiv.org/abs/2002.09797);
* likelihood of held-out digits in bits/dim of the 256 levels: the DDPM's variational bound and its ODE, the VAE's
  importance-weighted bound; a GAN has none;
* speed: images a second of processor time, one thread, and evaluations of a network for an image;
* stability: FD over the seeds; a failure is a value that is not finite or a class with less than a quarter of its
  share of the samples (mode collapse).

Written to --out: results.json, table.md, families.png and a larger grid of samples of every training.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from benchmarks.lib.alternation import Trainee, alternate, machine, write_json
from benchmarks.lib.baselines.gan import GAN
from benchmarks.lib.baselines.vae import VAE
from benchmarks.lib.judge import HEADER, Bench, TrainingData, make_bench
from benchmarks.lib.ours import Ours
from undiffuse.config.files import override
from undiffuse.config.sampling import Solver
from undiffuse.data.codec import codec_of
from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.guidance import Clip
from undiffuse.evaluation.images import ImageBatch
from undiffuse.evaluation.likelihood.bound import bound_of
from undiffuse.evaluation.likelihood.probability_flow import density_of, dequantise, draw_probes
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.evaluation.metrics.manifold import density_coverage, precision_recall
from undiffuse.recipes import get_recipe
from undiffuse.visualization.captions import labeled
from undiffuse.visualization.grid import grid, to_image

COLLAPSED = 0.025
"""A class with a smaller share of the samples counts as lost; of ten classes each has about 0.1."""


class Family(Trainee, Protocol):
    """A training of one kind of model."""

    @property
    def parameters(self) -> int:
        """Trained, of all its networks."""
        ...

    @property
    def evaluations(self) -> int:
        """Of a network, for one image."""
        ...

    def draw(self, n: int, seed: int) -> Tensor: ...


class DDPM(Ours):
    """Our demo recipe, drawn from by the default sampler."""

    evaluations = Solver.steps

    def __init__(self, data: TrainingData, seed: int) -> None:
        recipe = get_recipe("digits").build(data.info)
        super().__init__("DDPM", override(recipe, seed=seed, device="cpu", precision="float32"), data)

    def likelihoods(self, x0: Tensor, times: int) -> dict[str, Tensor]:
        """Bits/dim of each image by the bound, from ``times`` terms, and by the ODE."""
        model = self.averaged()
        units, denoiser = Units.of(model.info), Clip(model.denoiser)
        indices = list(range(len(x0)))
        terms = bound_of(denoiser, ImageBatch(x0, indices), count=times)
        noise = draw_probes(x0.shape[1:], indices, 1, "rademacher", 0)
        density = density_of(
            denoiser, dequantise(x0, indices, units.bin_width, 0), noise, tolerance=Tolerance(1e-3, 1e-3)
        )
        return {"bound": units.of_bound(terms.total), "ODE": units.of_density(density.total)}


FAMILIES: dict[str, type[DDPM] | type[VAE] | type[GAN]] = {"ddpm": DDPM, "vae": VAE, "gan": GAN}


def likelihoods(family: Family, x0: Tensor, times: int) -> dict[str, Tensor]:
    """Bits/dim of held-out images, by every way that the family has."""
    if isinstance(family, DDPM):
        return family.likelihoods(x0, times)
    return {"IWAE": family.bits(x0)} if isinstance(family, VAE) else {}


@dataclass(frozen=True)
class Effort:
    """How much is spent on judging."""

    n: int = 1000
    likelihood_images: int = 128
    likelihood_times: int = 100


def judge(family: Family, bench: Bench, effort: Effort) -> tuple[dict[str, Any], Tensor]:
    """Everything that is measured of one trained model, and its samples; of a broken one, that it failed."""
    begun = time.process_time()
    images = family.draw(effort.n, seed=0)
    speed = effort.n / (time.process_time() - begun)
    row: dict[str, Any] = {"speed": speed, "evaluations": family.evaluations, "parameters": family.parameters}
    if not images.isfinite().all():
        return row | {"failed": True}, images.nan_to_num()
    scores = bench.measure(images)
    real, fake = bench.features(real_digits(bench, effort.n)), bench.features(images)
    row["precision"], row["recall"] = precision_recall(real, fake)
    row["density"], row["coverage"] = density_coverage(real, fake)
    held_out = bench.held_out.images[: effort.likelihood_images]
    for name, bits in likelihoods(family, held_out, effort.likelihood_times).items():
        row[f"bits by {name}"] = float(bits.mean())
        row[f"bits by {name}, error"] = float(bits.std()) / math.sqrt(len(bits))
    if isinstance(family, VAE):
        row["FD of expected levels"] = bench.measure(family.draw(effort.n, seed=0, expected=True)).fd
    return row | scores.to_json() | {"failed": min(scores.classes) < COLLAPSED * effort.n}, images


def real_digits(bench: Bench, n: int) -> Tensor:
    """n of the reference digits at random."""
    order = torch.randperm(len(bench.reference.images), generator=torch.Generator().manual_seed(0))
    return bench.reference.images[order[:n]]


def compare(
    bench: Bench,
    names: Sequence[str],
    seeds: Iterable[int],
    seconds: float,
    slice_seconds: float,
    effort: Effort,
    out: Path,
) -> dict[str, Any]:
    """Train and judge; the results as they are written to results.json."""
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "judge": bench.name, "seconds": seconds, "rows": [], "load": []}
    results["real"] = real_row(bench, effort)
    print(HEADER, bench.row("held-out real digits", bench.held_out.images), sep="\n", flush=True)
    shown: dict[tuple[str, int], Image.Image] = {}
    for seed in seeds:
        # Each seed begins with another family, so that none is always the first of a turn.
        order = [names[(k + seed) % len(names)] for k in range(len(names))]
        families = [FAMILIES[name](bench.data, seed) for name in order]

        def look(trainee: Trainee, mark: float, spent: float, seed: int = seed) -> None:
            assert isinstance(trainee, (DDPM, VAE, GAN))
            row, images = judge(trainee, bench, effort)
            row |= {"name": trainee.name, "seed": seed, "spent": spent, "steps": trainee.steps}
            results["rows"].append(row)
            write_json(out / "results.json", results)
            verdict = "failed" if row["failed"] else "fine"
            print(bench.row(f"{trainee.name}-{seed}, {trainee.steps} steps, {verdict}", images), flush=True)
            tiles = [to_image(x, bench.data.info) for x in codec_of(bench.data.info).decode(images[:64])]
            grid(tiles).save(out / f"{trainee.name}-{seed}.png")
            shown[trainee.name, seed] = grid(tiles[:32], columns=8, scale=1)

        load = alternate(families, [seconds], look, slice_seconds)
        print(f"seed {seed}: {load}", flush=True)
        results["load"].append({"seed": seed, "processor": load.processor, "wall": load.wall, "share": load.share})
        write_json(out / "results.json", results)
    (out / "table.md").write_text(table(results))
    side_by_side(shown).convert("L").quantize(16).save(out / "families.png", optimize=True)
    return results


def side_by_side(shown: dict[tuple[str, int], Image.Image]) -> Image.Image:
    """Samples of every training: a row a family, a column a seed."""
    names, seeds = sorted({name for name, _ in shown}), sorted({seed for _, seed in shown})
    cells = [[shown[name, seed] for seed in seeds] for name in names]
    return labeled(cells, names, [str(seed) for seed in seeds], ("", "seed"))


def real_row(bench: Bench, effort: Effort) -> dict[str, Any]:
    """The same figures of held-out digits: what a perfect model would have."""
    real, held_out = bench.features(real_digits(bench, effort.n)), bench.features(bench.held_out.images)
    (precision, recall), (density, coverage) = precision_recall(real, held_out), density_coverage(real, held_out)
    figures = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
    return figures | bench.measure(bench.held_out.images).to_json()


FIGURES = {
    "FD": ("fd", ".1f"),
    "confidence": ("confidence", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "density": ("density", ".3f"),
    "coverage": ("coverage", ".3f"),
    "nearest": ("nearest", ".2f"),
    "bits/dim, bound": ("bits by bound", ".2f"),
    "bits/dim, ODE": ("bits by ODE", ".2f"),
    "bits/dim, IWAE": ("bits by IWAE", ".2f"),
    "images/s": ("speed", ".4g"),
    "evaluations an image": ("evaluations", "g"),
    "parameters": ("parameters", ",d"),
    "steps": ("steps", ",.0f"),
    "FD of expected levels": ("FD of expected levels", ".1f"),
}
"""Rows of the table: where they are in results.json, and how they are written."""


def table(results: dict[str, Any]) -> str:
    """Markdown: a row a figure, a column a family, mean and standard deviation over the seeds."""
    names = sorted({row["name"] for row in results["rows"]})
    lines = ["| | " + " | ".join([*names, "held-out digits"]) + " |", "|---" * (2 + len(names)) + "|"]
    rows = {name: [row for row in results["rows"] if row["name"] == name] for name in names}
    for title, (key, form) in FIGURES.items():
        cells = [_cell([row[key] for row in rows[name] if key in row], form) for name in names]
        real = format(results["real"][key], form) if key in results["real"] else ""
        lines.append(f"| {title} | " + " | ".join([*cells, real]) + " |")
    failed = [f"{sum(row['failed'] for row in rows[name])} of {len(rows[name])}" for name in names]
    return "\n".join([*lines, "| failures | " + " | ".join([*failed, ""]) + " |"]) + "\n"


def _cell(values: list[Any], form: str) -> str:
    if not values:
        return "none"
    if len(set(values)) == 1:
        return format(values[0], form)
    return f"{format(mean(values), form)} ± {format(stdev(values), form)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--minutes", type=float, default=4.0, help="of processor time, each training (default 4)")
    parser.add_argument("--repeats", type=int, default=3, help="seeds 0, 1, ... (default 3)")
    parser.add_argument("--slice", type=float, default=15.0, help="seconds of one turn (default 15)")
    parser.add_argument("--threads", type=int, default=1, help="of everything (default 1)")
    parser.add_argument("--likelihood-images", type=int, default=128, help="held-out digits for bits/dim (default 128)")
    parser.add_argument("--out", type=Path, default=Path("runs/model-families"), help="where results go")
    parser.add_argument("-n", type=int, default=1000, help="samples of each training (default 1000)")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    effort = Effort(args.n, args.likelihood_images)
    bench = make_bench(args.n)
    results = compare(bench, args.families, range(args.repeats), 60 * args.minutes, args.slice, effort, args.out)
    print(f"\n{table(results)}\nwritten: {args.out}")


if __name__ == "__main__":
    main()
