"""Held-out MNIST digits as digits of another class: how many are, and what of the old ones is kept.

    UNDIFFUSE_TEST_DATA=FOLDER python -m benchmarks.editing.translation digits -n 100 --steps 30

Digit k of class c becomes one of class c + 1 + 3 k (mod 10), or the next where that is c. The judge of lib/judge.py
says of which class a result is. Kept: over all digits, the correlation between old and new of three things that are no
class: ink (the sum of values), slant (the regression of columns on rows) and stroke width (ink over length of edges).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import undiffuse
from benchmarks.lib.judge import Digits, as_kept, look, make_bench
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing import Editor, translate
from undiffuse.model import Model
from undiffuse.visualization.grid import grid, to_image

SHOWN = 14
"""Digits in the picture."""


@dataclass(frozen=True)
class Way:
    """How digits are translated: guidance of the way home, how far into noise, and whether the old class is told."""

    guidance: float
    strength: float = 1.0
    told: bool = True

    def __str__(self) -> str:
        source = "old class told" if self.told else "no class told"
        return f"{source}, guidance {self.guidance:g}, strength {self.strength:g}"


WAYS = (Way(1), Way(1, told=False), Way(2), Way(2, told=False), Way(2, 0.9), Way(3, 0.8))


def targets(labels: Tensor) -> Tensor:
    """The class that each digit is to be of, never its own."""
    wanted = (labels + 1 + 3 * torch.arange(len(labels))) % 10
    return torch.where(wanted == labels, (wanted + 1) % 10, wanted)


def translated(model: Model, digits: Digits, way: Way, steps: int) -> tuple[Tensor, Tensor]:
    """The digits as they would be kept, and the PSNR of each inversion."""
    settings = SampleConfig.of(sampler="ddim", steps=steps, spacing="linspace", guidance=way.guidance)
    made, psnr = torch.empty_like(digits.images), torch.empty(len(digits.images))
    pairs = torch.stack([digits.labels, targets(digits.labels)], 1)
    for old, new in pairs.unique(dim=0).tolist():
        rows = torch.nonzero((pairs == torch.tensor([old, new])).all(1))[:, 0]
        editor = Editor.of(model, settings)
        source = str(old) if way.told else "none"
        found = translate(editor, digits.images[rows], str(new), source, strength=way.strength)
        made[rows], psnr[rows] = found.pictures, found.inversion.psnr
    return as_kept(made), psnr


def traits(x: Tensor) -> Tensor:
    """Ink, slant and width of strokes, one row a trait."""
    v = ((x[:, 0] + 1) / 2).double()
    ink, place = v.sum((1, 2)), torch.arange(v.shape[1]).double()
    row, column = v.sum(2) @ place / ink, v.sum(1) @ place / ink
    down, right = place[None, :, None] - row[:, None, None], place[None, None, :] - column[:, None, None]
    slant = (v * down * right).sum((1, 2)) / (v * down**2).sum((1, 2))
    edges = v.diff(dim=1).abs().sum((1, 2)) + v.diff(dim=2).abs().sum((1, 2))
    return torch.stack([ink, slant, ink / edges])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--picture", type=Path, help="the first digits, given and translated, as PNG")
    args = parser.parse_args()
    model, bench = undiffuse.load(args.run), make_bench(args.n)
    digits, wanted = bench.held_out, targets(bench.held_out.labels)
    print("| | new class | old class | ink | slant | width | inversion, dB (worst) |\n|---|---|---|---|---|---|---|")
    shown = [digits.images[:SHOWN]]
    for way in WAYS:
        made, psnr = translated(model, digits, way, args.steps)
        found = look(bench.judge, made)[1].argmax(-1)
        shares = [float((found == labels).double().mean()) for labels in (wanted, digits.labels)]
        old, new = traits(digits.images), traits(made)
        kept = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(old, new, strict=True)]
        cells = [*(f"{share:.0%}" for share in shares), *(f"{value:.2f}" for value in kept)]
        print(f"| {way} | {' | '.join(cells)} | {psnr.mean():.1f} ({psnr.min():.1f}) |", flush=True)
        if way in (Way(1), Way(2)):
            shown.append(made[:SHOWN])
    if args.picture:
        values = ((torch.cat(shown) + 1) * 127.5).round().to(torch.uint8).numpy()
        grid([to_image(value, model.info) for value in values], SHOWN).save(args.picture)


if __name__ == "__main__":
    main()
