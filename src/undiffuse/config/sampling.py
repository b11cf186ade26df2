"""Settings of a sampling, in four parts: how the walk goes, what is shown, what leads, what evaluates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from undiffuse.config.network import PrecisionName
from undiffuse.config.sections import Flat


@dataclass(frozen=True)
class Solver:
    """The way of a walk from noise to data: by which steps, at which times, from which noise."""

    sampler: str = "dpm++2m-sde"
    """Rule for one step; `undiffuse samplers` lists them."""
    steps: int = 20
    """Steps of the sampler."""
    spacing: Literal["leading", "trailing", "linspace", "quadratic", "log-snr", "karras", "learned"] = "trailing"
    """How the steps are spread over the chain; 'learned' is what `undiffuse timesteps` chose for the run."""
    times: tuple[float, ...] = ()
    """The very times of the steps, from noise to data, in place of `steps` and `spacing`."""
    eta: float = 0.0
    """DDIM only: 0 is deterministic, 1 is as noisy as DDPM."""
    variance: Literal["small", "large", "learned"] = "small"
    """DDPM only: beta-tilde, beta, or what the network learned between the two."""
    churn: float = 40.0
    """EDM only: its S_churn, the fresh noise of the whole walk; 0 is Heun's method."""
    tolerance: float = 1e-5
    """ODE only: the error that a step may make, relative and absolute."""
    morph_to: int | None = None
    """Another seed, to morph to: all noise lies on the arc from the sample's own to that of the other seed."""
    morph: float = 0.5
    """How far on that arc: 0 is the seed's own sample, 1 the other's."""


@dataclass(frozen=True)
class Prompt:
    """The content of samples."""

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

    @property
    def beyond_classes(self) -> bool:
        """True where anything is asked for that is no class."""
        return bool(self.text or self.vector or self.image)


@dataclass(frozen=True)
class Guide:
    """The guidance of samples on their way."""

    guidance: float = 1.0
    """How far guidance leads: 1 is the model as it is, more is more of the class or text and less variety."""
    avoid: str = ""
    """A class by its whole name, or for a model of texts a text, that guidance leads away from, in place of none."""
    weak: str = ""
    """A worse model, or an earlier checkpoint, that guidance leads away from (autoguidance)."""
    classifier: str = ""
    """A classifier of noisy images that leads to `classes`, at 1 by Bayes' rule: see `undiffuse train-classifier`."""
    guidance_rescale: float = 0.0
    """In [0, 1]: how much of the contrast that guidance adds is taken back."""
    guidance_rule: str = ""
    """A registered rule that mixes the predictions with and without the condition in place of the straight line."""
    guidance_interval: tuple[float, ...] = ()
    """LOW,HIGH noise levels sigma/alpha between which guidance acts; everywhere by default."""
    augmentation: float = 0.1
    """Cascades: noise that a small image is given before it is enlarged, 0..1, at most what the stage learned."""
    threshold: Literal["none", "clip", "dynamic"] = "clip"
    """What happens to a predicted x0 outside [-1, 1]: nothing, clipped, or dynamically thresholded."""


@dataclass(frozen=True)
class Compute:
    """The evaluation of the network."""

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
        """The micro-batch of resolved settings, which say all by themselves."""
        assert self.micro_batch is not None, "these settings were not resolved"
        return self.micro_batch


@dataclass(frozen=True)
class SampleConfig(Flat):
    """Everything that a set of samples depends on, beside the model.

    The defaults are what was best of those tried at 20 evaluations of a trained network, see docs/measure/samplers.md.
    Names are flat for whoever makes or changes settings, as on the command line and in pictures:

        settings = SampleConfig.of(steps=20, guidance=2.0)
        settings.changed(steps=50).solver.steps
    """

    called: ClassVar[str] = "the sampling"

    solver: Solver = field(default_factory=Solver)
    prompt: Prompt = field(default_factory=Prompt)
    guide: Guide = field(default_factory=Guide)
    compute: Compute = field(default_factory=Compute)
