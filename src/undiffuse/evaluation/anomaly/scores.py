"""Scores of how strange a model finds images, each standardised on normal images that the model was not trained on.

Likelihood alone fails: it is mostly the price of fine detail, so that smooth images of things never seen can be cheaper
than those that were learned (Nalisnick et al. 2019, https://arxiv.org/abs/1810.09136; Serra et al. 2020,
https://arxiv.org/abs/1909.11480). What a model knows of *shape* it uses where noise has drowned detail: there it must
guess, and guesses wrongly what it never saw (Graham et al. 2023, https://arxiv.org/abs/2211.07740).

    bound           the variational bound
    ode             the probability-flow ODE's likelihood, where it was asked for: dear
    reconstruction  noise the image to several levels, denoise it, log of the mean square error; mean over levels
    structure       the same at the middle levels, less what the error at the finest level predicts: an intricate image
                    is harder at every level, a strange one only where its shape must be guessed
    typicality      how far the error at the finest level lies from the normal one, on either side: images may be too
                    simple as well as too intricate (Nalisnick et al. 2019, https://arxiv.org/abs/1906.02994)
    ensemble        structure + 2 max(0, typicality - 1.5): strange in shape, or out of the normal range in detail

The error of the predicted noise is no score of its own: eps_hat - eps = -(alpha / sigma)(x0_hat - x0), so that in logs
and standardised it is the reconstruction's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import ImageBatch

FINE = (6.0,)
"""Log-SNR at which only fine detail is in doubt."""
MIDDLE = (-0.5, -1.0, -1.5)
"""Log-SNRs at which an image's shape must be guessed, a little more noise than signal: what measured best on digits of
28 x 28. At -2.5 a held-out class is no longer told from the others: what is rebuilt is another image."""
USUAL, WEIGHT = 1.5, 2.0
"""In the ensemble: standard deviations of the fine error that are nothing to speak of, and what each further one adds.
Chosen on digits: less weight misses the class 1, whose images are simpler than all others, more drowns the shape."""
LEAST_NORMAL = 8
"""Normal images below which nothing is standardised."""
REACH = 2.5
"""How far from the normal mean, in standard deviations, the fine error may explain the middle one. The line that was
fitted to normal images would explain any error of something far away, such as noise."""
TINY = 1e-12
"""Keeps the log of an exact reconstruction finite."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ReconstructionSettings:
    """The way in which images are looked at.

    Args:
        fine, middle: log-SNRs of the levels.
        draws: noises a level; their errors are averaged.
        steps: evaluations per reconstruction: 1 is the x0 prediction, more walk there by DDIM.
        seed: of the noise.
    """

    fine: tuple[float, ...] = FINE
    middle: tuple[float, ...] = MIDDLE
    draws: int = 8
    steps: int = 1
    seed: int = 0

    @property
    def levels(self) -> tuple[float, ...]:
        return (*self.fine, *self.middle)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network, an image."""
        return len(self.levels) * self.draws * self.steps


@torch.no_grad()
def error_maps(
    denoiser: Denoiser,
    images: ImageBatch,
    look: ReconstructionSettings,
    on_step: Callable[[], object] = lambda: None,
) -> Float[Tensor, "images levels *spatial"]:
    """Square errors of the reconstructions, means over draws and channels: where an image is not as expected."""
    x0, streams = images.x0, images.streams(look.seed, "anomaly")
    maps = []
    for level in look.levels:
        total = torch.zeros_like(x0[:, 0])
        for _ in range(look.draws):
            rebuilt = reconstruct(denoiser, x0, images.noise(streams), level, look.steps)
            total += (rebuilt - x0).square().mean(1)
            on_step()
        maps.append(total / look.draws)
    return torch.stack(maps, dim=1)


def reconstruct(
    denoiser: Denoiser,
    x0: Float[Tensor, "images *shape"],
    eps: Float[Tensor, "images *shape"],
    level: float,
    steps: int = 1,
) -> Float[Tensor, "images *shape"]:
    """Noise x0 to a log-SNR and denoise it again: the x0 prediction, after ``steps - 1`` steps of DDIM.

    The steps are even in log-SNR, on a way that ends at the finest level that the schedule knows, or at 8.
    """
    schedule = denoiser.schedule
    first = torch.tensor(schedule.t_min, dtype=torch.float64)
    finest = min(8.0, float(schedule.log_snr(first)))
    levels = torch.linspace(level, max(level, finest), steps + 1, dtype=torch.float64)[:-1]
    times = schedule.inverse_log_snr(levels).clamp(first, torch.tensor(schedule.t_max, dtype=torch.float64))
    x = q_sample(x0, eps, schedule(times[0]))
    for t, s in pairwise(times):
        prediction = denoiser(x, t)
        x = q_sample(prediction.x0, prediction.eps, schedule(s))  # DDIM with eta = 0
    return denoiser(x, times[-1]).x0


@dataclass(frozen=True)
class Features:
    """The measurements of each image, before anything is standardised.

    Args:
        log_error: of the reconstructions at each level of the look.
        bound, ode: nats per dimension; None where not measured.
    """

    log_error: Array
    bound: Array | None = None
    ode: Array | None = None

    def __len__(self) -> int:
        return len(self.log_error)

    def take(self, rows: NDArray[np.int64]) -> Features:
        return Features(
            self.log_error[rows],
            None if self.bound is None else self.bound[rows],
            None if self.ode is None else self.ode[rows],
        )


def log_errors(maps: Float[Tensor, "images levels *spatial"]) -> Array:
    """log of the mean square error at each level."""
    errors: Array = torch.log(maps.cpu().double().flatten(2).mean(2) + TINY).numpy()
    return errors


@dataclass(frozen=True)
class Standard:
    """The measure of what is normal: scores are in standard deviations of normal images, 0 being their mean.

    Args:
        normal: features of normal images that the model was not trained on; at least `LEAST_NORMAL`.
        fine: number of the fine levels, which are the first ones.
    """

    normal: Features
    fine: int = len(FINE)

    def __post_init__(self) -> None:
        if len(self.normal) < LEAST_NORMAL:
            raise UndiffuseError(
                f"Scores are standardised on at least {LEAST_NORMAL} normal images, and there are {len(self.normal)}; "
                "give more by `normal`"
            )

    def scores(self, features: Features) -> dict[str, Array]:
        """Each score of each image by name; higher is stranger."""
        judged, normal = self._raw(features), self._raw(self.normal)
        scores = {name: _standardized(judged[name], normal[name]) for name in judged}
        fine = _standardized(features.log_error, self.normal.log_error)[:, : self.fine].mean(1)
        scores["typicality"] = np.abs(fine)
        scores["ensemble"] = scores["structure"] + WEIGHT * (scores["typicality"] - USUAL).clip(0)
        return scores

    def _raw(self, features: Features) -> dict[str, Array]:
        likelihoods = {"bound": features.bound, "ode": features.ode}
        raw = {name: values for name, values in likelihoods.items() if values is not None}
        levels = _standardized(features.log_error, self.normal.log_error)
        raw["reconstruction"] = levels.mean(1)
        raw["structure"] = self._unexplained(levels)
        return raw

    def _unexplained(self, levels: Array) -> Array:
        """The middle levels' mean, less its linear prediction from the fine ones, fitted on normal images."""
        known = _standardized(self.normal.log_error, self.normal.log_error)
        design = np.column_stack([known[:, : self.fine], np.ones(len(known))])
        weights, *_ = np.linalg.lstsq(design, known[:, self.fine :].mean(1), rcond=None)
        reached = levels[:, : self.fine].clip(-REACH, REACH)
        unexplained: Array = levels[:, self.fine :].mean(1) - reached @ weights[:-1] - weights[-1]
        return unexplained


def _standardized(values: Array, normal: Array) -> Array:
    spread = normal.std(0)
    result: Array = (values - normal.mean(0)) / np.where(spread > 0, spread, 1.0)
    return result
