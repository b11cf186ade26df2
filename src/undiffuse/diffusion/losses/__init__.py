"""What training minimises: a time law, a weighting and a distance."""

from undiffuse.diffusion.losses.hybrid import Bound, Hybrid
from undiffuse.diffusion.losses.simple import Loss, Objective, draw_noise
from undiffuse.diffusion.losses.time_sampling import LogitNormal, LossSecondMoment, Stratified, TimeLaw, Uniform
from undiffuse.diffusion.losses.weighting import P2, VLB, MinSNR, UniformWeight, Weighting

__all__ = [
    "P2",
    "VLB",
    "Bound",
    "Hybrid",
    "LogitNormal",
    "Loss",
    "LossSecondMoment",
    "MinSNR",
    "Objective",
    "Stratified",
    "TimeLaw",
    "Uniform",
    "UniformWeight",
    "Weighting",
    "draw_noise",
]
