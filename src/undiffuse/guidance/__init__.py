"""Denoisers around denoisers: each works under every sampler and every parameterization."""

from undiffuse.guidance.classifier import ClassifierGuided
from undiffuse.guidance.contrast import Autoguided, ClassifierFree, Strength
from undiffuse.guidance.given import Given
from undiffuse.guidance.threshold import Clip, DynamicThreshold

__all__ = ["Autoguided", "ClassifierFree", "ClassifierGuided", "Clip", "DynamicThreshold", "Given", "Strength"]
