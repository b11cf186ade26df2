"""The demo: handwritten digits in minutes on two CPU cores.

Notable choices, each found by measurement (docs/develop/lab-notes.md):

* Patches of 2 x 2 pixels: the network works at 14 x 14, and a step costs a fourth.
* The network predicts x0, which asks less of a narrow network than v does.
* Times around log-SNR -1 to -3, where it is decided whether strokes make a digit; strokes themselves are easy.
* The network is told the class, and samples are led to it: a digit that is asked for is a digit more often.
* Errors beyond black and white cost nothing (``clipped_error``): the ground of four fifths of all pixels comes out
  black to the last one, where half of it had a faint grain.
* What embeds the classes learns five times as fast as the rest: a row of the table is moved by a tenth of the images,
  and 900 steps were too few for it.
* Many small steps of Muon, whose errors fall faster than Adam's at every noise level.
* Samples by a sampler that adds fresh noise, the default: it forgives the errors of a short training, which DDIM keeps.
"""

from __future__ import annotations

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, LoopConfig, ObjectiveConfig, OptimizerConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.recipes.recipe import Recipe


def digits(info: DataInfo) -> TrainConfig:
    """The 5,000 digits of the built-in data set, 28 x 28 in grey: ``undiffuse train digits --recipe digits``.

    Measured by benchmarks/quality/demo_quality.py's judge, 1,000 samples, each class in turns, by the default sampler
    in 20 evaluations at guidance 1.5. Three seeds of what `make demo` trains on two cores, 925, 1,019 and 1,031 steps
    in 3 min 34 to 43 s: a Frechet distance of 14.8, 14.2 and 14.6 from the 5,000 digits (held-out digits 8.6), a mean
    confidence of 0.989, 0.993 and 0.991 (0.993), and 98 % are taken for the class that was asked for.
    docs/develop/lab-notes.md says what the judge is.

    Raises:
        UndiffuseError: for data of another shape than 1 channel of 28 x 28.
    """
    if info.shape != (1, 28, 28):
        raise UndiffuseError(
            f"The recipe 'digits' is for data of the shape (1, 28, 28), and '{info.name}' has {info.shape}; "
            "use `recipe=small`."
        )
    return TrainConfig(
        recipe="digits",
        data=DataConfig(source=info.name),
        network=UNetConfig(base=32, multipliers=(1, 2), blocks=1, attention_levels=(), patch=2),
        diffusion=DiffusionConfig(schedule="cosine", timesteps=1000, parameterization="x0"),
        conditions=ConditionConfig(condition=("class",) if info.classes else ()),
        objective=ObjectiveConfig(
            weighting="min-snr",
            gamma=5.0,
            clipped_error=True,
            time_law="logit-normal",
            logit_mean=1.0,
            logit_std=1.0,
            logit_uniform=0.15,
        ),
        optimizer=OptimizerConfig(optimizer="muon", lr=2e-3, condition_lr=5.0, warmup=100, decay="linear", clip=1.0),
        ema=EMAConfig(ema=(0.995,)),
        loop=LoopConfig(batch=32, minutes=3.7),
    )


DIGITS = Recipe(
    name="digits",
    description="The demo: 5,000 handwritten digits of 28 x 28 pixels.",
    needs="Four minutes on two CPU cores; it fits its steps to the machine.",
    reached="Frechet distance 15 by a digit classifier (N = 1,000; held-out digits 9), confidence 0.99; three seeds.",
    sampling=SampleConfig.of(guidance=1.5),
    build=digits,
)
