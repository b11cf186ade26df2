"""Does a text model draw what it was asked for? Small digits, placed and described in words.

    python -m benchmarks.quality.digits_in_words make words/
    undiffuse train words/ --condition text --minutes 20 --name words
    python -m benchmarks.quality.digits_in_words ask runs/words words/ --guidance 1 2 4

`make` shrinks the built-in digits to 14 x 14 and puts each on the left, in the middle or on the right of 28 x 28, with
a sentence in one of several phrasings in metadata.csv. `ask` draws every digit at every place, in a phrasing that was
never learned. The digit is found by the extractor 'classifier', trained on these pictures; the place by the nearest
centre of mass.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import undiffuse
from undiffuse.conditioning.class_names import DIGITS
from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.evaluation.features.classifier import load_classifier
from undiffuse.evaluation.features.extract import batches, extract
from undiffuse.evaluation.features.extractor import Extractor
from undiffuse.model import Model

PLACES = {"left": 0, "middle": 7, "right": 14}
PHRASINGS = (
    "a {digit} on the {place}",
    "the digit {number}, {place}",
    "{number} at the {place}",
    "on the {place} there is a {digit}",
    "handwritten {digit} in the {place} of the picture",
)
NEW = "a small {digit} at the {place}"
"""Asked for, never learned."""


def sentence(phrasing: str, digit: int, place: str) -> str:
    return phrasing.format(digit=DIGITS[digit], number=digit, place=place)


def placed(image: NDArray[np.uint8], place: str, down: int) -> NDArray[np.uint8]:
    """A digit of 28 x 28 at half its size: the mean of 2 x 2 pixels."""
    small = image.reshape(14, 2, 14, 2).mean((1, 3)).round().astype(np.uint8)
    canvas = np.zeros((28, 28), np.uint8)
    canvas[down : down + 14, PLACES[place] : PLACES[place] + 14] = small
    return canvas


def make(folder: Path, data: Dataset, seed: int = 0) -> None:
    """Write the pictures and metadata.csv; where a digit stands and how it is put is a function of the seed."""
    assert data.labels is not None
    dice = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file_name", "class", "text"))
        for k, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            place, phrasing = dice.choice(list(PLACES)), dice.choice(PHRASINGS)
            picture = placed(image[0], place, int(dice.integers(15)))
            Image.fromarray(picture).save(folder / f"{k:05d}.png")
            digit = int(data.info.classes[label])
            rows.writerow((f"{k:05d}.png", digit, sentence(phrasing, digit, place)))


@dataclass(frozen=True)
class Answer:
    """Shares of pictures that show the digit, the place, and both."""

    digit: float
    place: float
    both: float


def ask(model: Model, judge: Extractor, classes: tuple[str, ...], guidance: float, each: int, seed: int = 0) -> Answer:
    """Every digit at every place, ``each`` times."""
    right = []
    for digit in range(10):
        for place, left in PLACES.items():
            text = sentence(NEW, digit, place)
            drawn = model.sample(each, seed, first=each * len(right), text=text, guidance=guidance).array
            logits = extract(judge, batches(drawn, model.info), each).logits
            assert logits is not None
            found = [classes[k] == str(digit) for k in logits.argmax(1).tolist()]
            right.append([found, [nearest_place(image[0]) == left for image in drawn]])
    marks = np.array(right)
    return Answer(float(marks[:, 0].mean()), float(marks[:, 1].mean()), float(marks.all(1).mean()))


def nearest_place(image: NDArray[np.uint8]) -> int:
    """The place whose middle column is nearest to the ink's."""
    ink = image.astype(float).sum(0)
    center = (ink * np.arange(28)).sum() / max(ink.sum(), 1.0)
    return min(PLACES.values(), key=lambda left: abs(left + 6.5 - center))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    asking = commands.add_parser("ask")
    asking.add_argument("run", type=Path)
    asking.add_argument("folder", type=Path)
    asking.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    asking.add_argument("--each", type=int, default=16, help="pictures of each digit at each place (default 16)")
    args = parser.parse_args()
    if args.command == "make":
        make(args.folder, prepare(DataConfig()))
        return
    model, data = undiffuse.load(args.run), prepare(DataConfig(source=str(args.folder)))
    judge = load_classifier(data)
    print(f"judge: accuracy {judge.accuracy:.1%} on {judge.held_out} held-out images")
    print("| guidance | digit | place | both |\n|---|---|---|---|")
    for guidance in args.guidance:
        answer = ask(model, judge, data.info.classes, guidance, args.each)
        print(f"| {guidance:g} | {answer.digit:.1%} | {answer.place:.1%} | {answer.both:.1%} |", flush=True)


if __name__ == "__main__":
    main()
