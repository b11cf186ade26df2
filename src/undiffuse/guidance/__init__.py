"""Denoisers around denoisers: each works under every sampler and every parameterization."""

from undiffuse.guidance.classifier import ClassifierGuided
from undiffuse.guidance.contrast import Autoguided, ClassifierFree, Strength
from undiffuse.guidance.given import Given
from undiffuse.guidance.posterior import DDNM, DPS, Observation, PiGDM
from undiffuse.guidance.replaced import Replaced
from undiffuse.guidance.threshold import Clip, DynamicThreshold
from undiffuse.guidance.tiled import Tiled

__all__ = [
    "DDNM",
    "DPS",
    "Autoguided",
    "ClassifierFree",
    "ClassifierGuided",
    "Clip",
    "DynamicThreshold",
    "Given",
    "Observation",
    "PiGDM",
    "Replaced",
    "Strength",
    "Tiled",
]
