"""Denoisers around denoisers: each works under every sampler and every parameterization."""

from undiffuse.guidance.threshold import Clip, DynamicThreshold

__all__ = ["Clip", "DynamicThreshold"]
