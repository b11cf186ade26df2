"""Bits per dimension as one figure of a model's quality: the variational bound of a few images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from undiffuse.config.students import walking_student
from undiffuse.data.dataset import Dataset
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.evaluation.images import choose
from undiffuse.evaluation.likelihood.evaluate import bound, mean_and_error
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.evaluation.options import MeasureOptions
from undiffuse.evaluation.quality.measurement import Measurement
from undiffuse.model import AnyModel, Cascade


@dataclass(frozen=True)
class Bits:
    """Bits/dim, or nats/dim for float data, and facts of the images and timesteps that they are of."""

    figure: Measurement
    facts: dict[str, Any]


def measure_bits(
    model: AnyModel,
    dataset: Dataset,
    count: int = 64,
    timesteps: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> Bits | None:
    """The bound on -log2 p(x0) per dimension, averaged over images (`likelihood.bound`).

    Args:
        count: images, drawn at random; all where there are fewer.
        timesteps: an image, where the chain has as many.
        seed: of the choice and of the noise.

    Returns:
        None for a model of a continuous process, which has no such bound, for a cascade, whose stages are told small
        images that these do not come with, and for a student, whose x0 is no E[x0 | x_t].
    """
    images, units = choose(dataset, model.info, count, seed), Units.of(model.info)
    if not isinstance(model.schedule, DiscreteSchedule) or isinstance(model, Cascade) or walking_student(model.config):
        return None
    timesteps = min(timesteps, model.schedule.T)
    terms = bound(model, images, count=timesteps, how=MeasureOptions(seed=seed, progress=progress))
    value, error = mean_and_error(units.of_bound(terms.total))
    seen = model.info.learned(dataset.info)
    facts = {
        "name": dataset.info.name,
        "fingerprint": dataset.info.fingerprint,
        "count": len(images),
        "timesteps": timesteps,
        "trained_on": seen,
    }
    warnings = ["the model was trained on these images, and may know them by heart"] if seen else []
    if len(images) < 1000:
        warnings.append(f"of {len(images):,} images: +- is what other images would change")
    figure = Measurement("bits", units.name, "", value, error, "lower", len(images), 0, warning="; ".join(warnings))
    return Bits(figure, facts)
