"""What all edits share: a plan, a random stream a picture, and batches."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from undiffuse.conditioning.class_names import NONE
from undiffuse.conditioning.low_resolution import BatchImages
from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.students import walking_student
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.guidance import Tiled
from undiffuse.diffusion.trajectory import Noise, Sampler, trajectory
from undiffuse.editing.defaults import check_strength
from undiffuse.editing.forecast import Forecast
from undiffuse.editing.students import own_times_from
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model import AnyModel, Cascade, Model
from undiffuse.model.plan import SamplePlan
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import evaluation_mode, own_modes

Pictures = Float[Tensor, "count channels *spatial"]


def edit_plan(model: AnyModel, settings: SampleConfig) -> SamplePlan:
    """The plan of an edit, whose settings say all by themselves.

    Where the settings do not say how many pictures walk together, one does: its bits are then the same beside any
    others, which exact inversions and solvers of adaptive steps would not give in any batch, and costs what one picture
    costs. Where samples would be of all classes by turns, a picture is told none: it says itself what it shows. A stage
    has nothing below it yet: each batch's own small pictures come there.

    Raises:
        UndiffuseError: as for `Model.plan`, or the settings morph from seed to seed.
    """
    if settings.solver.morph_to is not None:
        raise UndiffuseError(
            "An edit begins with a picture, and `morph_to` is for samples, made of noise: leave it out"
        )
    classes = any(condition.name == CLASS for condition in model.conditions)
    untold = classes and not (settings.prompt.classes or settings.guide.classifier)
    asked = settings.changed(classes=(NONE,)) if untold else settings
    if asked.compute.micro_batch is None:
        asked = asked.changed(micro_batch=1)
    if isinstance(model, Cascade) or model.config.conditions.upscale == 1:
        plan = model.plan(asked)
    else:
        plan = model.plan(asked, low_res=BatchImages(torch.empty(0)))
    return replace(plan, settings=plan.settings.changed(classes=())) if untold else plan


@dataclass(frozen=True)
class MicroBatch:
    """Pictures that are edited together.

    Args:
        rows: which, of all that the editor was given.
        indices: the numbers of their random streams, by which classes that are asked for are taken in turns.
        noise: their streams.
        tick: to be called after each step.
    """

    rows: list[int]
    indices: list[int]
    noise: Noise
    tick: Callable[[], object]

    def of(self, pictures: Tensor) -> Tensor:
        """These rows of all pictures, on the device; of what is one for all, that one."""
        found = (pictures[self.rows] if len(pictures) > 1 else pictures).to(self.noise.device)
        return found.clone() if found.is_inference() else found  # no gradient may meet what was made in that mode

    def last(self, walk: Iterator[Batch]) -> Batch:
        """The end of a walk."""
        for x in walk:
            end = x
            self.tick()
        return end


@dataclass(frozen=True)
class Editor:
    """A model and how its edits walk: ``Editor.of(model, settings, seed=0)``.

    Args:
        plan: of `edit_plan`.
        seed: of every random stream.
        indices: number of each picture's stream; 0, 1, ... where none are given. Picture i of a seed gets the same
            noise whatever stands beside it.
        overlap: pixels that tiles share, of the size of the training's pictures; None for the whole picture at once.
        progress: show a bar.
        on_step: called after each step with the number done and that of all, which begins again at each `run`.
    """

    plan: SamplePlan
    seed: int = 0
    indices: tuple[int, ...] = ()
    overlap: int | None = None
    progress: bool = False
    on_step: Callable[[int, int], object] = field(default=lambda done, of: None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.plan, SamplePlan):
            raise UndiffuseError(
                f"An Editor takes a plan, got {type(self.plan).__name__}: Editor.of(model, settings) makes it"
            )

    @classmethod
    def of(cls, model: AnyModel, settings: SampleConfig | None = None, **more: Any) -> Self:
        """The editor of a model that draws by itself, or of a stage for `enlarge`, by these settings."""
        return cls(edit_plan(model, settings or SampleConfig()), **more)

    @property
    def model(self) -> Model:
        return self.plan.model

    def denoiser(self, indices: Sequence[int]) -> Denoiser:
        """The model's denoiser for these numbers of streams, with its threshold, in tiles where they are wanted.

        A stage of a cascade is refused: it sees what it enlarges, not the picture.
        """
        if self.model.config.conditions.upscale > 1:
            raise UndiffuseError(
                "A cascade, or a stage of one, enlarges what is below it and edits nothing else; "
                "edit with a model that draws by itself"
            )

        @cache
        def conditioned(copies: int) -> Denoiser:
            return self.plan.denoiser(list(indices) * copies)

        if self.overlap is None:
            return conditioned(1)
        # A denoiser that was told classes knows one batch of them: several tiles are that batch several times.
        several = conditioned if self.model.conditions else None
        tiles = max(self.plan.micro_batch, self.model.micro_batch)
        return Tiled(conditioned(1), self.model.info.spatial, self.overlap, tiles, several)

    def times_from(self, strength: float) -> Float[Tensor, "fewer"]:
        """The plan's times from this part of the process on, 0 for data and 1 for its end."""
        check_strength(strength)
        if walking_student(self.model.config):
            return own_times_from(self.plan.times, strength, self.model.schedule.t_max)
        return times_from(self.plan.times, torch.tensor(strength * self.model.schedule.t_max, dtype=torch.float64))

    def alone(self, row: int) -> Editor:
        """The editor of one of its pictures, with the same random stream."""
        return replace(self, indices=((self.indices or range(row + 1))[row],))

    def walk(
        self,
        count: int,
        times: Float[Tensor, "points"],
        begin: Callable[[MicroBatch], tuple[Denoiser, Batch]],
        sampler: Sampler[Any] | None = None,
    ) -> Pictures:
        """``count`` pictures walked down some times; ``begin`` gives a micro-batch's denoiser and its first x."""

        def work(batch: MicroBatch) -> Tensor:
            denoiser, x = begin(batch)
            return batch.last(trajectory(denoiser, sampler or self.plan.sampler, times, x, batch.noise))

        return self.run(count, len(times) - 1, work)

    @in_one_sentence
    @own_modes()
    @torch.no_grad()
    def run(
        self, count: int, steps: int, work: Callable[[MicroBatch], Tensor], faster: str = "fewer `steps` take less"
    ) -> Tensor:
        """The results of a work on ``count`` pictures, micro-batch by micro-batch, put together on the CPU.

        Args:
            steps: that each micro-batch takes, for the bar.
            faster: what takes less time, said with a long forecast.
        """
        indices = self.indices or tuple(range(count))
        if len(indices) != count:
            raise UndiffuseError(f"Each of {count} pictures needs a random stream; {len(indices)} are named")
        size = self.plan.micro_batch
        batches = [list(range(first, min(first + size, count))) for first in range(0, count, size)]
        total, ticks = len(batches) * steps, itertools.count(1)
        bar = tqdm(total=total, desc="editing", unit="step", disable=hidden(self.progress))
        with bar, evaluation_mode(self.model.network):
            forecast = Forecast(total, lambda words: tqdm.write(f"{words}; {faster}", file=sys.stderr))

            def tick() -> None:
                bar.update()
                if self.progress:
                    forecast.tick()
                self.on_step(next(ticks), total)

            def batch_of(rows: list[int]) -> MicroBatch:
                own = [indices[k] for k in rows]
                return MicroBatch(rows, own, Noise(self.seed, own, self.model.device), tick)

            return torch.cat([work(batch_of(rows)).cpu() for rows in batches])


def times_from(times: Float[Tensor, "points"], start: Time) -> Float[Tensor, "fewer"]:
    """The part of a grid below ``start``, and ``start`` before it; (0,) where that is data already."""
    below = times[times < start]
    return torch.cat([start.reshape(1), below]) if start > 0 else times[-1:]
