"""The demo: handwritten digits in minutes on two CPU cores.

Notable choices, each found by measurement (docs/lab-notes.md):

* Patches of 2 x 2 pixels: the network works at 14 x 14, and a step costs a fourth.
* Times around log-SNR -1 to -3, where it is decided whether strokes make a digit; strokes themselves are easy.
* Many small steps of Muon, whose errors fall faster than Adam's at every noise level.
* Samples by DDPM: its fresh noise forgives the errors of a short training, which DDIM carries to the end.
"""

from __future__ import annotations

from undiffuse.config import (
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

    TOBEMEASURED

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
        diffusion=DiffusionConfig(schedule="cosine", timesteps=1000, parameterization="v"),
        objective=ObjectiveConfig(
            weighting="min-snr", gamma=5.0, time_law="logit-normal", logit_mean=1.0, logit_std=1.0, logit_uniform=0.15
        ),
        optimizer=OptimizerConfig(optimizer="muon", lr=2e-3, warmup=100, decay="linear", clip=1.0),
        ema=EMAConfig(ema=(0.995,)),
        loop=LoopConfig(batch=32, minutes=3.7, sample_every=800, checkpoint_every=800),
    )


DIGITS = Recipe(
    name="digits",
    description="The demo: 5,000 handwritten digits of 28 x 28 pixels.",
    needs="At most four minutes on two CPU cores; it fits its steps to the machine.",
    reached="Frechet distance 41.5 by a digit classifier, confidence 0.947 (N = 1,000, DDPM 50; 5,000 steps); one run.",
    sampling=SampleConfig(sampler="ddpm", steps=50, variance="small"),
    build=digits,
)
