"""What training minimises: a time law, a weighting and a distance."""

from undiffuse.objectives.hybrid import Bound, Hybrid
from undiffuse.objectives.make import make_objective
from undiffuse.objectives.simple import Loss, Objective, draw_noise
from undiffuse.objectives.time_law import LogitNormal, LossSecondMoment, Stratified, TimeLaw, Uniform, make_time_law
from undiffuse.objectives.weighting import P2, VLB, MinSNR, UniformWeight, Weighting, make_weighting

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
    "make_objective",
    "make_time_law",
    "make_weighting",
]
