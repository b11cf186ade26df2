"""Settings of a training: where it starts, its loss, its optimiser, its averages, its loop; and of a classifier's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from undiffuse.config.kinds import Registered
from undiffuse.config.network import PrecisionName


@dataclass(frozen=True)
class StartConfig:
    """The origin of the weights, if that is not chance."""

    start_from: str = ""
    """A run, a checkpoint or a model's file to train on from: its network, what it predicts and its weights."""
    start_weights: str = "ema"
    """'ema' (its first average), 'raw', or a rate such as '0.999'."""
    start_sha256: str = ""
    """sha256 of those weights; filled in."""
    prior: int = 0
    """Samples of that model to learn beside the new data, half of each batch, so that it keeps what it knew; with
    classes, what is new becomes one of them (Ruiz et al. 2023)."""


@dataclass(frozen=True)
class LoRAConfig:
    """Adapters of low rank, which learn in place of the weights that a training starts from (Hu et al. 2021)."""

    lora_rank: int = 0
    """Rank of what is learned of each weight, such as 8; 0 trains the weights themselves."""
    lora_layers: tuple[str, ...] = ()
    """Parts of the names of the layers that learn, such as attention; all of them without any."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss (Ho et al. 2020, eq. 14, and what came after it)."""

    loss: Annotated[str, Registered("loss", ("simple", "hybrid", "vlb"))] = "simple"
    """The weighted error; that and 0.001 of the variational bound (Nichol & Dhariwal 2021); the bound alone."""
    weighting: Literal["uniform", "min-snr", "p2", "vlb"] = "uniform"
    """Weight of each t: 1; min(SNR, `gamma`); P2 with `p2_gamma`; or the weight that the variational bound gives."""
    gamma: float = 5.0
    """gamma of min-SNR, and of nothing else (Hang et al. 2023: 5)."""
    p2_gamma: float = 1.0
    """Exponent of P2 (Choi et al. 2022: 1, or 0.5)."""
    distance: Literal["l2", "l1", "huber"] = "l2"
    """Distance between the network's output and its target."""
    clipped_error: bool = False
    """Where data lie at an end of [-1, 1], predictions beyond it cost nothing: samples are clipped there, and a flat
    ground comes out flat."""
    time_law: Literal["uniform", "stratified", "logit-normal", "loss-second-moment"] = "uniform"
    """How t is drawn: independently, spread evenly over the batch, logit-normal (Esser et al. 2024), or by its loss."""
    logit_mean: float = 0.0
    """Mean of the logit-normal law."""
    logit_std: float = 1.0
    """Standard deviation of the logit-normal law."""
    logit_uniform: float = 0.0
    """Share of the logit-normal law's draws that are uniform instead, so that its tails are not forgotten."""
    offset_noise: float = 0.0
    """Standard deviation of a per-channel constant added to the noise; 0.1 frees an image's mean brightness."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate over time."""

    optimizer: Annotated[str, Registered("optimizer", ("adam", "adamw", "muon"))] = "adam"
    """Adam, AdamW with decoupled weight decay, or Muon for the matrices inside with Adam for the rest."""
    lr: float = 2e-4
    """Learning rate after the warm-up."""
    condition_lr: float = 1.0
    """Learning rate of what embeds classes and numbers, in units of `lr`. Above 1 a short training heeds classes
    sooner: each row of their table is moved by its own images alone."""
    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay: Literal["constant", "cosine", "linear", "wsd", "inverse-sqrt"] = "constant"
    """Learning rate after the warm-up: constant, down to 0 at the last step, all along or (wsd) in the last quarter, or
    as 1/sqrt(step)."""
    clip: float | None = 1.0
    """Largest global norm of the gradient."""
    accumulate: int = 1
    """Micro-batches per step: the batch is split in this many parts, so memory falls and the result stays."""


@dataclass(frozen=True)
class EMAConfig:
    """Exponential moving averages of the weights."""

    ema: tuple[float, ...] = (0.9999,)
    """Decay rates; one average is kept for each, the first is the one that samples are drawn with."""
    ema_warmup: bool = True
    """Use min(rate, (1 + step) / (10 + step)), so that a short run's average forgets its random start."""
    ema_std: tuple[float, ...] = ()
    """Widths of averages as parts of the training (0.05,0.1): of these, copies are left on the way, from which
    'undiffuse ema' makes an average of any width afterwards."""
    ema_copies: int = 32
    """Copies of each of them, evenly over the training."""


@dataclass(frozen=True)
class LoopConfig:
    """The length of a training, its place, and its reports."""

    batch: int = 128
    """Images per step."""
    steps: int | None = None
    """Budget in optimiser steps; give exactly one of `steps`, `images` and `minutes`."""
    images: int | None = None
    """Budget in images seen."""
    minutes: float | None = None
    """Budget in minutes: the speed is measured, and the number of steps corrected as it changes."""
    seed: int = 0
    """Seed of the weights, the data's order and every random stream."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; 'auto' takes the best one present."""
    precision: PrecisionName = "auto"
    """Number format of the forward pass: bfloat16 autocast, or float32; 'auto' takes bfloat16 where CUDA has it."""
    compile: bool = False
    """torch.compile the network: a minute or two at the start, faster steps afterwards on a GPU; `undiffuse bench
    --compile` says when it pays."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: 'ddp' copies the network to every process, 'fsdp' cuts it up, for one that does not fit."""
    channels_last: bool = True
    """Store activations with channels last (2-D and 3-D data)."""
    log_every: int = 50
    """Steps between lines in metrics.jsonl."""
    sample_every: int | None = None
    """Steps between grids of samples from fixed noise, 0 for none; without it by time, the first after half a minute,
    for a twentieth of the time at most."""
    sample_count: int = 64
    """Images in such a grid."""
    checkpoint_every: int | None = None
    """Steps between checkpoints, 0 for none but the last; without it by time, every two minutes where they cost little
    (one is always written at the end)."""
    validate_every: int | None = None
    """Steps between looks at the loss of `validation`; without it after each twentieth of the budget."""
    patience: int = 0
    """Looks at that loss without a new best one after which the training ends; 0 goes on to the end."""
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Send losses and grids of samples on to these, too; each needs the extra of its name."""
    keep: int = 3
    """Checkpoints kept; older ones are deleted; 0 keeps all."""
    meant_for: Literal["", "diffusers"] = ""
    """A program whose own classes are to hold the model: what the recipe would choose otherwise is chosen so that they
    can, and what cannot be is refused before the training. Models without it go there with code of their own."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The training of a classifier of noisy images; its process, levels and patches are those of the run it leads."""

    steps: int = 3000
    """Optimiser steps."""
    batch: int = 64
    """Images per step."""
    lr: float = 1e-3
    """Learning rate after 100 steps of warm-up; it falls to 0."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    base: int = 32
    """Channels at full resolution."""
    seed: int = 0
    """Seed of the weights, the split, the data's order and the noise."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; 'auto' takes the best one present."""
