"""Seconds and peak memory of commands at their default sizes, with the shipped digits.

    python -m benchmarks.speed.commands
    python -m benchmarks.speed.commands --only sample edit

Each is a process of its own, from the shell's prompt to its return: seconds of the wall's clock, those of all its cores
together, and the most memory that it held at a time, as the system counted it. Trainings are of half a minute: their
memory is that of a training of any length. Writes benchmarks/results/commands.json after each; some 15 minutes on
two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parents[1] / "results"
COMMANDS: Mapping[str, str] = {
    "sample": "sample digits -n 16 --out pictures",
    "sample-fast": "sample digits-fast -n 16 --out fast",
    "sample-many": "sample digits -n 1000 --out many",
    "edit": "edit inpaint digits photo.png --mask mask.png --out filled",
    "likelihood": "likelihood digits digits --limit 64",
    "train-digits": "train digits --minutes 0.5 --name demo",
    "train-small-64": "train photos --minutes 0.5 --name photos",
    "fine-tune": "train digits --from digits --condition class --lora-rank 8 --minutes 0.5 --name tuned",
    "evaluate": "evaluate digits --reference digits -n 1000 --extractor pixels --out report.json",
}
"""By name, arguments of undiffuse in a folder with a picture, its mask and a folder of 200 photographs of 64 x 64."""
LIMIT = 4.0
"""GB that a training or a sampling may take."""


def prepare(folder: Path) -> None:
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 256, (28, 28), np.uint8)).save(folder / "photo.png")
    mask = np.zeros((28, 28), np.uint8)
    mask[8:20, 8:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "photos").mkdir()
    for number in range(200):
        noise = dice.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).save(folder / "photos" / f"{number}.png")


def measure(command: str, folder: Path) -> dict[str, float | str]:
    """Run a command, and what it took.

    Raises:
        RuntimeError: it failed.
    """
    before = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "undiffuse", *command.split()],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"undiffuse {command} failed: {said[-500:]}")
    return {
        "command": f"undiffuse {command}",
        "seconds": round(time.perf_counter() - before, 1),
        "core_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(COMMANDS), default=list(COMMANDS))
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for command in args.only:
            rows.append(measure(COMMANDS[command], Path(name)))
            (RESULTS / "commands.json").write_text(json.dumps(rows, indent=1))
            row = rows[-1]
            over = "" if float(row["peak_gb"]) < LIMIT else f"   over {LIMIT:g} GB"
            print(
                f"| `{row['command']}` | {row['seconds']} | {row['core_seconds']} | {row['peak_gb']}{over} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
