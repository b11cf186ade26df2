"""Likelihoods of a data set's images under a model, both ways, and the table of them.

    terms = bound(model, choose(dataset, model.info, limit=500))
    mean, error = mean_and_error(Units.of(model.info).of_bound(terms.total))

Both are of the model as it is sampled by default, with every x0 prediction clipped to [-1, 1]. That is allowed: the
bound holds for any denoiser, and a clipped velocity is still Lipschitz, so its flow is invertible and its divergence
exists almost everywhere. Where data sit at the end of their range, as the ground of digits does, it is worth much: a
small model of digits has 3.10 bits/dim by the bound and 2.92 by the ODE with clipping, 5.93 and 5.33 without.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.dormand_prince import Tolerance
from undiffuse.diffusion.losses.variational_bound import chain_of
from undiffuse.diffusion.reverse_step import Variance
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.likelihood.bound import Terms, bound_of, strata
from undiffuse.evaluation.likelihood.probability_flow import Density, Probe, density_of, dequantise, draw_probes
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.evaluation.options import DEFAULT, MeasureOptions
from undiffuse.model import Model
from undiffuse.model.cascade import check_denoiser
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.torch_modes import own_modes

Values = TypeVar("Values", Terms, Density)
TOLERANCE = Tolerance(1e-4, 1e-4)


@in_one_sentence
@own_modes()
def bound(
    model: Model,
    images: Images,
    *,
    variance: Variance | None = None,
    count: int | None = None,
    how: MeasureOptions = DEFAULT,
    group: Group = ALONE,
) -> Terms:
    """The variational bound of images.

    Args:
        variance: of the model's steps; by default the learned one where there is one, else 'small'.
        count: timesteps an image, see `bound.strata`; by default all.
        group: processes that share the batches out among them; each gets all results.

    Raises:
        UndiffuseError: a continuous process, a bad count, or a variance that was not learned.
    """
    _check(model)
    # On digits 'small' has 3.14 bits/dim where 'large' has 3.16.
    variance = variance or ("learned" if model.config.diffusion.learn_variance else "small")
    steps = len(strata(chain_of(model.schedule).T, count)) - 1
    size = how.size(model)
    mine = images.part(size, group)
    with how.asking(model, "bound", math.ceil(len(mine) / size) * steps) as bar:
        parts = [
            bound_of(
                how.denoiser(model),
                batch,
                variance=variance,
                levels=Units.of(model.info).levels,
                count=count,
                seed=how.seed,
                on_step=bar.update,
            )
            for batch in mine.batches(size, model.device, fill=how.batch is None)
        ]
    return gathered(Terms, parts, len(mine), group)


@in_one_sentence
@own_modes()
def ode(
    model: Model,
    images: Images,
    *,
    probes: int = 2,
    probe: Probe = "rademacher",
    tolerance: Tolerance = TOLERANCE,
    how: MeasureOptions = DEFAULT,
    group: Group = ALONE,
) -> Density:
    """-log p of images by the probability-flow ODE; integers are spread evenly over their bins first.

    Whoever has arrived at the noise leaves, so the last digits of an image may depend on those beside it.

    Args:
        probes, probe: number and kind of Hutchinson's probes.
        tolerance: the error that a step may make.
        group: processes that share the batches out among them; each gets all results.

    Raises:
        UndiffuseError: a tolerance that cannot be met.
    """
    _check(model)
    width, size = Units.of(model.info).bin_width, how.size(model)
    mine = images.part(size, group)
    with how.asking(model, "ODE", len(mine), "image") as bar:
        parts = [
            density_of(
                how.denoiser(model),
                dequantise(batch.x0, batch.indices, width, how.seed),
                draw_probes(batch.x0.shape[1:], batch.indices, probes, probe, how.seed),
                mask=batch.mask,
                tolerance=tolerance,
                on_done=bar.update,
            )
            for batch in mine.batches(size, model.device)
        ]
    return gathered(Density, parts, len(mine), group)


def _check(model: Model) -> None:
    check_denoiser(model, "a likelihood")
    if not model.codec.exact:
        raise UndiffuseError(
            "A likelihood is of the data's own values, and this model diffuses others, of which those are made only "
            "nearly: measure it by `undiffuse evaluate`"
        )


def gathered(kind: type[Values], parts: Sequence[Values], count: int, group: Group = ALONE) -> Values:
    """The first ``count`` results of this process's batches, and those of all others, in the order of the images."""
    found = {}
    for field in fields(kind):
        mine = torch.cat([getattr(part, field.name) for part in parts])[:count].numpy() if parts else None
        found[field.name] = torch.from_numpy(group.gather_in_order(mine))
    return kind(**found)


def mean_and_error(values: Float[Tensor, "images"]) -> tuple[float, float]:
    """The mean over images and its standard error, which holds every independent noise in the values; NaN for one."""
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), error


@dataclass(frozen=True)
class Table:
    """The measurements of each image, in `units`."""

    units: Units
    images: Images
    terms: Terms | None = None
    density: Density | None = None

    def columns(self) -> dict[str, list[Any]]:
        """Numbers and names of the images, then each method's value and standard error."""
        names = self.images.dataset.names()
        found: dict[str, list[Any]] = {
            "index": list(self.images.indices),
            "name": [names[index] for index in self.images.indices],
        }
        if self.terms is not None:
            found["bound"] = self.units.of_bound(self.terms.total).tolist()
            found["bound_error"] = self.units.of_difference(self.terms.error).tolist()
        if self.density is not None:
            found["ode"] = self.units.of_density(self.density.total).tolist()
            found["ode_error"] = self.units.of_difference(self.density.error).tolist()
            found["ode_evaluations"] = self.density.evaluations.tolist()
        return found

    def csv(self) -> str:
        return csv_text(self.columns())

    def json(self, settings: dict[str, Any]) -> str:
        """The same with how it was measured."""
        return json_text({"units": self.units.name, **settings, "images": self.columns()})


def csv_text(columns: dict[str, list[Any]], digits: str = ".6f") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [f"{value:{digits}}" if isinstance(value, float) else value for value in row]
        for row in zip(*columns.values(), strict=True)
    )
    return text.getvalue()


def json_text(found: dict[str, Any]) -> str:
    """JSON with null for NaN, as under "images" where a single probe has no error."""
    images = {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in column]
        for name, column in found["images"].items()
    }
    return json.dumps({**found, "images": images}, indent=1, allow_nan=False) + "\n"
