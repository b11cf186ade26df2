"""Makes the fixtures of the golden tests: files as users of this day hold them.

  OMP_NUM_THREADS=1 python tests/golden/make.py

What is in fixtures/ already is left as it is: a fixture is never changed, and a new one is a new row below. Files are
made by the command line alone, so that this script and the files' history survive every move of modules. One thread,
as in the tests. Trainings are tiny, and long enough for the networks' outputs to matter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from machine import machine
from numpy.typing import NDArray
from PIL import Image

from undiffuse.cli import main

FIXTURES = Path(__file__).with_name("fixtures")
SCRATCH = Path("scratch")
RUNS = SCRATCH / "made"

# --- data -------------------------------------------------------------------------------------------------------------

CLASSES = np.array(["cross", "square", "stripes, thin"])


def shapes(count: int, side: int, dice: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey pictures, (count, side, side), of crosses, squares and stripes; which, and how wide their lines are."""
    images = dice.integers(0, 50, (count, side, side), np.uint8)
    kinds, widths = np.arange(count) % 3, 1 + np.arange(count) // 3 % 2
    for image, kind, width in zip(images, kinds, widths, strict=True):
        top, left = dice.integers(0, side // 2, 2)
        if kind == 0:
            image[top : top + width] += 190
            image[:, left : left + width] |= 190
        elif kind == 1:
            image[top : top + side // 2, left : left + side // 2] += 170
        else:
            image[:, :: width + 1] += 150
    return images, np.stack([kinds, widths])


def write_data() -> None:
    """Data sets; those of the run that is resumed stay, the others are for making models."""
    dice = np.random.default_rng(0)
    images, (kinds, widths) = shapes(24, 8, dice)
    Path("data").mkdir(exist_ok=True)
    if not Path("data/shapes.npz").exists():
        np.savez_compressed("data/shapes.npz", x=images, y=CLASSES[kinds], width=widths)
    SCRATCH.mkdir()
    tints = dice.integers(120, 255, (24, 1, 1, 3))
    color = (images[..., None] * tints // 255).astype(np.uint8)
    alpha = np.where(images > 100, 255, 90).astype(np.uint8)[..., None]
    small = images.reshape(24, 4, 2, 4, 2).mean((2, 4)).round().astype(np.uint8)
    waves = np.sin(np.linspace(0, 6, 16) * (1 + widths[:, None])) * (1 + kinds[:, None])
    sources = {
        "colour": {"channels_last": color, "y": CLASSES[kinds]},
        "rgba": {"channels_last": np.concatenate([color, alpha], -1)},
        "small": {"x": small, "y": CLASSES[kinds]},
        "deep": {"x": images.astype(np.uint16) * 257},
        "negatives": {"x": 255 - images},
        "signals": {"x": waves.astype(np.float32)},
        "floats": {"channels_first": dice.normal(3, 2, (24, 2, 7, 9)).astype(np.float32)},
        "five": {"channels_first": np.repeat(images[:, None], 5, 1)},
        "volumes": {"channels_first": dice.normal(0, 1, (12, 1, 4, 4, 4)).astype(np.float32)},
        "photos32": {"channels_last": dice.integers(0, 255, (8, 32, 32, 3), np.uint8)},
        "photos256": {"channels_last": dice.integers(0, 255, (2, 256, 256, 3), np.uint8)},
    }
    for name, arrays in sources.items():
        np.savez_compressed(SCRATCH / f"{name}.npz", **arrays)
    write_pictures(images, color, small)


def write_pictures(images: NDArray[np.uint8], color: NDArray[np.uint8], small: NDArray[np.uint8]) -> None:
    """Pictures that edits are given."""
    Path("pictures").mkdir(exist_ok=True)
    hole = np.zeros((8, 8), np.uint8)
    hole[2:6, 3:7] = 255
    for name, pixels in {
        "square": images[1],
        "cross": images[3],
        "hole": hole,
        "small": small[1],
        "colour": color[1],
        "grey": images[4],
    }.items():
        if not (path := Path("pictures") / f"{name}.png").exists():
            Image.fromarray(pixels).save(path)


# --- models -----------------------------------------------------------------------------------------------------------

PLAIN = """--recipe small --base 4 --multipliers 1 --blocks 1 --attention-levels none --no-middle-attention --batch 4
--steps 40 --lr 0.01 --warmup 0 --decay constant --ema 0.9 --log-every 20 --sample-every 0 --checkpoint-every 0 --quiet
--device cpu"""
TWO = "--multipliers 1,1"

RUN = """--parameterization v --middle-attention --dropout 0.1 --flip --accumulate 2 --offset-noise 0.1 --warmup 4
--optimizer muon --decay cosine --ema-std 0.1 --ema-copies 2 --log-every 5 --sample-every 20 --sample-count 4
--checkpoint-every 20 --keep 2"""
"""The run that is resumed."""

CHECKPOINT = """--condition class --ema 0.9,0.99 --no-ema-warmup --parameterization epsilon --schedule linear
--optimizer adam --weighting p2 --p2-gamma 0.5 --weight-decay 0.01 --time-input scaled-index"""
"""The run of which a checkpoint stays."""

FILES = {
    "vectors": ("data/shapes.npz", "--vectors width --condition vector --parameterization flow --schedule sigmoid"),
    "pairs": ("data/shapes.npz", "--pairs scratch/negatives.npz --condition image --parameterization x0"),
    "everything": (
        "data/shapes.npz",
        f"{TWO} --vectors width --condition class,vector --scale-shift --resample residual --embedding adm --heads 2 "
        "--attention-levels 1 --norm-eps 1e-5 --time-width 6 --parameterization v --zero-terminal-snr "
        "--schedule scaled-linear",
    ),
    "patches": (
        "scratch/colour.npz",
        "--patch 2 --base 8 --center-input --downsample-padding both --norm-groups 2 --no-middle "
        "--clipped-error --schedule quadratic --time-input log-snr",
    ),
    "learned-variance": (
        "scratch/rgba.npz",
        "--learn-variance --loss hybrid --weighting uniform --parameterization epsilon --schedule cosine --timesteps "
        "100 --optimizer adam --time-law uniform",
    ),
    "deep": ("scratch/deep.npz", "--parameterization v --schedule vp"),
    "signals": ("scratch/signals.npz", "--parameterization edm --schedule vp --time-input log-sigma"),
    "floats": ("scratch/floats.npz", "--parameterization score --schedule sub-vp"),
    "five": ("scratch/five.npz", "--betas 0.1,0.2,0.3,0.4,0.5 --timesteps 5 --parameterization x0"),
    "volumes": (
        "scratch/volumes.npz",
        "--parameterization x0 --beta-start 0.001 --beta-end 0.03 --schedule linear",
    ),
    "rms-unet": (
        "data/shapes.npz",
        f"--architecture rms-unet {TWO} --blocks 2 --middle-attention --attention-levels 1 --heads 1 --head-width 4",
    ),
    "ddpm++": (
        "data/shapes.npz",
        f"--architecture ddpm++ {TWO} --middle-attention --attention-levels 1 --parameterization edm --schedule vp "
        "--time-input log-sigma",
    ),
    "ncsn++": (
        "data/shapes.npz",
        "--architecture ncsn++ --middle-attention --attention-levels none --condition class",
    ),
}
"""Models of which one file stays: data and settings."""

RECIPES = {
    "digits": "digits",
    "small": "data/shapes.npz",
    "ho2020-cifar10": "scratch/photos32.npz",
    "ho2020-celebahq256": "scratch/photos256.npz",
    "nichol2021-cifar10": "scratch/photos32.npz",
}
"""Recipes, and data that they take."""


def make_models() -> None:
    """The run, the checkpoint, the cascade, the classifier, a diffusers folder, and files."""
    run = Path("models/shapes")
    if not run.exists():
        train("data/shapes.npz", run, RUN)
        undiffuse("timesteps", run, "--evaluations", 3, "--limit", 4, "--candidates", 20, "--batch", 4)
        undiffuse("ema", run, "--std", "0.15")
        hide_the_machine(run / "env.json")
    if not (run / "classifier").exists():
        words = ["--steps", 40, "--batch", 8, "--base", 8, "--device", "cpu"]
        undiffuse("train-classifier", "data/shapes.npz", "--run", run, *words)
    if not (place := Path("models/classes")).exists():
        train("scratch/colour.npz", RUNS / "classes", CHECKPOINT)
        place.mkdir()
        shutil.copytree(RUNS / "classes/checkpoints/step-00000040", place / "step-00000040")
    if not Path("models/cascade").exists():
        train("scratch/small.npz", RUNS / "base", "--condition class")
        train("data/shapes.npz", RUNS / "up", "--upscale 2 --parameterization v")
        undiffuse("cascade", "make", RUNS / "base", RUNS / "up", "--name", "cascade", "--runs", "models")
    if not (place := Path("models/diffusers")).exists():
        more = "--condition class --for diffusers --schedule linear --parameterization epsilon"
        train("data/shapes.npz", RUNS / "diffusers", more)
        undiffuse("convert", RUNS / "diffusers", place, "--to", "diffusers")
    for name, (data, more) in FILES.items():
        if not (file := Path(f"models/{name}.safetensors")).exists():
            train(data, RUNS / name, more)
            undiffuse("convert", RUNS / name, file, "--to", "file")


def train(data: str, run: Path, more: str) -> None:
    """A run of the settings `PLAIN`, unless they are said otherwise."""
    undiffuse("train", data, "--runs", run.parent, "--name", run.name, *joined(PLAIN, more))
    (run / ".lock").unlink(missing_ok=True)


def joined(plain: str, more: str) -> list[str]:
    """Words of ``plain`` whose option is not in ``more``, and those of ``more``."""
    said = shlex.split(more)
    flags = {word.replace("--no-", "--") for word in said if word.startswith("-")}
    kept, keep = [], True
    for word in shlex.split(plain):
        if word.startswith("-"):
            keep = word.replace("--no-", "--") not in flags
        if keep:
            kept.append(word)
    return [*kept, *said]


def hide_the_machine(path: Path) -> None:
    """Leave out what a file says of the computer and is nobody's business."""
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, "platform": "Linux", "cpus": 2}, indent=2) + "\n", encoding="utf-8")


def make_recipes() -> None:
    """The config.yaml that each recipe writes; the training, which may be of days, is ended when it is there."""
    Path("recipes").mkdir(exist_ok=True)
    for name, data in RECIPES.items():
        if (target := Path(f"recipes/{name}.yaml")).exists():
            continue
        run = RUNS / f"recipe-{name}"
        words = ["train", data, "--recipe", name, "--runs", run.parent, "--name", run.name, "--device", "cpu"]
        command = [sys.executable, "-m", "undiffuse", *map(str, words)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while not (run / "env.json").exists():  # it is written after config.yaml and data.json
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.02)
            process.kill()
        shutil.copy(run / "config.yaml", target)
        shutil.rmtree(run)


# --- pictures ---------------------------------------------------------------------------------------------------------

CLASS = "models/classes/step-00000040"
HOW = "-n 1 --first 2 --seed 3 --steps 5"

OWN = {
    "ode": "--steps 2",
    "heun": "--steps 10 --spacing log-snr",
    "edm": "--steps 10 --spacing log-snr --churn 10",
    "plms": "--steps 10 --spacing log-snr",
}
"""Options of samplers that take another walk: a black picture would tell nothing."""

DRAWN = {
    # Settings, each beside the default sampler or the one that it is of.
    "settings/eta": ("models/shapes", "--sampler ddim --eta 0.7"),
    "settings/variance-large": ("models/shapes", "--sampler ddpm --variance large"),
    "settings/variance-learned": ("models/learned-variance.safetensors", "--sampler ddpm --variance learned"),
    "settings/churn": ("models/shapes", "--sampler edm --churn 4 --spacing karras --steps 10"),
    "settings/tolerance": ("models/shapes", "--sampler ode --tolerance 1e-3 --steps 2"),
    **{
        f"settings/spacing-{name}": ("models/shapes", f"--spacing {name} --sampler dpm++2m")
        for name in ("leading", "trailing", "linspace", "quadratic", "log-snr", "karras")
    },
    "settings/spacing-learned": ("models/shapes", "--spacing learned --steps 3 --sampler ddim"),
    "settings/times": ("models/shapes", "--times 990,700.5,300,40"),
    **{f"settings/threshold-{name}": ("models/shapes", f"--threshold {name}") for name in ("none", "clip", "dynamic")},
    "settings/micro-batch": ("models/shapes", "--micro-batch 3"),
    "settings/weights-raw": ("models/shapes", "--weights raw"),
    "settings/earlier": ("models/shapes/checkpoints/step-00000020", ""),
    "settings/average": ("models/shapes/averages/std-0.15.safetensors", ""),
    "settings/weak": ("models/shapes", "--weak models/shapes/checkpoints/step-00000020 --guidance 2"),
    "settings/classifier": ("models/shapes", "--classifier models/shapes/classifier --class square --guidance 3"),
    # Classes.
    "classes/all": (CLASS, ""),
    "classes/one": (CLASS, "--class square"),
    "classes/comma": (CLASS, "--class 'stripes, thin' --weights 0.99"),
    "classes/turns": (CLASS, "--class 'cross,square' --weights raw"),
    "classes/none": (CLASS, "--class none"),
    "classes/guided": (CLASS, "--class square --guidance 3"),
    "classes/avoided": (CLASS, "--class square --guidance 3 --avoid cross"),
    "classes/rescaled": (CLASS, "--class cross --guidance 4 --guidance-rescale 0.7"),
    "classes/interval": (CLASS, "--class cross --guidance 4 --guidance-interval 0.3,5"),
    "classes/guided-unipc": (CLASS, "--class cross --guidance 2 --sampler unipc3 --threshold dynamic"),
    # Other conditions, and cascades.
    "conditions/vector": ("models/vectors.safetensors", "--vector 2 --guidance 2"),
    "conditions/no-vector": ("models/vectors.safetensors", ""),
    "conditions/image": ("models/pairs.safetensors", "--image pictures/square.png"),
    "conditions/image-guided": ("models/pairs.safetensors", "--image pictures/square.png --guidance 2"),
    "conditions/everything": ("models/everything.safetensors", "--class square --vector 1 --guidance 1.5"),
    "conditions/cascade": ("models/cascade", ""),
    "conditions/cascade-guided": ("models/cascade", "--class square --guidance 2 --augmentation 0.3 --steps 3"),
    # Kinds of data, and of networks.
    "kinds/rgb": ("models/patches.safetensors", ""),
    "kinds/rgba": ("models/learned-variance.safetensors", ""),
    "kinds/grey-16": ("models/deep.safetensors", ""),
    "kinds/rms-unet": ("models/rms-unet.safetensors", ""),
    "kinds/ddpm++": ("models/ddpm++.safetensors", "--sampler edm"),
    "kinds/ncsn++": ("models/ncsn++.safetensors", "--class cross --guidance 2"),
    "kinds/diffusers": ("models/diffusers", "--class square --guidance 2"),
    "kinds/signal": ("models/signals.safetensors", "--sampler heun"),
    "kinds/volume": ("models/volumes.safetensors", ""),
    "kinds/floats": ("models/floats.safetensors", ""),
    "kinds/five-channels": ("models/five.safetensors", "--steps 5"),
    # The model that comes with the package; a checkpoint of the name that everybody has.
    "kinds/digits": ("digits", "--class seven --guidance 1.5 --steps 3"),
}
"""Pictures: model and options."""

GRIDS = {
    "grids/grey": ("models/shapes", "-n 5 --first 0"),
    "grids/classes": (CLASS, "-n 4 --guidance 2"),
    "grids/grey-16": ("models/deep.safetensors", "-n 2"),
    "grids/rgba": ("models/learned-variance.safetensors", "-n 3"),
    "grids/across-micro-batches": ("models/shapes", "-n 20 --first 10 --steps 2 --micro-batch 8"),
}
VALUES = {
    "values/grey": ("models/shapes", "-n 3"),
    "values/classes": (CLASS, "-n 3 --class 'cross,square' --guidance 2 --avoid 'stripes, thin'"),
    "values/grey-16": ("models/deep.safetensors", "-n 2"),
    "values/signals": ("models/signals.safetensors", "-n 3 --sampler heun"),
    "values/floats": ("models/floats.safetensors", "-n 3"),
    "values/volumes-unclipped": ("models/volumes.safetensors", "-n 2 --threshold none --sampler pc"),
    "values/volumes": ("models/volumes.safetensors", "-n 2"),
    "values/five-channels": ("models/five.safetensors", "-n 2 --steps 5"),
}
"""Values of samples, samples.npz."""

FEW = "--steps 5 --device cpu"
EDITS = {
    "inpaint-replace": ("inpaint models/shapes pictures/square.png", "--mask pictures/hole.png --method replace"),
    "inpaint-repaint": (
        "inpaint models/shapes pictures/square.png",
        "--mask pictures/hole.png --method repaint --jump 2 --passes 2",
    ),
    "inpaint-ddnm": ("inpaint models/shapes pictures/square.png", "--mask pictures/hole.png --method ddnm -n 2"),
    "inpaint-pigdm": ("inpaint models/shapes pictures/square.png", "--mask pictures/hole.png --method pigdm"),
    "inpaint-dps": ("inpaint models/shapes pictures/square.png", "--mask pictures/hole.png --method dps --scale 2"),
    "inpaint-class": (
        f"inpaint {CLASS} pictures/colour.png",
        "--mask pictures/hole.png --method dps --class square --guidance 2",
    ),
    "outpaint": ("outpaint models/shapes pictures/square.png", "--right 4 --top 2 --method ddnm --overlap 2"),
    "outpaint-repaint": (
        "outpaint models/shapes pictures/square.png",
        "--left 3 --method repaint --jump 2 --passes 2 --overlap none",
    ),
    "upscale": ("upscale models/shapes pictures/small.png", "--factor 2"),
    "upscale-larger": ("upscale models/shapes pictures/square.png", "--factor 2 --method ddnm --sampler ddim"),
    "upscale-stage": ("upscale models/cascade/1-up.safetensors pictures/small.png", "--augmentation 0.2"),
    "colorize": (f"colorize {CLASS} pictures/grey.png", "-n 2"),
    "colorize-dps": (f"colorize {CLASS} pictures/grey.png", "--method dps --class cross"),
    "deblur": ("deblur models/shapes pictures/square.png", "--std 1.2"),
    "deblur-noise": ("deblur models/shapes pictures/square.png", "--std 0.8 --noise 4 --method ddnm"),
    "denoise": ("denoise models/shapes pictures/square.png", ""),
    "denoise-mean": ("denoise models/shapes pictures/square.png", "--noise 25 --steps 1"),
    "vary": ("vary models/shapes pictures/square.png", "-n 2 --strength 0.6 --seed 5"),
    "vary-class": (f"vary {CLASS} pictures/colour.png", "--strength 0.9 --class cross --guidance 2"),
    "translate": (f"translate {CLASS} pictures/colour.png", "--from square --to cross"),
    "translate-exact": (f"translate {CLASS} pictures/colour.png", "--to cross --strength 0.8 --exact --iterations 4"),
    "interpolate": ("interpolate models/shapes pictures/square.png pictures/cross.png", "--frames 3"),
    "interpolate-shared": (
        "interpolate models/shapes pictures/square.png pictures/cross.png",
        "--frames 3 --way shared --strength 0.4",
    ),
    "invert": ("invert models/shapes pictures/square.png", ""),
    "invert-exact": ("invert models/shapes pictures/square.png", "--exact --iterations 6 --within 1e-3"),
}
"""Edits: command and options."""
STRIPS = ("inpaint-dps", "colorize", "vary", "interpolate", "invert", "translate")
"""Those whose strip stays, too."""


def make_pictures() -> None:
    """Samples by each sampler and by each setting, grids and values."""
    for sampler in samplers():
        own = OWN.get(sampler, "")
        sample(f"samplers/{sampler}.png", "00002.png", "models/shapes", f"--sampler {sampler} {own}")
    for name, (model, more) in DRAWN.items():
        sample(f"{name}.png", "00002.png", model, more)
    for name, (model, more) in GRIDS.items():
        sample(f"{name}.png", "grid.png", model, more)
    for name, (model, more) in VALUES.items():
        sample(f"{name}.npz", "samples.npz", model, f"{more} --npz")


def samplers() -> list[str]:
    """The names of all of them, as the command tells them."""
    rows = undiffuse("samplers").partition("\n\n")[0].splitlines()[1:]
    return [row.split()[0] for row in rows]


def sample(name: str, file: str, model: str, more: str) -> None:
    """One file of what is drawn."""
    target = Path("drawn") / name
    if target.exists():
        return
    out = SCRATCH / "out"
    undiffuse("sample", model, "--out", out, *joined(HOW, more), "--device", "cpu")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(out / file, target)
    shutil.rmtree(out)


def make_edits() -> None:
    """All files that an edit writes."""
    for name, (command, more) in EDITS.items():
        if not (out := Path("edits") / name).exists():
            words = shlex.split(command)
            strips = [] if name in STRIPS else ["--no-strips"]
            undiffuse("edit", *words, *joined(FEW, more), *strips, "--out", out)


def make_strips() -> None:
    """Film strips of the two animations that are about pictures."""
    Path("strips").mkdir(exist_ok=True)
    commands = {
        "forward": "forward pictures/square.png --schedule cosine --seed 2",
        "reverse": "reverse models/shapes -n 2 --steps 6 --seed 3 --device cpu",
    }
    for name, words in commands.items():
        if not (target := Path(f"strips/{name}.png")).exists():
            undiffuse("animate", *shlex.split(words), "--frames", 4, "--out", SCRATCH / f"{name}.gif")
            shutil.move(SCRATCH / f"{name}.png", target)
            Path(f"strips/{name}.txt").write_text(f"animate {words} --frames 4\n", encoding="utf-8")


# --- what is told of them ---------------------------------------------------------------------------------------------

TOLD = (
    "models/shapes",
    "models/shapes/checkpoints/step-00000020",
    CLASS,
    "models/cascade",
    "models/diffusers",
    *(f"models/{name}.safetensors" for name in ("everything", "pairs", "patches", "signals", "rms-unet", "five")),
    "drawn/samplers/ddpm.png",
    "drawn/classes/avoided.png",
    "drawn/conditions/image.png",
    "drawn/conditions/cascade-guided.png",
    "drawn/kinds/signal.png",
    "drawn/settings/weak.png",
    "drawn/settings/classifier.png",
    "drawn/settings/spacing-learned.png",
    "drawn/grids/grey.png",
    "drawn/values/signals.npz",
    "drawn/values/classes.npz",
    "edits/inpaint-repaint/square.png",
    "edits/interpolate/square-cross-1.png",
    "edits/translate/colour.png",
)


def make_told() -> None:
    """What `undiffuse info` prints."""
    for path in TOLD:
        if not (target := Path(f"told/{path}.txt")).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(undiffuse("info", path), encoding="utf-8")


def write_sums() -> None:
    """sha256 of every fixture, by which a changed one is noticed."""
    files = sorted(path for path in Path().rglob("*") if path.is_file() and path.name != "sha256.json")
    sums = {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    Path("sha256.json").write_text(json.dumps(sums, indent=0) + "\n", encoding="utf-8")


# --- all of it --------------------------------------------------------------------------------------------------------


def undiffuse(*words: object) -> str:
    """A command, in this process; what it prints."""
    said = StringIO()
    with redirect_stdout(said):
        status = main([str(word) for word in words])
    assert status == 0, (words, said.getvalue())
    return said.getvalue()


@contextmanager
def in_fixtures() -> Iterator[None]:
    """All paths are relative to the fixtures, so that what is written of them is true on every machine."""
    FIXTURES.mkdir(exist_ok=True)
    os.chdir(FIXTURES)
    os.environ["UNDIFFUSE_CACHE"] = str((SCRATCH / "cache").absolute())
    shutil.rmtree(SCRATCH, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def check_machine() -> None:
    """Bits of one machine alone: fixtures made elsewhere would be compared to the byte with those made here."""
    path = Path("machine.json")
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        assert there == machine(), f"these fixtures are of {there}, and here is {machine()}"
    else:
        path.write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with in_fixtures():
        check_machine()
        write_data()
        make_models()
        make_recipes()
        make_pictures()
        make_edits()
        make_strips()
        make_told()
    os.chdir(FIXTURES)
    write_sums()
