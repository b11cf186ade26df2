"""Every setting of a training and of a sampling, as frozen dataclasses.

The same dataclasses serve the Python API, the command line, the YAML file in a run's folder and the model card.

* No torch here: ``undiffuse --help`` must answer at once.
* Field names are unique over all sections of `TrainConfig`, so that ``--lr 1e-4`` on the command line,
  ``undiffuse.train(..., lr=1e-4)`` in Python and ``optimizer: {lr: 1e-4}`` in YAML name the same thing.
* The comment string below a field is its help text on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

CONFIG_VERSION = 1
"""Version of the file format; a newer one is refused with a sentence, an older one is read."""

ScheduleName = Literal["linear", "scaled-linear", "quadratic", "cosine", "sigmoid", "vp", "sub-vp"]
PROCESS = ("schedule", "timesteps", "beta_start", "beta_end", "betas", "zero_terminal_snr")
"""Settings of `DiffusionConfig` that say what noise is added when."""
ParameterizationName = Literal["epsilon", "x0", "v", "flow", "score", "edm"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class DataConfig:
    """What to learn from, and how its files become arrays of one shape."""

    source: str = "digits"
    """A folder, a file or a pattern of any kind in docs/data.md, hf:ORG/NAME, or the built-in name 'digits'."""
    size: int | tuple[int, int] | None = None
    """Resize to this side, or to HEIGHT WIDTH; without it nothing is resized and all files must have one shape."""
    crop: Literal["none", "center", "random", "tiles"] = "none"
    """With --size: 'center' scales the short side and cuts the middle; 'random' cuts another part each time an image is
    learned; 'tiles' makes a sample of every part; 'none' requires the aspect ratio to fit."""
    crop_from: int | None = None
    """With --crop random or tiles: scale images to this short side first; else they are cut at their own size."""
    channels: Literal["keep", "grey", "rgb", "rgba"] = "keep"
    """'keep' takes the channels the files have (they must agree); the others convert, alpha onto white."""
    skip_unreadable: bool = False
    """Go on without files that cannot be read, however many they are; they are counted and listed."""
    flip: bool = False
    """Mirror images left to right at random while training; only for data in which left and right are alike."""
    vectors: tuple[str, ...] = ()
    """Columns of numbers in the metadata, or arrays of an .npz file, for --condition vector: angle,width. A
    name with a comma stands in quotes: '"size, cm",angle'."""
    pairs: str = ""
    """A second folder or file, with a picture of the same name for each image, for --condition image; --size, --crop
    and --channels hold for both."""
    frames: int = 0
    """Frames of a clip, for videos."""
    stride: int = 1
    """For videos: a clip takes every frame, every second one, ..."""
    stream: bool = False
    """Read shards as the training goes, with no prepared copy on the disk; for data larger than it."""
    buffer: int = 2048
    """With --stream: examples among which the next one is drawn, kept in memory as they are in their files."""

    def of_others(self, source: str) -> DataConfig:
        """How other images are prepared to be like these: as they are, and without what is said of them."""
        return self if source == self.source else replace(self, source=source, vectors=(), pairs="")


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net of Ho et al. 2020 (https://arxiv.org/abs/2006.11239, appendix B) with the options of
    ADM (Dhariwal & Nichol 2021, https://arxiv.org/abs/2105.05233)."""

    base: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level, in units of --base; every level after the first halves the resolution."""
    blocks: int = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels with self-attention; level k has 1/2^k of the resolution (Ho's '16 x 16' is level 1 of 32 x 32)."""
    middle_attention: bool = True
    """Self-attention between the two middle blocks."""
    heads: int = 1
    """Attention heads; ignored where --head-width is given."""
    head_width: int | None = None
    """Channels per attention head (ADM uses 64)."""
    dropout: float = 0.0
    """Probability of dropping an activation inside a residual block while training."""
    scale_shift: bool = False
    """Let the time embedding scale and shift the normalised activation (ADM) instead of being added to it."""
    resample: Literal["conv", "residual"] = "conv"
    """Down- and up-sampling by a strided convolution (Ho) or inside residual blocks (ADM)."""
    embedding: Literal["ho", "adm"] = "ho"
    """Sinusoids as [sin, cos] over d/2 - 1 (Ho, diffusers' google/ddpm-*) or [cos, sin] over d/2 (OpenAI)."""
    time_width: int | None = None
    """Number of those sinusoids, the embedding being four times as wide; without it --base."""
    patch: int = 1
    """Fold patches of this side into channels before the first convolution, and unfold them at the end."""
    checkpoint_blocks: bool = False
    """Recompute residual blocks in the backward pass: less memory, about a third more time."""
    norm_groups: int | None = None
    """Groups of every GroupNorm; without it 32, and below 128 channels as many as leave four channels a group."""
    norm_eps: float = 1e-6
    """Added to the variance in every GroupNorm: 1e-6 (Ho) or 1e-5 (PyTorch's own, OpenAI, diffusers)."""
    downsample_padding: Literal["end", "both"] = "end"
    """Where the strided convolution of --resample conv pads: after the end alone (Ho), or on both sides (OpenAI)."""
    up_attention_levels: tuple[int, ...] | None = None
    """Levels with self-attention on the way up; without it --attention-levels."""
    residual_down_levels: tuple[int, ...] | None = None
    """Levels that the way down leaves by a residual block; without it all or none, as --resample says."""
    residual_up_levels: tuple[int, ...] | None = None
    """Levels that the way up leaves by a residual block; without it all or none, as --resample says."""
    middle: bool = True
    """Two residual blocks at the lowest resolution, between the ways down and up."""
    middle_attention_norm: bool = True
    """Normalise before the attention in the middle; diffusers' networks with --scale-shift may not."""
    center_input: bool = False
    """Show the network 2 x - 1 in place of x (diffusers' center_input_sample)."""
    architecture: Literal["unet", "rms-unet", "ddpm++", "ncsn++"] = "unet"
    """'unet', or 'rms-unet' with linear attention and norms by the root mean square, as denoising-diffusion-pytorch
    has it: of the settings above --base, --multipliers, --attention-levels (of full attention), --heads, --head-width
    (32 by default) and --dropout. Or 'ddpm++' or 'ncsn++' of score-based models, as EDM has them: --base,
    --multipliers, --blocks, --attention-levels and --dropout."""


@dataclass(frozen=True)
class DiffusionConfig:
    """The process and what the network predicts of it."""

    schedule: ScheduleName = "linear"
    """The curve t -> (alpha, sigma)."""
    timesteps: int = 1000
    """Length T of the discrete chain."""
    beta_start: float | None = None
    """First beta of 'linear', 'scaled-linear', 'quadratic' or 'sigmoid', taken as it is; without it the paper's."""
    beta_end: float | None = None
    """Last beta, taken as it is; given with --beta-start."""
    betas: tuple[float, ...] = ()
    """Every beta of the chain, one a timestep, in place of --schedule."""
    zero_terminal_snr: bool = False
    """Rescale the chain so that x_T is pure noise (Lin et al. 2023); not with 'epsilon' or 'score'."""
    parameterization: ParameterizationName = "epsilon"
    """What the network predicts."""
    time_input: Literal["index", "scaled-index", "log-snr", "log-sigma"] = "index"
    """What the time embedding sees: the chain's index t - 1 (Ho), 1000/T times it (Improved DDPM's code), or the noise
    level: 1000 (2/pi) atan(sigma/alpha), or ln(sigma/alpha)/4 (EDM)."""
    sigma_data: float = 0.5
    """Standard deviation of the data in [-1, 1]; used by the 'edm' parameterization alone."""
    learn_variance: bool = False
    """Let the network say how much noise each step back adds (twice the output channels); needs --loss hybrid."""


@dataclass(frozen=True)
class ConditionConfig:
    """What the network is told beside the time, so that samples can be asked for by it."""

    condition: tuple[Literal["class", "text", "vector", "image"], ...] = ()
    """'class', by the folder or the metadata that an image came with; 'text', by the metadata; 'vector', by the numbers
    that --vectors names; 'image', by the pictures in --pairs; 'none' for nothing."""
    condition_dropout: float = 0.1
    """Part of the images whose conditions are hidden, so that the network also learns to do without (guidance)."""
    upscale: int = 1
    """Learn to make images this many times as large, as a stage of a cascade: the network is told the small image."""
    augmentation: float = 0.5
    """With --upscale: the most noise that small images are given, 0..1, so that the stage learns not to trust them."""


@dataclass(frozen=True)
class StartConfig:
    """Where the weights come from, if not from chance."""

    start_from: str = ""
    """A run, a checkpoint or a model's file to train on from: its network, what it predicts and its weights."""
    start_weights: str = "ema"
    """'ema' (its first average), 'raw', or a rate such as '0.999'."""
    start_sha256: str = ""
    """sha256 of those weights; filled in."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss (Ho et al. 2020, eq. 14, and what came after it)."""

    loss: Literal["simple", "hybrid", "vlb"] = "simple"
    """The weighted error; that and 0.001 of the variational bound (Nichol & Dhariwal 2021); the bound alone."""
    weighting: Literal["uniform", "min-snr", "p2", "vlb"] = "uniform"
    """Weight of each t: 1; min(SNR, --gamma); P2 with --p2-gamma; or the weight that the variational bound gives."""
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

    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """Adam, AdamW with decoupled weight decay, or Muon for the matrices inside with Adam for the rest."""
    lr: float = 2e-4
    """Learning rate after the warm-up."""
    condition_lr: float = 1.0
    """Learning rate of what embeds classes and numbers, in units of --lr: a class's row is moved by its images alone,
    so that short trainings heed classes late without more."""
    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay: Literal["constant", "cosine", "linear", "inverse-sqrt"] = "constant"
    """Learning rate after the warm-up: constant, down to 0 at the last step, or as 1/sqrt(step)."""
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
    """How long, on what, and how often to look."""

    batch: int = 128
    """Images per step."""
    steps: int | None = None
    """Budget in optimiser steps; give exactly one of --steps, --images and --minutes."""
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
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Send losses and grids of samples on to these, too; each needs the extra of its name."""
    keep: int = 3
    """Checkpoints kept; older ones are deleted; 0 keeps all."""
    meant_for: Literal["", "diffusers"] = ""
    """A program whose own classes are to hold the model: what the recipe would choose otherwise is chosen so that they
    can, and what cannot be is refused before the training. Models without it go there with code of their own."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on. A recipe returns one; a run's config.yaml holds one."""

    recipe: str = "small"
    """Name of the recipe that these settings started from."""
    data: DataConfig = field(default_factory=DataConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    conditions: ConditionConfig = field(default_factory=ConditionConfig)
    start: StartConfig = field(default_factory=StartConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier of noisy images is trained; its process, levels and patches are those of the run it leads."""

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


@dataclass(frozen=True)
class SampleConfig:
    """Everything that a set of samples depends on, beside the model.

    The default is what was best of those tried at 20 evaluations of a trained network, see docs/samplers.md.
    """

    sampler: str = "dpm++2m-sde"
    """Rule for one step; `undiffuse samplers` lists them."""
    steps: int = 20
    """Steps of the sampler."""
    spacing: Literal["leading", "trailing", "linspace", "quadratic", "log-snr", "karras", "learned"] = "trailing"
    """How the steps are spread over the chain; 'learned' is what `undiffuse timesteps` chose for the run."""
    times: tuple[float, ...] = ()
    """The very times of the steps, from noise to data, in place of --steps and --spacing."""
    eta: float = 0.0
    """DDIM only: 0 is deterministic, 1 is as noisy as DDPM."""
    variance: Literal["small", "large", "learned"] = "small"
    """DDPM only: beta-tilde, beta, or what the network learned between the two."""
    churn: float = 40.0
    """EDM only: its S_churn, the fresh noise of the whole walk; 0 is Heun's method."""
    tolerance: float = 1e-5
    """ODE only: the error that a step may make, relative and absolute."""
    classes: tuple[str, ...] = ()
    """Classes of the samples by name, with commas between them, taken in turns; 'all' for each of them (the default),
    'none' for no class. A name with commas is tried whole, or stands in quotes: '"cat, tabby",dog'. Where a class is
    called all or none, the words are ':all' and ':none'."""
    text: str = ""
    """What a model of texts is to show: 'a seven on the left'."""
    vector: tuple[float, ...] = ()
    """Numbers for a model of vectors, in the order of its columns."""
    image: str = ""
    """For a model of pairs: a picture, or a folder of pictures, taken in turns, that samples are to go with."""
    guidance: float = 1.0
    """How far guidance leads: 1 is the model as it is, more is more of the class or text and less variety."""
    avoid: str = ""
    """A class by its whole name, or for a model of texts a text, that guidance leads away from, in place of none."""
    weak: str = ""
    """A worse model, or an earlier checkpoint, that guidance leads away from (autoguidance)."""
    classifier: str = ""
    """A classifier of noisy images that leads to --class, at 1 by Bayes' rule: see `undiffuse train-classifier`."""
    guidance_rescale: float = 0.0
    """In [0, 1]: how much of the contrast that guidance adds is taken back."""
    guidance_interval: tuple[float, ...] = ()
    """LOW,HIGH noise levels sigma/alpha between which guidance acts; everywhere by default."""
    augmentation: float = 0.1
    """Cascades: noise that a small image is given before it is enlarged, 0..1, at most what the stage learned."""
    threshold: Literal["none", "clip", "dynamic"] = "clip"
    """What happens to a predicted x0 outside [-1, 1]: nothing, clipped, or dynamically thresholded."""
    weights: str = "ema"
    """'ema' (the first average), 'raw', or a rate such as '0.999'."""
    micro_batch: int | None = None
    """Images per evaluation of the network; part of what fixes an image to the last bit on one machine. Without it, as
    many as pay for images of the size on the kind of device: 16, 4 or 1."""
    precision: PrecisionName = "float32"
    """Number format of the network: float32, or bfloat16 autocast, which draws slightly other images; 'auto' takes
    bfloat16 where CUDA has it."""
    compile: bool = False
    """torch.compile the network, which draws slightly other images: half a minute at the start, faster steps
    afterwards on a GPU; `undiffuse bench --compile` says when it pays."""

    @property
    def slots(self) -> int:
        """The micro-batch of settings that say all by themselves, as `Model.settle` returns them."""
        assert self.micro_batch is not None, "these settings were not settled"
        return self.micro_batch
