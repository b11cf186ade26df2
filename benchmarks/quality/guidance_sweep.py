"""How far should guidance lead? Accuracy against distance over its scales, for each way of guiding.

    python -m benchmarks.quality.guidance_sweep runs/NAME digits --scales 0 1 1.5 2 3 5 8
    python -m benchmarks.quality.guidance_sweep runs/NAME digits --classifier runs/NAME/classifier --weak runs/EARLY

The run is class-conditional. Each row draws -n samples, the classes by turns, from the same noise. *Accuracy* is the
share in which the extractor 'classifier', which has seen no samples, finds the class that was asked for; *FD* is the
Frechet distance of its features from the data's (docs/measure/evaluation.md). Too little guidance shows in the one, too
much in the other. 'classifier' leads the model without its classes, as if it were unconditional; 'auto' leads it away
from --weak.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import undiffuse
from undiffuse.conditioning.request import CLASS, GuidedRequest, Guides, null_conditions
from undiffuse.config.data import DataConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.preparation.prepare import prepare
from undiffuse.diffusion.guidance import Clip, Guidance
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.classifier import ClassifierExtractor, load_classifier
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.features.extractor import Outputs
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.model import Model
from undiffuse.model.noise_classifier import load_noisy_classifier
from undiffuse.visualization.plot import Axis, Series, line_plot

MICRO_BATCH = 100


@dataclass(frozen=True)
class Row:
    """What one scale of one way of guiding gave."""

    method: str
    scale: float
    accuracy: float
    distance: float


@dataclass(frozen=True)
class Judge:
    """The extractor and what it makes of the data."""

    extractor: ClassifierExtractor
    reference: Outputs
    classes: tuple[str, ...]

    @classmethod
    def of(cls, source: str, model: Model) -> Judge:
        data = prepare(replace(model.config.data, source=source) if source != "digits" else DataConfig())
        extractor = load_classifier(data)
        return cls(extractor, extract(extractor, batches(data.images, data.info), len(data)), data.info.classes)


def methods(model: Model, classifier: Path | None, weak: Path | None) -> dict[str, tuple[bool, Guides]]:
    """For each way: whether the model is told the class, and who leads beside it."""
    found = {"free": (True, Guides())}
    if classifier:
        found["classifier"] = (False, Guides(classifier=load_noisy_classifier(classifier)))
    if weak:
        worse = undiffuse.load(weak)
        found["auto"] = (True, Guides(weak=worse.denoiser, weak_conditions=worse.conditions))
    return found


def measure(model: Model, judge: Judge, method: str, how: tuple[bool, Guides], scale: float, n: int, seed: int) -> Row:
    """Draw, and judge."""
    is_told, guides = how
    classes = len(model.info.classes)
    told = model.conditions if is_told else ()
    rows = {CLASS: torch.arange(classes)}
    request = GuidedRequest(told, rows, null_conditions(told, rows), Guidance(scale), guides)
    plan = model.plan()
    drawn = []
    for first in range(0, n, MICRO_BATCH):
        members = range(first, first + MICRO_BATCH)
        denoiser = Clip(request.denoiser(model.denoiser, members))
        x = sample(denoiser, plan.sampler, plan.times, model.info.shape, Noise(seed, members))
        drawn.append(x[: n - first])
    found = extract(judge.extractor, batches(codec_of(model.info).decode(torch.cat(drawn)), model.info), n)
    assert found.logits is not None
    asked = torch.arange(n) % classes
    right = (found.logits.argmax(1) == asked).double().mean().item()
    return Row(method, scale, right, frechet_distance(found.moments, judge.reference.moments))


def table(rows: list[Row]) -> str:
    lines = ["| guidance | scale | accuracy | FD |", "|---|---|---|---|"]
    lines += [f"| {row.method} | {row.scale:g} | {row.accuracy:.1%} | {row.distance:.1f} |" for row in rows]
    return "\n".join(lines)


def plot(rows: list[Row]) -> str:
    """Accuracy over distance, a curve for each way."""
    names = dict.fromkeys(row.method for row in rows)
    series = [
        Series(
            name,
            [row.distance for row in rows if row.method == name],
            [100 * row.accuracy for row in rows if row.method == name],
        )
        for name in names
    ]
    return line_plot(series, Axis("Frechet distance"), Axis("accuracy, %"), title="guidance, each curve by its scales")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a class-conditional run's folder, or a model's name")
    parser.add_argument("data", help="what it learned from, with classes")
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 1, 1.5, 2, 3, 5])
    parser.add_argument("--classifier", type=Path, help="a folder of undiffuse train-classifier")
    parser.add_argument("--weak", type=Path, help="a worse model's")
    parser.add_argument("-n", type=int, default=1000, help="samples of each row (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples' noise")
    parser.add_argument("--out", type=Path, help="folder for rows.json and plot.svg")
    args = parser.parse_args()

    model = undiffuse.load(args.run)
    if not model.conditions:
        raise UndiffuseError(f"{args.run} knows no classes; train one with --condition class")
    judge = Judge.of(args.data, model)
    print(f"judge: accuracy {judge.extractor.accuracy:.1%} on {judge.extractor.held_out} held-out images", flush=True)
    rows: list[Row] = []
    for method, how in methods(model, args.classifier, args.weak).items():
        for scale in args.scales:
            rows.append(measure(model, judge, method, how, scale, args.n, args.seed))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        (args.out / "plot.svg").write_text(plot(rows))
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
