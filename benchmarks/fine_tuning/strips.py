"""The picture of docs/use/fine-tuning.md: what was learned, and what two runs of few_pictures.py draw.

    python -m benchmarks.fine_tuning.strips RUN_OF_WEIGHTS RUN_OF_LORA_AND_PRIOR --out docs/pictures/few-pictures.png

Rows from the top: some of the twenty, the new class by the first run, by the second, and the old classes by the second.
Nothing is chosen: they are the first samples of seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fine_tuning.few_pictures import CLASS, CLASSES, FEW, NEW
from benchmarks.lib.judge import load_npz, mnist_folder
from undiffuse.model import load_model

COLUMNS, GAP = 20, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, metavar="RUN", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folder = mnist_folder()
    if folder is None:
        parser.error("UNDIFFUSE_TEST_DATA names the folder of mnist-train.npz")
    digits = load_npz(folder / "mnist-train.npz")
    few = (1 - digits.images[digits.labels == CLASS][:FEW, 0].numpy()) * 127.5
    first, second = (load_model(run) for run in args.runs)
    rows = [few] + [model.sample(COLUMNS, 0, classes=(NEW,)).array[:, 0] for model in (first, second)]
    rows.append(second.sample(COLUMNS, 0, classes=CLASSES).array[:, 0])
    side = few.shape[-1] + GAP
    sheet = np.full((len(rows) * side - GAP, COLUMNS * side - GAP), 128, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row[:COLUMNS]):
            sheet[y * side : (y + 1) * side - GAP, x * side : (x + 1) * side - GAP] = image.round()
    Image.fromarray(sheet).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
