"""Denoisers around denoisers: each works under every sampler and every parameterization."""

from undiffuse.diffusion.guidance.classifier import ClassifierGuided
from undiffuse.diffusion.guidance.classifier_free import Autoguided, ClassifierFree, Guidance, GuidanceRule
from undiffuse.diffusion.guidance.conditioned import Conditioned
from undiffuse.diffusion.guidance.inverse_problems import DDNM, DPS, LinearMeasurement, PiGDM
from undiffuse.diffusion.guidance.replacement import ReplacementInpainting
from undiffuse.diffusion.guidance.threshold import THRESHOLDS, Clip, DynamicThreshold
from undiffuse.diffusion.guidance.tiled import Tiled

__all__ = [
    "DDNM",
    "DPS",
    "THRESHOLDS",
    "Autoguided",
    "ClassifierFree",
    "ClassifierGuided",
    "Clip",
    "Conditioned",
    "DynamicThreshold",
    "Guidance",
    "GuidanceRule",
    "LinearMeasurement",
    "PiGDM",
    "ReplacementInpainting",
    "Tiled",
]
