"""The demo: handwritten digits in minutes on two CPU cores."""

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
            weighting="min-snr", gamma=5.0, time_law="logit-normal", logit_mean=0.7, logit_std=0.8
        ),
        optimizer=OptimizerConfig(optimizer="adam", lr=2e-3, warmup=100, decay="linear", clip=1.0),
        ema=EMAConfig(ema=(0.995,)),
        loop=LoopConfig(batch=16, minutes=3.9, sample_every=1000, checkpoint_every=1000),
    )


DIGITS = Recipe(
    name="digits",
    description="The demo: 5,000 handwritten digits of 28 x 28 pixels.",
    needs="Four minutes on two CPU cores.",
    reached="Preliminary; being measured.",
    sampling=SampleConfig(sampler="ddpm", steps=50, variance="small"),
    build=digits,
)
