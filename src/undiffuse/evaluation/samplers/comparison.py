"""Samplers side by side at equal cost: each gets the same numbers of network evaluations and the same noise.

A budget is of evaluations, not of steps: a sampler that asks the network twice a step takes half as many. The steps
that fit are found by walking an exact denoiser of one number, which costs nothing, and what a walk of the network took
is counted, not computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from undiffuse.config import registry
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.masks import check_unmasked
from undiffuse.diffusion.exact_denoisers import gaussian_denoiser
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import VP
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, iterate_steps, start
from undiffuse.errors import UndiffuseError, counted, perhaps
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.samplers.energy_distance import energy_distance, energy_floor
from undiffuse.factories.sampler import KIND, make_sampler
from undiffuse.model import AnyModel
from undiffuse.model.plan import SamplePlan
from undiffuse.model.sample_request import of_sampler, unheeded, warn
from undiffuse.model.student_request import check_denoises
from undiffuse.visualization.captions import labeled
from undiffuse.visualization.grid import grid, to_image

DEFAULT = ("ddim", "dpm++2m", "unipc2", "deis3", "ddpm", "dpm++2m-sde")
BUDGETS = (5, 10, 20, 50, 100)
SHOWN = 8
"""At most so many samples of a cell are in the picture."""


@dataclass(frozen=True)
class Contest:
    """The rows, columns and samples of a comparison.

    Args:
        samplers: names, or texts of registered ones with options: ``mine(strength=0.5)``.
        budgets: numbers of evaluations.
        n, seed: samples 0 .. n - 1 of this seed, in each cell.
    """

    samplers: tuple[str, ...] = DEFAULT
    budgets: tuple[int, ...] = BUDGETS
    n: int = SHOWN
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One sampler at one budget.

    Args:
        settings: with the steps that fit.
        evaluations: of the network, counted.
        seconds: an image.
        array: the samples in the data's own values.
        distance: from the reference; None without one.
    """

    settings: SampleConfig
    evaluations: int
    seconds: float
    array: np.ndarray
    distance: float | None


@dataclass(frozen=True)
class EnergyReference:
    """Real images in model space to measure the distance from, and that distance between two real sets of n."""

    x: Float[Tensor, "n *shape"]
    floor: float
    name: str

    @classmethod
    def of(cls, images: Images, n: int) -> EnergyReference:
        """Half of 2 n images; both halves measure the floor."""
        check_unmasked(images.dataset, "A distance of pixels")
        if n < 2 or len(images) < 2 * n:
            raise UndiffuseError(
                f"A distance between sets of {n} needs `n` of at least 2 and {2 * n} reference images, for its floor; "
                f"'{images.dataset.info.name}' gave {len(images)}: lower `n`"
            )
        x = torch.cat([batch.x0 for batch in images.batches(256)])[: 2 * n]
        return cls(x[::2], energy_floor(x), images.dataset.info.name)  # every other one: files may be sorted by class


def _aligned(column: Sequence[str], words: bool) -> list[str]:
    """A column of a Markdown table with the rule below its head: words on the left, numbers on the right."""
    width = max(map(len, column))
    head, *cells = [f" {cell.ljust(width) if words else cell.rjust(width)} " for cell in column]
    return [head, "-" * (width + 2) if words else "-" * (width + 1) + ":", *cells]


@dataclass(frozen=True)
class SamplerComparison:
    """Cells by sampler, then by budget."""

    contest: Contest
    cells: tuple[tuple[Cell, ...], ...]
    model: AnyModel
    reference: EnergyReference | None = None

    def markdown(self) -> str:
        """The table, and below it what its columns mean."""
        head = ["sampler", "spacing", "budget", "steps", "evaluations", "ms an image"]
        rows = [head + (["distance"] if self.reference else [])]
        for name, row in zip(self.contest.samplers, self.cells, strict=True):
            for budget, cell in zip(self.contest.budgets, row, strict=True):
                solver = cell.settings.solver
                distance = [] if cell.distance is None else [f"{cell.distance:.4f}"]
                numbers = [str(n) for n in (budget, solver.steps, cell.evaluations)]
                rows.append([name, solver.spacing, *numbers, f"{1000 * cell.seconds:.1f}", *distance])
        columns = [_aligned(column, words=k < 2) for k, column in enumerate(zip(*rows, strict=True))]
        lines = [f"|{'|'.join(row)}|" for row in zip(*columns, strict=True)]
        return "\n".join([*lines, "", *self._notes()]) + "\n"

    def _notes(self) -> list[str]:
        n, how = self.contest.n, self.cells[0][0].settings
        notes = [
            f"{counted(n, 'sample')} a row, numbers 0 to {n - 1} of seed {self.contest.seed}, by "
            f"{self.model.provenance.get('checkpoint', 'a model')} (weights: {how.compute.weights}), x0 threshold: "
            f"{how.guide.threshold}; wall time on {self.model.device.type} in {how.compute.precision}, "
            f"{counted(how.compute.slots, 'image')} at a time.",
        ]
        if self.reference is not None:
            notes += [
                "",
                f"distance: energy distance of pixels, unbiased, between {n} samples and {n} images of "
                f"'{self.reference.name}'; between two real sets of {n} it is {self.reference.floor:.4f} (root mean "
                "square), the floor: differences of that size are chance. Pixels are a poor judge of looks.",
            ]
        return notes

    def picture(self) -> Image.Image:
        cells = [[self._tile(cell) for cell in row] for row in self.cells]
        budgets = [str(n) for n in self.contest.budgets]
        return labeled(cells, self.contest.samplers, budgets, ("sampler", "network evaluations"))

    def _tile(self, cell: Cell) -> Image.Image:
        images = [to_image(values, self.model.info) for values in cell.array[:SHOWN]]
        return grid(images, columns=math.ceil(math.sqrt(2 * len(images))))


def check_samplers(names: Sequence[str]) -> None:
    """Refuse unknown names, and samplers whose evaluations nobody can choose."""
    for text in names:
        name = registry.read(KIND, text)[0]
        if name not in SAMPLERS:
            raise UndiffuseError(f"There is no sampler '{name}'{perhaps(name, SAMPLERS)}")
        if text != name:
            registry.check(KIND, text)
        if SAMPLERS[name].evaluations_per_step is None:
            raise UndiffuseError(
                f"'{name}' decides itself how often it asks the network, so it has no place in a comparison"
            )


def steps_within(settings: SampleConfig, budget: int) -> int:
    """The most steps that take no more than ``budget`` evaluations.

    Raises:
        UndiffuseError: not even one does; a single step of the library's own samplers, to data, takes one.
    """
    for steps in range(budget, 0, -1):
        if (cost := _cost(settings.changed(steps=steps))) <= budget:
            return steps
    raise UndiffuseError(
        f"The sampler '{settings.solver.sampler}' asks the network {cost} times in one step, and `evaluations` allows "
        f"{budget}: allow more"
    )


def _cost(settings: SampleConfig) -> int:
    """Evaluations of a walk. How often a sampler asks depends on the number of its steps alone, not on the process."""
    denoiser = gaussian_denoiser(VP())
    noise = Noise(0, [0])
    times = make_timesteps(denoiser.schedule, settings.solver.steps, "trailing")
    *_, end = iterate_steps(denoiser, make_sampler(settings.solver), times, start(denoiser, (1,), noise), noise)
    return end.evaluations


def compare(
    model: AnyModel,
    contest: Contest,
    *,
    settings: SampleConfig | None = None,
    reference: EnergyReference | None = None,
    on_cell: Callable[[], object] = lambda: None,
) -> SamplerComparison:
    """Draw the same samples by every sampler at every budget.

    Args:
        settings: everything but the sampler and its steps.
        reference: as many real images as there are samples.

    Raises:
        UndiffuseError: a sampler that cannot be compared, or more steps than the chain has.
    """
    check_samplers(contest.samplers)
    check_denoises(model.config, "a comparison of samplers")
    settings = settings or SampleConfig()
    if settings.solver.times:
        raise UndiffuseError(
            "Samplers are compared over `spacing`, which makes times for any number of steps, not `times`"
        )
    warn(unheeded(settings, True, contest.samplers))  # what the model decides is said when it draws
    rows = []
    for name in contest.samplers:
        chosen = of_sampler(settings, name)
        row = []
        for budget in contest.budgets:
            plan = model.plan(chosen.changed(steps=steps_within(chosen, budget)))
            row.append(_draw(plan, contest, reference))
            on_cell()
        rows.append(tuple(row))
    return SamplerComparison(contest, tuple(rows), model, reference)


def _draw(plan: SamplePlan, contest: Contest, reference: EnergyReference | None) -> Cell:
    begun = time.perf_counter()
    drawn = list(plan.draw(range(contest.n), contest.seed))
    seconds = (time.perf_counter() - begun) / (len(drawn) * plan.micro_batch)
    array = np.concatenate([samples.array for samples in drawn])
    # Measured as the images are kept: clipped and rounded.
    distance = None if reference is None else energy_distance(plan.model.codec.encode(array), reference.x)
    return Cell(plan.settings, drawn[0].evaluations, seconds, array, distance)
