"""Digits described in words: the pictures are what the sentences say, and the answers are counted."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.quality import digits_in_words
from benchmarks.quality.digits_in_words import PLACES, ask, make, nearest_place, placed
from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.evaluation.features.extractor import Identity, Outputs


@dataclass(frozen=True)
class Labeled:
    info: object
    images: object
    labels: object


def test_the_pictures_are_what_the_sentences_say(bench, tmp_path):
    info = replace(bench.data.info, classes=tuple(map(str, range(10))))
    labels = np.arange(20) % 10
    make(tmp_path / "words", Labeled(info, np.full((20, 1, 28, 28), 200, np.uint8), labels))
    data = prepare(DataConfig(source=str(tmp_path / "words")), tmp_path / "cache", progress=False)
    assert data.labels.tolist() == labels.tolist()
    for text, image in zip(data.texts(), data.images, strict=True):
        (place,) = [name for name in PLACES if name in text]
        assert nearest_place(image[0]) == PLACES[place]
        assert image.max() == 200


def test_a_digit_keeps_its_ink_at_half_its_size():
    image = np.zeros((28, 28), np.uint8)
    image[4:8, 4:8] = 100
    assert placed(image, "right", 3).sum() == image.sum() / 4


class Seven:
    """Sees a seven in everything."""

    identity = Identity("seven", "", "")

    def __call__(self, images):
        logits = torch.zeros(len(images), 10)
        logits[:, 7] = 1
        return Outputs(torch.zeros(len(images), 1), logits=logits)


class Drawer:
    """Draws at the place that it is asked for."""

    def __init__(self, info):
        self.info = info

    def sample(self, n, seed, *, first, text, guidance):
        (place,) = [name for name in digits_in_words.PLACES if name in text]
        array = np.stack([placed(np.full((28, 28), 255, np.uint8), place, 0)[None]] * n)
        return type("Drawn", (), {"array": array})


def test_answers_are_counted(bench):
    answer = ask(Drawer(bench.data.info), Seven(), tuple(map(str, range(10))), 1.0, 2)
    assert (answer.digit, answer.place, answer.both) == (0.1, 1.0, 0.1)
