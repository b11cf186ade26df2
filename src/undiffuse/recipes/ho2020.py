"""The recipes of Ho, Jain & Abbeel 2020 (https://arxiv.org/abs/2006.11239, section 4 and appendix B), to the letter.

What both share: the chain of 1000 steps with beta from 1e-4 to 0.02, the U-Net with two blocks a level and attention
at 16 x 16, the plain loss on eps, Adam with a warm-up of 5000 steps and the gradient's norm clipped to 1, random flips,
and an average of the weights at 0.9999 that starts from the first weights, without a warm-up of its own.

The paper leaves some of this to its code (https://github.com/hojonathanho/diffusion, scripts/): warm-up and clipping.
"""

from __future__ import annotations

from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import EMAConfig, LoopConfig, ObjectiveConfig, OptimizerConfig
from undiffuse.data.info import DataInfo
from undiffuse.recipes.recipe import Recipe, require


def ho2020_cifar10(info: DataInfo) -> TrainConfig:
    """CIFAR-10: 35,746,307 parameters, 800,000 steps of 128 images.

    Sample it as the paper did: ``undiffuse sample RUN --sampler ddpm --steps 1000 --variance large``.

    Raises:
        UndiffuseError: for data of another shape than 3 channels of 32 x 32.
    """
    require("ho2020-cifar10", (3, 32, 32), info)
    network = UNetConfig(base=128, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(1,), dropout=0.1)
    loop = LoopConfig(batch=128, steps=800_000, precision="float32")
    return _shared("ho2020-cifar10", info, network, 2e-4, loop)


def ho2020_celebahq256(info: DataInfo) -> TrainConfig:
    """CelebA-HQ at 256 x 256: 113,673,219 parameters, 500,000 steps of 64 images.

    Sample it as the paper did: ``undiffuse sample RUN --sampler ddpm --steps 1000 --variance small``.

    Raises:
        UndiffuseError: for data of another shape than 3 channels of 256 x 256.
    """
    require("ho2020-celebahq256", (3, 256, 256), info)
    network = UNetConfig(base=128, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention_levels=(4,), dropout=0.0)
    loop = LoopConfig(batch=64, steps=500_000, precision="float32")
    return _shared("ho2020-celebahq256", info, network, 2e-5, loop)


def _shared(recipe: str, info: DataInfo, network: UNetConfig, lr: float, loop: LoopConfig) -> TrainConfig:
    return TrainConfig(
        recipe=recipe,
        data=DataConfig(source=info.name, flip=True),
        network=network,
        diffusion=DiffusionConfig(schedule="linear", timesteps=1000, parameterization="epsilon"),
        objective=ObjectiveConfig(weighting="uniform", distance="l2", time_law="uniform"),
        optimizer=OptimizerConfig(optimizer="adam", lr=lr, warmup=5000, decay="constant", clip=1.0),
        ema=EMAConfig(ema=(0.9999,), ema_warmup=False),
        loop=loop,
    )


HO2020_CIFAR10 = Recipe(
    name="ho2020-cifar10",
    description="CIFAR-10 as in Ho et al. 2020 (35.7 M); sample by `sampler=ddpm` `steps=1000` `variance=large`.",
    needs="The paper states 10.6 hours on a TPU v3-8 (800,000 steps, 21 a second); not measured here.",
    reached="The paper states FID 3.17 (50,000 samples against the training set); not measured here.",
    sampling=SampleConfig.of(sampler="ddpm", steps=1000, variance="large"),
    build=ho2020_cifar10,
)

HO2020_CELEBAHQ256 = Recipe(
    name="ho2020-celebahq256",
    description="CelebA-HQ 256 as in Ho et al. 2020 (114 M); sample by `sampler=ddpm` `steps=1000` `variance=small`.",
    needs="The paper states 2.2 steps a second on a TPU v3-8, so 63 hours for its 500,000 steps; not measured here.",
    reached="The paper states no FID for it; not measured here.",
    sampling=SampleConfig.of(sampler="ddpm", steps=1000, variance="small"),
    build=ho2020_celebahq256,
)
