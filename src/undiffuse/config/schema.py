"""Every setting of a training, a section a module of this folder, as frozen dataclasses.

The same dataclasses serve the Python API, the command line, the YAML file in a run's folder and the model card.

* No torch here: ``undiffuse --help`` must answer at once.
* Field names are unique over all sections of `TrainConfig`, so that ``--lr 1e-4`` on the command line,
  ``undiffuse.train(..., lr=1e-4)`` in Python and ``optimizer: {lr: 1e-4}`` in YAML name the same thing.
* The comment string below a field is its help text on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.data import DataConfig
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.distillation import (
    ConsistencyConfig,
    DistillationConfig,
    DistributionConfig,
    JumpConfig,
    MatchConfig,
    NoDistillation,
    ProgressiveConfig,
    RegressionConfig,
)
from undiffuse.config.fields import Variants
from undiffuse.config.network import GivenNetworkConfig, NetworkConfig, RMSUNetConfig, ScoreUNetConfig, UNetConfig
from undiffuse.config.registry import reserve
from undiffuse.config.training import EMAConfig, LoopConfig, LoRAConfig, ObjectiveConfig, OptimizerConfig, StartConfig

CONFIG_VERSION = 1
"""Version of the file format; a newer one is refused with a sentence, an older one is read."""

ARCHITECTURES = Variants(NetworkConfig, "architecture", GivenNetworkConfig.named)
"""The classes of a network's options by the names of their architectures."""
for _options in (UNetConfig, RMSUNetConfig, ScoreUNetConfig):
    ARCHITECTURES.add(_options)
reserve("architecture", *ARCHITECTURES.classes)

METHODS = Variants(DistillationConfig, "method")
"""The classes of a student's settings by the names of their methods."""
for _method in (
    NoDistillation,
    MatchConfig,
    ProgressiveConfig,
    ConsistencyConfig,
    JumpConfig,
    RegressionConfig,
    DistributionConfig,
):
    METHODS.add(_method)

CLASSIFIER = "noisy-classifier"
"""The recipe's name in settings of a classifier of noisy images."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on. A recipe returns one; a run's config.yaml holds one."""

    recipe: str = "small"
    """Name of the recipe that these settings started from."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    conditions: ConditionConfig = field(default_factory=ConditionConfig)
    start: StartConfig = field(default_factory=StartConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    distillation: DistillationConfig = field(default_factory=NoDistillation)
