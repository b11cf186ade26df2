"""The tables of docs/use/editing.md: holes filled, digits varied and enlarged, judged by pixels, features and class.

    UNDIFFUSE_TEST_DATA=FOLDER python -m benchmarks.editing.edits RUN [-n 128] [--task TASK] [--only WORDS,WORDS]

RUN is a model of the built-in digits, or a student of one, which fills and varies by its own walks; FOLDER holds MNIST
(``mnist-train.npz`` for the judge, ``mnist-test.npz`` for the digits, none of which the model saw). Columns:

* PSNR: 10 log10(4 / mean square error) dB, the mean over digits, of values as a file would hold them
* features: Euclidean distance between the judge's 64 features of the result and of the true digit, the mean, over that
  between two digits of the same class: 1 is "another digit of the same class"
* class: share in which the judge sees the true class
* confidence: the judge's largest probability, on average; that of the true digits is 0.99
* evaluations of the network a digit; a * where each is differentiated, which about doubles its time

`posterior` measures each method on correlated Gaussian data, whose posterior is known: errors of mean and covariance.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import undiffuse
from benchmarks.lib.judge import Bench, as_kept, look, make_bench
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.students import walking_student
from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.guidance import DDNM, DPS, LinearMeasurement, PiGDM, ReplacementInpainting
from undiffuse.diffusion.linear_operators import Blur, Downsample, LinearOperator, Mask
from undiffuse.diffusion.samplers import DDPM
from undiffuse.diffusion.schedules import Schedule, linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, start, trajectory
from undiffuse.editing import Editor, inpaint, upscale, vary
from undiffuse.editing.repaint import resampled, with_returns
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model

DEVICE = "cpu"
Row = tuple[str, int, bool, Callable[[Tensor], Tensor]]
"""Name, evaluations a digit, whether they are differentiated, and true digits to results."""

HOLE = (slice(8, 20), slice(8, 20))
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


def settings(sampler: str, steps: int) -> SampleConfig:
    return SampleConfig.of(sampler=sampler, steps=steps, micro_batch=64)


def own_walks(model: Model) -> Iterator[tuple[int, Editor]]:
    """The numbers of steps that a student was made for, the most first, and an editor for each; none of a teacher."""
    if student := walking_student(model.config):
        for steps in sorted(student.student_steps, reverse=True):
            yield steps, Editor.of(model, SampleConfig.of(**student.walk(steps), micro_batch=64))


def inpainting(model: Model) -> Iterator[Row]:
    """A hole of 12 x 12 pixels in the middle of 28 x 28."""
    known = torch.ones(1, 1, 28, 28)
    known[(..., *HOLE)] = 0

    def row(method: str, sampler: str, steps: int, scale: float = 1.0, jump: int = 10, repeats: int = 10) -> Row:
        returns = (with_returns(torch.arange(steps, -1, -1.0), jump, repeats).diff() < 0).sum()
        evaluations = int(returns) if method == "repaint" else steps
        name = f"{method} {sampler} {steps}" + (f" x{scale:g}" if method in ("dps", "pigdm") else "")
        name += f", jumps of {jump}, {repeats} passes" if method == "repaint" else ""
        editor = Editor.of(model, settings(sampler, steps))
        how: dict[str, Any] = {"method": method, "scale": scale, "jump": jump, "repeats": repeats}
        return name, evaluations, method in ("dps", "pigdm"), lambda x: inpaint(editor, x, known, **how)

    yield "the hole black", 0, False, lambda x: torch.where(known.bool(), x, -1)
    yield "nearest known pixel", 0, False, lambda x: nearest_known(x)
    yield "smoothest (Laplace's equation)", 0, False, lambda x: harmonic(x, known)
    for steps, own in own_walks(model):
        yield f"replace, the student's {steps}", steps, False, partial(inpaint, own, known=known, method="replace")
    if walking_student(model.config):
        return
    yield row("replace", "dpm++2m-sde", 20)
    yield row("replace", "ddpm", 100)
    yield row("ddnm", "dpm++2m-sde", 20)
    yield row("ddnm", "ddpm", 100)
    yield row("repaint", "ddpm", 20, jump=5, repeats=5)
    yield row("repaint", "ddpm", 50, jump=10, repeats=5)
    yield row("repaint", "ddpm", 50, jump=10, repeats=10)
    yield row("pigdm", "dpm++2m-sde", 20)
    yield row("pigdm", "ddpm", 50)
    yield row("pigdm", "ddpm", 100)
    yield row("pigdm", "ddpm", 100, 3.0)
    yield row("dps", "ddpm", 50, 2.0)
    yield row("dps", "ddpm", 100)
    yield row("dps", "ddpm", 250)


def upscaling(model: Model) -> Iterator[Row]:
    """7 x 7 pixels to 28 x 28; a student's x0 is not the mean that this needs."""
    small = Downsample(4).A

    def row(method: Any, sampler: str, steps: int, scale: float = 1.0) -> Row:
        editor = Editor.of(model, settings(sampler, steps))
        name = f"{method} {sampler} {steps}" + (f" x{scale:g}" if method != "ddnm" else "")
        return (
            name,
            steps,
            method != "ddnm",
            lambda x: upscale(editor, small(x), 4, method=method, scale=scale),
        )

    yield "nearest", 0, False, lambda x: Downsample(4).pinv(small(x))
    yield "bicubic", 0, False, lambda x: F.interpolate(small(x), scale_factor=4, mode="bicubic")
    if walking_student(model.config):
        return
    yield row("ddnm", "dpm++2m-sde", 20)
    yield row("ddnm", "ddpm", 100)
    yield row("pigdm", "dpm++2m-sde", 20)
    yield row("pigdm", "ddpm", 50)
    yield row("pigdm", "ddpm", 100)
    yield row("pigdm", "ddpm", 100, 3.0)
    yield row("pigdm", "ddpm", 250)
    yield row("dps", "ddpm", 100, 2.0)
    yield row("dps", "ddpm", 250)
    yield row("dps", "ddpm", 250, 3.0)


def varying(model: Model) -> Iterator[Row]:
    """Digits into noise for a part of the way, and home again."""
    ways = [(f"the student's {steps}", own) for steps, own in own_walks(model)]
    for way, editor in ways or [("dpm++2m-sde 20", Editor.of(model, settings("dpm++2m-sde", 20)))]:
        for strength in STRENGTHS:
            try:
                evaluations = len(editor.times_from(strength)) - 1
            except UndiffuseError:  # a student's few steps begin at few strengths
                continue
            yield f"vary {strength:g}, {way}", evaluations, False, partial(vary, editor, strength=strength)


def nearest_known(x: Tensor) -> Tensor:
    """Each pixel of the hole is the nearest one outside it."""
    filled = x.clone()
    rows, columns = HOLE
    for i in range(rows.start, rows.stop):
        for j in range(columns.start, columns.stop):
            up, down = i - rows.start + 1, rows.stop - i
            left, right = j - columns.start + 1, columns.stop - j
            where = {up: (i - up, j), down: (i + down, j), left: (i, j - left), right: (i, j + right)}
            filled[..., i, j] = x[(..., *where[min(where)])]
    return filled


def harmonic(x: Tensor, known: Tensor) -> Tensor:
    """Each pixel of the hole is the mean of its four neighbours."""
    kernel = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0.0]])[None, None] / 4
    filled = torch.where(known.bool(), x, -1)
    for _ in range(500):
        filled = torch.where(known.bool(), x, F.conv2d(filled, kernel, padding=1))
    return filled


TASKS = {"inpaint": inpainting, "vary": varying, "upscale": upscaling}


def report(rows: Iterator[Row], bench: Bench, only: Sequence[str] = ("",)) -> None:
    truth, labels = bench.held_out.images, bench.held_out.labels
    features = bench.features(truth)
    apart = torch.cdist(features, features)
    same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    unit = float(apart[same].mean())
    print("| | evaluations | PSNR, dB | features | class | confidence |\n|---|---|---|---|---|---|", flush=True)
    for name, evaluations, differentiated, edit in rows:
        if not any(words in name for words in only):
            continue
        found = as_kept(edit(truth))
        error = (found - truth).square().flatten(1).mean(1).clamp(min=1e-9)
        psnr = float((10 * torch.log10(4 / error)).mean())
        seen, probabilities = look(bench.judge, found)
        distance = float((seen - features).norm(dim=1).mean()) / unit
        confidence, classes = probabilities.max(-1)
        kept, sure = float((classes == labels).double().mean()), float(confidence.mean())
        star = "*" if differentiated else ""
        print(f"| {name} | {evaluations}{star} | {psnr:.2f} | {distance:.2f} | {kept:.1%} | {sure:.3f} |", flush=True)


SIDE, CORRELATION, PICTURES = 8, 0.8, 4000


@dataclass(frozen=True)
class Correlated:
    """The exact denoiser of x0 ~ N(0, C), C_ij = CORRELATION^|i - j|."""

    schedule: Schedule
    covariance: Tensor

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Prediction:
        q_t, C = self.schedule(t), self.covariance
        noisy = q_t.alpha**2 * C + q_t.sigma**2 * torch.eye(len(C), dtype=C.dtype)
        x0 = x_t @ (q_t.alpha * C @ torch.linalg.inv(noisy)).T.to(x_t)
        return Prediction(x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t))


@torch.no_grad()
def posterior() -> None:
    """Errors on Gaussian data, relative: of the mean |m - m'| / |m'|, of the covariance |S - S'| / |S'| (Frobenius)."""
    schedule = linear(1000)
    place = torch.arange(SIDE)
    C = (CORRELATION ** (place[:, None] - place).abs()).double()
    prior = Correlated(schedule, C)
    x0 = torch.linalg.cholesky(C) @ torch.randn(SIDE, generator=torch.Generator().manual_seed(1)).double()
    known = torch.tensor([1.0, 1, 0, 0, 0, 1, 1, 0])
    problems: dict[str, tuple[LinearOperator, float]] = {
        "mask": (Mask(known), 0.0),
        "mask, noise 0.3": (Mask(known), 0.3),
        "mean of 4": (Downsample(4), 0.0),
        "blur of 1, noise 0.1": (Blur.gaussian(1.0), 0.1),
    }
    print("| | steps | " + " | ".join(problems) + " |\n|---|---|" + "---|" * len(problems))
    ways = [
        ("replace", 250),
        ("repaint 10 x 10", 250),
        ("ddnm", 250),
        ("pigdm", 250),
        ("dps x1", 250),
        ("dps x1", 1000),
    ]
    for way, steps in [("the prior itself", 100), *ways]:
        cells = []
        for operator, noise in problems.values():
            if way.startswith("rep") and (noise or not isinstance(operator, Mask)):
                cells.append("")
                continue
            y = operator.A(x0.reshape(1, 1, -1))
            mean, covariance = walked(way, prior, operator, noise, y, steps)
            A = operator.A(torch.eye(SIDE).double()[:, None]).flatten(1).T
            inner = torch.linalg.pinv(A @ C @ A.T + noise**2 * torch.eye(len(A)).double(), atol=1e-9, rtol=0)
            exact_mean, exact = C @ A.T @ inner @ y.flatten(), C - C @ A.T @ inner @ A @ C
            off = float((mean - exact_mean).norm() / exact_mean.norm())
            spread = float((covariance - exact).norm() / exact.norm())
            cells.append(f"{off:.2f}, {spread:.2f}")
        print(f"| {way} | {steps} | " + " | ".join(cells) + " |", flush=True)


def walked(
    way: str, prior: Denoiser, operator: LinearOperator, noise: float, y: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what a method draws, by DDPM, from its plain equations, without a last projection."""
    times, stream = make_timesteps(prior.schedule, steps), Noise(0, range(PICTURES))
    many = y.expand(PICTURES, *y.shape[1:]).float()
    seen = LinearMeasurement(operator, many, noise)
    x, path = start(prior, (1, SIDE), stream), times
    if isinstance(operator, Mask) and way.startswith("rep"):
        denoiser: Denoiser = ReplacementInpainting(prior, many, operator.known, x.clone())
        path = with_returns(times, 10, 10) if way.startswith("repaint") else times
        *_, end = resampled(denoiser, DDPM(), path, x, stream)
    else:
        denoiser = {
            "the prior itself": prior,
            "ddnm": DDNM(prior, seen),
            "pigdm": PiGDM(prior, seen),
            "dps x1": DPS(prior, seen, times),
        }[way]
        *_, end = trajectory(denoiser, DDPM(), path, x, stream)
    drawn = end[:, 0].double()
    return drawn.mean(0), drawn.T.cov()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--task", choices=(*TASKS, "posterior"))
    parser.add_argument("--only", default="", help="rows whose names hold one of these, with commas between them")
    typed = parser.parse_args()
    if typed.task in (None, "posterior"):
        posterior()
    if typed.task == "posterior":
        return
    if typed.run is None:
        parser.error("RUN is needed: a model of the built-in digits")
    model, bench = undiffuse.load(typed.run, device=DEVICE), make_bench(typed.n)
    for task, rows in TASKS.items():
        if typed.task in (None, task):
            print(f"\n{task}\n")
            report(rows(model), bench, typed.only.split(","))


if __name__ == "__main__":
    main()
