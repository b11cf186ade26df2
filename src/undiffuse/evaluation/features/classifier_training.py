"""Training the extractor 'classifier' on a part of a labelled data set, deterministically, in about a minute.

Notable choices:

* A fifth of the images is held out, and its accuracy is reported: an extractor that cannot tell the classes apart says
  so. Features of learned images are tighter than those of unseen ones, which flatters the real data's floor. Turning,
  scaling and shifting each image anew, dropout and few epochs keep that small; docs/measure/evaluation.md has the
  measurement.
* Images are looked at 160,000 times in all, at most 40 times each, whatever the size of the data.
* AdamW under a one-cycle learning rate (Smith & Topin 2017, https://arxiv.org/abs/1708.07120).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format
from tqdm import tqdm

from undiffuse.data.dataset import Dataset
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.classifier_network import LIMITS, SmallClassifier
from undiffuse.evaluation.features.extract import unit_range
from undiffuse.evaluation.features.pixels import area_average
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import own_modes

VERSION = "v1"
"""Part of a stored classifier's name: raise it when the same data and seed would give other weights."""

LOOKS = 160_000
EPOCHS = 40
BATCH = 128
LR = 4e-3
HELD_OUT = 5
"""One image in so many is held out."""
LEAST = 10
"""Images a class, on average."""


@dataclass(frozen=True, eq=False)
class TrainedFeatures:
    """A network in evaluation mode, and its accuracy on images that it has not seen."""

    network: SmallClassifier
    accuracy: float
    """Share of right labels among the held-out images."""
    held_out: int
    """Number of held-out images."""


@own_modes()
def train_classifier(reference: Dataset, seed: int = 0, progress: bool = False) -> TrainedFeatures:
    """Learn the labels of four fifths of a data set; the seed is that of all randomness."""
    labels = labels_of(reference)
    info = reference.info
    own = stream_seed(seed, "classifier", info.fingerprint)
    dice = np.random.default_rng(own)
    order = dice.permutation(len(labels))
    cut = len(order) // HELD_OUT
    held_out, learned = np.sort(order[:cut]), order[cut:]
    batch = min(BATCH, len(learned))
    steps = min(LOOKS, EPOCHS * len(learned)) // batch
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from torch's global stream
        torch.manual_seed(own)
        network = SmallClassifier(info.shape, len(info.classes))
        convert_conv2d_weight_memory_format(network, torch.channels_last)  # a fifth quicker
        optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
        for chosen in tqdm(
            _orders(dice, learned, batch, steps), "classifier", steps, unit="step", disable=hidden(progress)
        ):
            logits = network(jitter(_images(reference, chosen)))[1]
            loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return TrainedFeatures(network, _accuracy(network, reference, labels, held_out), len(held_out))


def jitter(images: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch channels *spatial"]:
    """Turn each image by up to 10 degrees, scale it by up to 10 % and shift it by up to 7 % of its sides.

    A volume turns about its first axis, a series not at all. Beyond the border stands the border's value. Draws from
    torch's global stream.
    """
    if images.ndim == 3:
        return jitter(images[:, :, None])[:, :, 0]
    n, dims = len(images), images.ndim - 2
    turns = images.shape[2] > 1  # a series has come in as an image of height 1
    angle = (torch.rand(n) - 0.5) * (math.pi / 9) * turns
    matrix = torch.eye(dims).repeat(n, 1, 1)
    matrix[:, :2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    matrix = matrix * (1 + (torch.rand(n, 1, 1) - 0.5) * 0.2)
    shift = (torch.rand(n, dims, 1) - 0.5) * 0.28  # sides have the length 2
    grid = F.affine_grid(torch.cat([matrix, shift], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def why_not(reference: Dataset) -> str | None:
    """The reason why no classifier can be trained on these data, 'expected ..., got ...'; None if one can."""
    info = reference.info
    if len(info.spatial) not in LIMITS:
        return f"expected data of 1, 2 or 3 spatial dimensions, got {len(info.spatial)} in '{info.name}'"
    if reference.labels is None:
        return f"expected labels to train a classifier on, got none with '{info.name}' ({info.to_have_classes})"
    if len(info.classes) < 2 or info.count < LEAST * len(info.classes):
        return (
            f"expected at least two classes with {LEAST} images each to train a classifier on, "
            f"got {info.count} images in {len(info.classes)} with '{info.name}'"
        )
    return None


def labels_of(reference: Dataset) -> NDArray[np.int64]:
    """The labels to learn, unless `why_not`."""
    reason = why_not(reference)
    if reason is not None or reference.labels is None:
        raise UndiffuseError(f"{reason}; try `extractor=efficientnet`, or pixels")
    return reference.labels


def _orders(
    dice: np.random.Generator, learned: NDArray[np.int64], batch: int, steps: int
) -> Iterator[NDArray[np.int64]]:
    """``steps`` batches, every epoch in a new order; what does not fill a batch waits for another epoch's order."""
    per_epoch = len(learned) // batch
    order = learned
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = dice.permutation(learned)
        yield order[position * batch : (position + 1) * batch]


def _images(reference: Dataset, indices: NDArray[np.int64]) -> Tensor:
    return area_average(unit_range(reference.images[indices], reference.info), LIMITS)


def _accuracy(
    network: SmallClassifier, reference: Dataset, labels: NDArray[np.int64], indices: NDArray[np.int64]
) -> float:
    right = 0
    with torch.no_grad():
        for part in np.array_split(indices, -(-len(indices) // BATCH)):
            found = network(_images(reference, part))[1].argmax(-1).numpy()
            right += int((found == labels[part]).sum())
    return right / len(indices)
