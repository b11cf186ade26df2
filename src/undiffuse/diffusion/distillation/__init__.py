"""Students: networks that learn to do in a few evaluations what a teacher does in many.

Every objective here is one sentence. Draw x_t = alpha_t x0 + sigma_t eps; let somebody say, without gradients, where
x_t should be at an earlier time s; and ask the student for the pair (x~, e~) whose DDIM step takes it there.

    match         the teacher's own pair at t                       another row, or guidance, in one evaluation
    progressive   two steps of the teacher, t -> m -> s             Salimans & Ho 2022
    consistency   the student's own x0 from x_s, a little earlier   Song et al. 2023; Geng et al. 2024
    regression    the teacher's own walk from the same noise        Luhman & Luhman 2021
    distribution  where a critic and the teacher differ             Yin et al. 2024
    jump          two of its own jumps of half the length           Frans et al. 2024

Reading order: `moves`, `match`, `progressive`, `regression`, `jump`, `consistency`; the laws of t are in `times`.
"""

from undiffuse.diffusion.distillation.consistency import Annealed, Consistency, Neighbors
from undiffuse.diffusion.distillation.distribution import Between, DistributionMatching
from undiffuse.diffusion.distillation.jump import Jump, jump_law
from undiffuse.diffusion.distillation.match import Match
from undiffuse.diffusion.distillation.moves import implied, move
from undiffuse.diffusion.distillation.progressive import Progressive
from undiffuse.diffusion.distillation.regression import Regression
from undiffuse.diffusion.distillation.times import LogNormalRatio, OnGrid

__all__ = [
    "Annealed",
    "Between",
    "Consistency",
    "DistributionMatching",
    "Jump",
    "LogNormalRatio",
    "Match",
    "Neighbors",
    "OnGrid",
    "Progressive",
    "Regression",
    "implied",
    "jump_law",
    "move",
]
