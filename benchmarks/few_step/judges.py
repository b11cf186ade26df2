"""The judges of few evaluations: of digits, that of lib/judge.py; of other labelled data, the data's own classifier.

That of MNIST's digits is kept beside this file in half precision, so that whoever adds a row has the judge of the
others; ``python -m benchmarks.few_step.judges`` trains another in its place. Any other judge is trained where its
folder has none, and read from there ever after.
"""

from __future__ import annotations

import copy
import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.few_step.judging import SavedJudge
from benchmarks.lib.feature_judge import some
from benchmarks.lib.judge import Bench, Judge, look, make_bench, mnist_folder
from undiffuse.data.codec import codec_of
from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.classifier import ClassifierExtractor, load_classifier
from undiffuse.evaluation.features.extract import BATCH, extract
from undiffuse.runtime.durable_files import write_durably
from undiffuse.runtime.safe_tensors import check_tensors, from_bytes, to_bytes

HALF = 5000
"""Images of the reference, as many held out at most, and as many of those that models learned."""
MNIST_JUDGE = Path(__file__).with_name("judge.safetensors")
SHORT = 12
"""Digits of a fingerprint in a judge's name."""


def digit_judge(folder: Path, n: int = HALF) -> SavedJudge:
    """The judge of digits; the reference are the 5,000 built-in digits, which models learn.

    Args:
        folder: for a judge of the built-in digits, ``judge.safetensors``, where there is no MNIST.
        n: digits that are held out.

    Raises:
        UndiffuseError: the file holds something else.
    """
    path = MNIST_JUDGE if mnist_folder() else folder / "judge.safetensors"
    if not path.exists():
        write_judge(make_bench(n).judge, path)
    return judge_of(make_bench(n, read_judge(path)), hashlib.sha256(path.read_bytes()).hexdigest())


def judge_of(bench: Bench, sha256: str) -> SavedJudge:
    """The judge of a bench, whose file has this sha256."""
    digits, held_out = bench.reference.images, bench.held_out
    return SavedJudge(
        look=partial(look, bench.judge),
        classes=tuple("0123456789"),
        reference=digits,
        learned=digits,
        held_out=held_out.images,
        held_out_labels=held_out.labels,
        name=bench.name,
        sha256=sha256,
        floor="held-out digits",
    )


def read_judge(path: Path) -> Judge:
    """The judge of digits that a file holds."""
    judge = Judge().half()
    tensors = from_bytes(path.read_bytes(), path)
    check_tensors(tensors, judge.state_dict(), str(path))
    judge.load_state_dict(tensors)
    return judge.float().eval()


def write_judge(judge: Judge, path: Path) -> None:
    """Write a judge of digits in half precision, which halves the file and changes no figure that is quoted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, to_bytes(copy.deepcopy(judge).half().state_dict()))


def labelled_judge(folder: Path, data: Dataset, others: Dataset, n: int = HALF) -> SavedJudge:
    """The judge of labelled data: undiffuse's extractor 'classifier', in ``classifiers/``.

    The classifier learns the data. The first half of a fixed permutation of other images, 5,000 at most, is the
    reference, and the second half is held out, so that the reference is as new to judge and models as the held-out
    images are.

    Args:
        n: images that are held out at most.

    Raises:
        UndiffuseError: there are no labels, or the others are of another kind or the very same.
    """
    kinds = [(info.shape, info.dtype, info.classes) for info in (data.info, others.info)]
    if kinds[0] != kinds[1]:
        raise UndiffuseError(
            f"Held-out images are of the same shape, type and classes as the data: {others.info.name} has {kinds[1]}, "
            f"and {data.info.name} {kinds[0]}"
        )
    if data.info.fingerprint == others.info.fingerprint:
        raise UndiffuseError(f"{others.info.name} has the very images that are learned: hold others out")
    classifier = load_classifier(data, cache=folder, progress=True)
    chosen = some(len(others), 2 * HALF)
    half = len(chosen) // 2
    reference, held_out = np.sort(chosen[:half]), np.sort(chosen[half : half + min(n, half)])
    assert others.labels is not None, "their classes are those of the data, which have some"

    def images(of: Dataset, rows: NDArray[np.int64]) -> Tensor:
        return codec_of(data.info).encode(of.images[rows])

    judge = SavedJudge(
        look=partial(_classify, classifier),
        classes=data.info.classes,
        reference=images(others, reference),
        learned=images(data, np.sort(some(len(data), HALF))),
        held_out=images(others, held_out),
        held_out_labels=torch.from_numpy(others.labels[held_out]),
        name=(
            f"classifier of {len(data):,} images ({data.info.fingerprint[:SHORT]}), right on "
            f"{classifier.accuracy:.2%} of {classifier.held_out:,} of them left out; reference: {half:,} of "
            f"{len(others):,} others ({others.info.fingerprint[:SHORT]}), the first by PCG64(0), the next held out"
        ),
        sha256=classifier.sha256,
    )
    print(f"judge: {judge.name}", flush=True)
    return judge


def _classify(classifier: ClassifierExtractor, images: Tensor) -> tuple[Tensor, Tensor]:
    found = extract(classifier, ((part + 1) / 2 for part in images.split(BATCH)), len(images))
    assert found.logits is not None, "a classifier's classes"
    return found.features.double(), found.logits.softmax(-1)


if __name__ == "__main__":
    write_judge(make_bench(HALF).judge, MNIST_JUDGE)
