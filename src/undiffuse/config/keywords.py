"""The keyword arguments of Python's functions, for editors and type checkers: every setting with its type.

Made from the dataclasses of settings by ``python tests/config/test_keywords.py``, and tested to agree with them. What a
package's own options add is known at run time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from undiffuse.diffusion.guidance import GuidanceRule
    from undiffuse.diffusion.losses import Loss
    from undiffuse.diffusion.schedules import Schedule
    from undiffuse.diffusion.trajectory import Sampler


class SampleSettings(TypedDict, total=False):
    """Settings of samples, see `SampleConfig`."""

    sampler: str | Sampler[Any]
    steps: int
    spacing: Literal["leading", "trailing", "linspace", "quadratic", "log-snr", "karras", "learned"]
    times: Sequence[float]
    eta: float
    variance: Literal["small", "large", "learned"]
    churn: float
    tolerance: float
    morph_to: int | None
    morph: float
    classes: Sequence[str]
    text: str
    vector: Sequence[float]
    image: str
    guidance: float | GuidanceRule
    avoid: str
    weak: str
    classifier: str
    guidance_rescale: float
    guidance_rule: str
    guidance_interval: Sequence[float]
    augmentation: float
    threshold: Literal["none", "clip", "dynamic"]
    weights: str
    micro_batch: int | None
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool


class TrainSettings(TypedDict, total=False):
    """Settings of a training, see `TrainConfig`."""

    size: int | Sequence[int] | None
    crop: Literal["none", "center", "random", "tiles"]
    crop_from: int | None
    channels: Literal["keep", "grey", "rgb", "rgba"]
    skip_unreadable: bool
    flip: bool
    vectors: Sequence[str]
    pairs: object
    validation: object
    frames: int
    stride: int
    stream: bool
    buffer: int
    base: int
    multipliers: Sequence[int]
    blocks: int
    attention_levels: Sequence[int]
    middle_attention: bool
    heads: int
    head_width: int | None
    dropout: float
    scale_shift: bool
    resample: Literal["conv", "residual"]
    embedding: Literal["ho", "adm"]
    time_width: int | None
    patch: int
    checkpoint_blocks: bool
    norm_groups: int | None
    norm_eps: float
    downsample_padding: Literal["end", "both"]
    up_attention_levels: Sequence[int] | None
    residual_down_levels: Sequence[int] | None
    residual_up_levels: Sequence[int] | None
    middle: bool
    middle_attention_norm: bool
    center_input: bool
    architecture: str
    schedule: str | Schedule
    timesteps: int
    beta_start: float | None
    beta_end: float | None
    betas: Sequence[float]
    zero_terminal_snr: bool
    parameterization: Literal["epsilon", "x0", "v", "flow", "score", "edm"]
    time_input: Literal["index", "scaled-index", "log-snr", "log-sigma"]
    sigma_data: float
    learn_variance: bool
    condition: Literal["class", "text", "vector", "image"] | Sequence[Literal["class", "text", "vector", "image"]]
    condition_dropout: float
    upscale: int
    augmentation: float
    start_from: str
    start_weights: str
    prior: int
    lora_rank: int
    lora_layers: Sequence[str]
    loss: str | Loss
    weighting: Literal["uniform", "min-snr", "p2", "vlb"]
    gamma: float
    p2_gamma: float
    distance: Literal["l2", "l1", "huber"]
    clipped_error: bool
    time_law: Literal["uniform", "stratified", "logit-normal", "loss-second-moment"]
    logit_mean: float
    logit_std: float
    logit_uniform: float
    offset_noise: float
    optimizer: str | Callable[..., Optimizer]
    lr: float
    condition_lr: float
    beta1: float
    beta2: float
    weight_decay: float
    warmup: int
    decay: Literal["constant", "cosine", "linear", "wsd", "inverse-sqrt"]
    clip: float | None
    accumulate: int
    ema: Sequence[float]
    ema_warmup: bool
    ema_std: Sequence[float]
    ema_copies: int
    batch: int
    steps: int | None
    images: int | None
    minutes: float | None
    seed: int
    device: str
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool
    parallel: Literal["ddp", "fsdp"]
    channels_last: bool
    log_every: int
    sample_every: int | None
    sample_count: int
    checkpoint_every: int | None
    validate_every: int | None
    patience: int
    track: Literal["tensorboard", "wandb", "trackio"] | Sequence[Literal["tensorboard", "wandb", "trackio"]]
    keep: int
    meant_for: Literal["", "diffusers"]
    network: str | nn.Module | Callable[..., nn.Module]
    objective: str | Loss


class DistillationSettings(TypedDict, total=False):
    """Settings of a distillation beside its arguments, see `distill`."""

    size: int | Sequence[int] | None
    crop: Literal["none", "center", "random", "tiles"]
    crop_from: int | None
    channels: Literal["keep", "grey", "rgb", "rgba"]
    skip_unreadable: bool
    flip: bool
    vectors: Sequence[str]
    pairs: object
    validation: object
    frames: int
    stride: int
    stream: bool
    buffer: int
    weighting: Literal["uniform", "min-snr", "p2", "vlb"]
    gamma: float
    p2_gamma: float
    distance: Literal["l2", "l1", "huber"]
    clipped_error: bool
    optimizer: str | Callable[..., Optimizer]
    lr: float
    condition_lr: float
    beta1: float
    beta2: float
    weight_decay: float
    warmup: int
    decay: Literal["constant", "cosine", "linear", "wsd", "inverse-sqrt"]
    clip: float | None
    accumulate: int
    ema: Sequence[float]
    ema_warmup: bool
    ema_std: Sequence[float]
    ema_copies: int
    batch: int
    seed: int
    device: str
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool
    parallel: Literal["ddp", "fsdp"]
    channels_last: bool
    log_every: int
    sample_every: int | None
    sample_count: int
    checkpoint_every: int | None
    validate_every: int | None
    patience: int
    track: Literal["tensorboard", "wandb", "trackio"] | Sequence[Literal["tensorboard", "wandb", "trackio"]]
    keep: int
    teacher_stride: int
    earlier_by: Literal["teacher", "data"]
    annealing: float
    ratio_mean: float
    ratio_std: float
    huber: float
    own_times: float
    pair_weight: Literal["ratio", "angle"]
    fresh_noise: bool
    teacher_sampler: str
    matched: float
    critic_lr: float
