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
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from undiffuse.diffusion.losses.variational_bound import chain_of
from undiffuse.diffusion.reverse_step import Variance
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.likelihood.bound import Terms, bound_of, strata
from undiffuse.evaluation.likelihood.probability_flow import Density, Probe, density_of, dequantise, draw_probes
from undiffuse.evaluation.likelihood.units import Units
from undiffuse.model import Model
from undiffuse.model.cascade import check_alone
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import evaluation_mode, own_modes

Values = TypeVar("Values", Terms, Density)


@own_modes()
def bound(
    model: Model,
    images: Images,
    *,
    variance: Variance | None = None,
    count: int | None = None,
    clip: bool = True,
    seed: int = 0,
    batch: int | None = None,
    progress: bool = False,
    group: Group = ALONE,
) -> Terms:
    """The variational bound of images.

    Args:
        variance: of the model's steps; by default the learned one where there is one, else 'small'.
        count: timesteps an image, see `bound.strata`; by default all.
        clip: x0 predictions to [-1, 1], as Ho et al.'s code does.
        seed: of the noise.
        batch: images per evaluation of the network; by default `Model.micro_batch`, always filled, so that an image's
            bits do not depend on how many are measured.
        group: processes that share the batches out among them; each gets all results.

    Raises:
        UndiffuseError: a continuous process, a bad count, or a variance that was not learned.
    """
    _check(model)
    denoiser = model.clipped if clip else model.denoiser
    steps = len(strata(chain_of(model.schedule).T, count)) - 1
    size = batch or model.micro_batch
    mine = images.part(size, group)
    rounds = math.ceil(len(mine) / size)
    with (
        evaluation_mode(model.network),
        tqdm(total=rounds * steps, desc="bound", unit="step", disable=hidden(progress)) as bar,
    ):
        parts = [
            bound_of(
                denoiser,
                x0,
                indices,
                variance=variance or default_variance(model),
                levels=Units.of(model.info).levels,
                count=count,
                seed=seed,
                on_step=bar.update,
            ).take(kept)
            for indices, x0, kept in batches_of(mine, model, batch)
        ]
    return gathered(Terms.join(parts) if parts else None, Terms, group)


@own_modes()
def ode(
    model: Model,
    images: Images,
    *,
    probes: int = 2,
    probe: Probe = "rademacher",
    rtol: float = 1e-4,
    atol: float = 1e-4,
    clip: bool = True,
    seed: int = 0,
    batch: int | None = None,
    progress: bool = False,
    group: Group = ALONE,
) -> Density:
    """-log p of images by the probability-flow ODE; integers are spread evenly over their bins first.

    Args:
        probes, probe: number and kind of Hutchinson's probes.
        rtol, atol: the error that a step may make.
        clip: x0 predictions to [-1, 1].
        seed: of the probes and the dequantisation.
        batch: images per evaluation of the network; by default `Model.micro_batch`. Whoever has arrived at the noise
            leaves, so the last digits of an image may depend on those beside it.
        group: processes that share the batches out among them; each gets all results.

    Raises:
        UndiffuseError: a tolerance that cannot be met.
    """
    width = Units.of(model.info).bin_width
    _check(model)
    denoiser = model.clipped if clip else model.denoiser
    size = batch or model.micro_batch
    mine = images.part(size, group)
    with (
        evaluation_mode(model.network),
        tqdm(total=len(mine), desc="ODE", unit="image", disable=hidden(progress)) as bar,
    ):
        parts = [
            density_of(
                denoiser,
                dequantise(x0, indices, width, seed),
                draw_probes(x0.shape[1:], indices, probes, probe, seed),
                rtol=rtol,
                atol=atol,
                on_done=bar.update,
            )
            for indices, x0 in mine.batches(size, model.device)
        ]
    return gathered(Density.join(parts) if parts else None, Density, group)


def _check(model: Model) -> None:
    check_alone(model, "a likelihood")
    if not model.codec.exact:
        raise UndiffuseError(
            "A likelihood is of the data's own values, and this model diffuses others, of which those are made only "
            "nearly: measure it by `undiffuse evaluate`"
        )


def batches_of(
    images: Images, model: Model, batch: int | None
) -> Iterator[tuple[list[int], Float[Tensor, "batch *shape"], int]]:
    """(numbers, x0, how many count) of batch after batch.

    Args:
        batch: images of one. By default `Model.micro_batch`, and the last is filled with its last image over and over:
            a row's rounding depends on the size of its batch.
    """
    size = batch or model.micro_batch
    for indices, x0 in images.batches(size, model.device):
        rows = [*range(len(indices)), *[len(indices) - 1] * (0 if batch else size - len(indices))]
        yield [indices[row] for row in rows], x0[rows], len(indices)


def gathered(mine: Values | None, kind: type[Values], group: Group) -> Values:
    """The results of all processes in the order of the images; ``mine`` is None where there was nothing to do."""
    if group.is_single:
        assert mine is not None
        return mine
    found = {}
    for field in fields(kind):
        tensor = None if mine is None or (field.name == "size" and not group.is_main) else getattr(mine, field.name)
        found[field.name] = torch.from_numpy(group.gather_in_order(None if tensor is None else tensor.numpy()))
    return kind(**found)


def default_variance(model: Model) -> Variance:
    """The learned variance where there is one, else 'small': 3.14 bits/dim where 'large' has 3.16, on digits."""
    return "learned" if model.config.diffusion.learn_variance else "small"


def mean_and_error(values: Float[Tensor, "images"]) -> tuple[float, float]:
    """The mean over images and its standard error, which holds every independent noise in the values; NaN for one."""
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), error


@dataclass(frozen=True)
class Table:
    """What was measured of each image, in `units`."""

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


def csv_text(columns: dict[str, list[Any]]) -> str:
    """Columns of equal length as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [f"{value:.6f}" if isinstance(value, float) else value for value in row]
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
