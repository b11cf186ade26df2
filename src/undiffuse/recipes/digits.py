"""The demo: handwritten digits in minutes on two CPU cores.

Notable choices, each found by measurement (docs/lab-notes.md):

* Patches of 2 x 2 pixels: the network works at 14 x 14, and a step costs a fourth.
* The network predicts x0, which asks less of a narrow network than v does.
* Times around log-SNR -1 to -3, where it is decided whether strokes make a digit; strokes themselves are easy.
* The network is told the class, and samples are led to it: a digit that is asked for is a digit more often.
* Errors beyond black and white cost nothing (``clipped_error``): the ground of four fifths of all pixels comes out
  black to the last one, where half of it had a faint grain.
* Many small steps of Muon, whose errors fall faster than Adam's at every noise level.
* Samples by a sampler that adds fresh noise, the default: it forgives the errors of a short training, which DDIM keeps.
"""

from __future__ import annotations

from undiffuse.config import (
    ConditionConfig,
    DataConfig,
    DiffusionConfig,
    EMAConfig,
    LoopConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SampleConfig,
    TrainConfig,
    UNetConfig,
)
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.recipes.recipe import Recipe


def digits(info: DataInfo) -> TrainConfig:
    """The 5,000 digits of the built-in data set, 28 x 28 in grey: ``undiffuse train digits --recipe digits``.

    Measured by ``make demo`` on two cores, one seed: 2,033 steps in 3 min 47 s, three grids of samples included. Then,
    for 2,000 samples drawn with the default sampler in 20 evaluations, a Frechet distance of 40.8 in the features of a
    digit classifier against the 5,000 digits, and a mean confidence of 0.932. Held-out digits have 6.1 and 0.993;
    docs/lab-notes.md says what the classifier is.

    Raises:
        UndiffuseError: for data of another shape than 1 channel of 28 x 28.
    """
    if info.shape != (1, 28, 28):
        raise UndiffuseError(
            f"The recipe 'digits' is for data of the shape (1, 28, 28), and '{info.name}' has {info.shape}; "
            "use --recipe small."
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
        optimizer=OptimizerConfig(optimizer="muon", lr=2e-3, warmup=100, decay="linear", clip=1.0),
        ema=EMAConfig(ema=(0.995,)),
        loop=LoopConfig(batch=32, minutes=3.7),
    )


DIGITS = Recipe(
    name="digits",
    description="The demo: 5,000 handwritten digits of 28 x 28 pixels.",
    needs="Four minutes on two CPU cores; it fits its steps to the machine.",
    reached="Frechet distance 41 by a digit classifier (N = 2,000; held-out digits 6), confidence 0.932; one run.",
    sampling=SampleConfig(guidance=1.5),
    build=digits,
)
