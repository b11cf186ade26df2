"""Training a classifier of noisy images on the process of a run: p(y | x_t, t).

    loss = -log p(y | alpha x0 + sigma eps, t),   t uniform, eps standard normal

(Dhariwal & Nichol 2021, section 4, https://arxiv.org/abs/2105.05233.) One image in ten is held out, and how many of
those it finds is told for four ranges of t: near data it should know nearly all, near noise it cannot know any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.checkpoints.training_checkpoint import Checkpoint, State, save
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.config.schema import CLASSIFIER, TrainConfig
from undiffuse.config.training import ClassifierConfig, EMAConfig, LoopConfig, ObjectiveConfig, OptimizerConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.crops import Crops
from undiffuse.data.order import batch_indices
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.losses.time_sampling import Stratified
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.noise_classifier import TrainedClassifier, build_classifier
from undiffuse.runtime.devices import choose_device
from undiffuse.runtime.durable_files import ELSEWHERE, replace_file
from undiffuse.runtime.random_streams import generator, stream_seed
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.training.batches import Data
from undiffuse.training.optim.optimizer import clip_gradient, learning_rate, make_optimizer, set_learning_rate

HELD_OUT = 10
"""One image in so many."""
EVALUATED = 2000
"""Most held-out images that are looked at, at each of the four ranges of t."""


@dataclass(frozen=True)
class Learned:
    """A classifier and how well it does on what it has not seen.

    Args:
        classifier: in evaluation mode.
        accuracy: share of right answers for t in the first to the last quarter of the process, data first.
        images: how many were looked at.
    """

    classifier: TrainedClassifier
    accuracy: tuple[float, ...]
    images: int


def classifier_settings(settings: ClassifierConfig, run: TrainConfig, data: DataConfig) -> TrainConfig:
    """Everything that the classifier is, in the terms of a run: its process and levels are the run's."""
    return TrainConfig(
        recipe=CLASSIFIER,
        data=data,
        network=override(
            run,
            architecture="unet",
            base=settings.base,
            blocks=1,
            attention_levels=(),
            middle_attention=True,
            dropout=0.1,
        ).network,
        diffusion=run.diffusion,
        conditions=ConditionConfig(),
        objective=ObjectiveConfig(),
        optimizer=OptimizerConfig(
            optimizer="adamw", lr=settings.lr, weight_decay=settings.weight_decay, warmup=100, decay="linear"
        ),
        ema=EMAConfig(ema=()),
        loop=LoopConfig(batch=settings.batch, steps=settings.steps, seed=settings.seed, device=settings.device),
    )


@in_one_sentence
@own_modes()
def train_noisy_classifier(
    config: TrainConfig, data: Data, on_step: Callable[[int, float], object] = lambda step, loss: None
) -> Learned:
    """Learn the classes of nine tenths of the data, at every noise level.

    Args:
        config: of `classifier_settings`.
        data: prepared, with labels.
        on_step: called after each step with its number from 1 and its loss.
    """
    labels, (learned, held_out) = data.labels, _split(data, config.loop.seed)
    assert labels is not None  # `_split` has looked
    loop, total = config.loop, config.loop.steps or 0
    if total < 1 or loop.batch < 1 or not config.optimizer.lr > 0:
        raise UndiffuseError(
            f"A classifier needs steps, batch and lr above 0, not {total}, {loop.batch} and {config.optimizer.lr:g}"
        )
    made = build_classifier(config, data.info)
    network = made.network.to(choose_device(loop.device)).train()
    optimizer = make_optimizer(config.optimizer, network)
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # dropout's stream
        for step in range(total):
            torch.manual_seed(stream_seed(loop.seed, "dropout", step))
            chosen = learned[batch_indices(len(learned), loop.batch, step, loop.seed)]
            t = Stratified().draw(made.schedule, loop.batch, generator(loop.seed, "time", step))
            x0 = _learned(data, chosen, generator(loop.seed, "crop", step))
            logits = made(*_noisy(made, x0, t, generator(loop.seed, "noise", step), device))
            loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]).to(device))
            network.zero_grad(set_to_none=True)
            loss.backward()
            clip_gradient(network.parameters(), config.optimizer.clip)
            set_learning_rate(optimizer, learning_rate(config.optimizer, step, total))
            optimizer.step()
            if not torch.isfinite(loss):
                raise UndiffuseError(f"the loss of step {step + 1} is not finite; start again with a lower `lr`")
            on_step(step + 1, loss.item())
    network.eval().requires_grad_(False)
    return Learned(made, _accuracy(made, data, held_out[:EVALUATED], device), len(held_out[:EVALUATED]))


def save_classifier(learned: Learned, folder: Path) -> Path:
    """Write it as ``folder/checkpoints/step-...`` with ``accuracy.json`` beside; return the checkpoint's folder."""
    made = learned.classifier
    total = made.config.loop.steps or 0
    state = State(step=total, total=total, images=total * made.config.loop.batch, seconds=0.0)
    place = save(
        Checkpoint(made.config, made.info, state, dict(made.network.state_dict()), averages={}, optimizer={}),
        folder / "checkpoints",
        advice="or give another place with `out`",
    )
    words = {"accuracy by quarters of t, from data to noise": learned.accuracy, "held-out images": learned.images}
    replace_file(folder / "accuracy.json", json.dumps(words, indent=1) + "\n", ELSEWHERE)
    return place


def _split(data: Data, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images that are learned, and those that are held out."""
    if data.labels is None or len(data.info.classes) < 2 or data.info.count < HELD_OUT:
        raise UndiffuseError(
            f"A classifier needs images of at least two classes, and '{data.info.name}' has {data.info.count} in "
            f"{len(data.info.classes)}: {data.info.to_have_classes}"
        )
    order = np.random.default_rng(stream_seed(seed, "held-out", data.info.fingerprint)).permutation(data.info.count)
    cut = data.info.count // HELD_OUT
    return np.sort(order[cut:]), order[:cut]


def _learned(data: Data, chosen: NDArray[np.int64], dice: torch.Generator) -> Tensor:
    """x0 of these images; parts at random of those that are larger than a sample."""
    if not isinstance(data.images, Crops):
        return codec_of(data.info).encode(data.images[chosen])
    where = torch.rand(len(chosen), 2, generator=dice, dtype=torch.float64)
    return codec_of(data.info).encode(data.images.at(chosen, where.numpy()))


def _noisy(
    made: TrainedClassifier,
    x0: Tensor,
    t: Float[Tensor, "batch"],
    dice: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    return q_sample(x0, torch.randn(x0.shape, generator=dice), made.schedule(t)).to(device), t


@torch.no_grad()
def _accuracy(
    made: TrainedClassifier, data: Data, held_out: NDArray[np.int64], device: torch.device
) -> tuple[float, ...]:
    assert data.labels is not None
    found, seed, size = [], made.config.loop.seed, made.config.loop.batch
    for quarter in range(4):
        right = 0
        for first in range(0, len(held_out), size):
            chosen = held_out[first : first + size]
            dice = generator(seed, "accuracy", quarter, first)
            u = (torch.rand(len(chosen), generator=dice, dtype=torch.float64) + quarter) / 4
            x0 = codec_of(data.info).encode(data.images[chosen])
            logits = made(*_noisy(made, x0, made.schedule.from_uniform(u), dice, device))
            right += int((logits.argmax(1).cpu() == torch.from_numpy(data.labels[chosen])).sum())
        found.append(right / len(held_out))
    return tuple(found)
