"""What settings come to: a `SamplePlan`, made once by `model.resolve`, which everything that draws iterates.

    plan = model.plan(steps=50, classes=("seven",))
    for step in plan.iterate(range(4), seed=0):    # the walk itself: previews, animations, the studio
        ...
    for samples in plan.draw(range(50_000)):       # samples, a micro-batch at a time: files, metrics
        ...
    plan.sample(16)                                # samples at once

Sample i of a seed is always computed in slot i mod micro_batch, beside the same neighbours, because a convolution's
rounding may depend on the batch and on the place in it. So its bits depend on (seed, i, micro_batch) alone.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from undiffuse.conditioning.low_resolution import LowResSource, Small, enlarging
from undiffuse.conditioning.request import GuidedRequest
from undiffuse.config.keywords import SampleSettings
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.guidance import THRESHOLDS
from undiffuse.diffusion.trajectory import Noise, NoiseBetween, Sampler, SamplingStep, iterate_steps, start
from undiffuse.errors import UndiffuseError, counted, in_one_sentence
from undiffuse.model.samples import Samples
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import evaluating, own_modes

if TYPE_CHECKING:
    from undiffuse.model.model import Model

MOST = 100_000_000
"""Samples asked for at once: their numbers alone, in micro-batches, take memory."""


@dataclass(frozen=True)
class SamplePlan:
    """Everything that decides samples but their numbers; no file is opened while they are drawn.

    Args:
        model: that draws; of a cascade its last stage.
        settings: the request in full, which makes the same samples again.
        request: what the samples are to be.
        sampler: the rule of a step.
        times: from noise to data.
        low_res: of a stage: where its small images come from.
    """

    model: Model
    settings: SampleConfig
    request: GuidedRequest
    sampler: Sampler[Any]
    times: Float[Tensor, "points"]
    low_res: LowResSource | None = None
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", len(self.times) - 1)

    def __repr__(self) -> str:
        return f"SamplePlan({self.settings.solver.sampler} in {counted(self.steps, 'step')}; {self.model!r})"

    @property
    def micro_batch(self) -> int:
        """Samples that are evaluated together."""
        return self.settings.compute.slots

    def blocks(self, indices: range) -> list[range]:
        """The numbers cut at multiples of the micro-batch: each block is drawn in one go."""
        size = self.micro_batch
        cuts = range(indices.start // size * size, indices.stop, size)
        return [range(max(cut, indices.start), min(cut + size, indices.stop)) for cut in cuts]

    def with_micro_batch(self, size: int) -> SamplePlan:
        return replace(self, settings=self.settings.changed(micro_batch=size))

    def with_network(self, network: nn.Module) -> SamplePlan:
        """The plan with another module of the same parameters, such as one that many requests share."""
        return replace(self, model=self.model.with_network(network))

    @cached_property
    def _evaluated(self) -> Denoiser:
        return self.model.evaluated(self.settings.compute)

    @in_one_sentence
    @own_modes()
    def denoiser(self, indices: Sequence[int], seed: int = 0) -> Denoiser:
        """The denoiser with guidance and threshold, for a batch of the samples of these numbers.

        Args:
            seed: of the samples; a stage's small images are drawn by it when the denoiser is first asked.
        """
        found: Denoiser = self._evaluated
        factor = self.model.config.conditions.upscale
        if factor > 1:
            assert self.low_res is not None, "`make_plan` checks that a stage has one"
            found = enlarging(found, self.low_res, factor, self.settings.guide.augmentation, indices, seed)
        return THRESHOLDS[self.settings.guide.threshold](self.request.denoiser(found, indices))

    @in_one_sentence
    def iterate(self, indices: range, seed: int = 0) -> Iterator[SamplingStep]:
        """Every time of the walk of these samples, from pure noise to data, their rows alone, on the CPU.

        Where they lie in several micro-batches, those are walked in step.
        """
        blocks = self.blocks(indices)
        for steps in zip(*(self._walk(block, seed) for block in blocks), strict=True):
            yield SamplingStep.join([self._rows(step, block) for step, block in zip(steps, blocks, strict=True)])

    def _rows(self, step: SamplingStep, block: range) -> SamplingStep:
        return step.rows([index % self.micro_batch for index in block])

    @own_modes()
    def _walk(self, block: range, seed: int) -> Iterator[SamplingStep]:
        """The walk of the whole micro-batch that holds a block."""
        first = block.start // self.micro_batch * self.micro_batch
        slots = range(first, first + self.micro_batch)
        denoiser = self.denoiser(slots, seed)
        noise = self._noise(seed, slots)
        steps = iterate_steps(denoiser, self.sampler, self.times, start(denoiser, self.model.shape, noise), noise)
        return evaluating(self.model.network, steps)

    def _noise(self, seed: int, indices: Sequence[int]) -> Noise:
        solver, device = self.settings.solver, self.model.device
        if solver.morph_to is None:
            return Noise(seed, indices, device)
        return NoiseBetween(Noise(seed, indices), Noise(solver.morph_to, indices), solver.morph, device)

    @in_one_sentence
    def draw(self, indices: range, seed: int = 0, on_step: Callable[[], object] = lambda: None) -> Iterator[Samples]:
        """Samples of these numbers, micro-batch after micro-batch; one of them at a time is in memory.

        Args:
            indices: numbers of the samples, in steps of 1.
            seed: of the noise, not negative.
            on_step: called after every step of the sampler, for a progress bar.

        Raises:
            UndiffuseError: numbers that cannot be.
        """
        indices, seed = checked_range(indices, seed)
        for block in self.blocks(indices):
            walk = self._walk(block, seed)
            step = next(walk)
            for step in walk:  # noqa: B007 - the last one is the end
                on_step()
            yield self.samples(self._rows(step, block), block, seed)

    def samples(self, end: SamplingStep, indices: Sequence[int], seed: int) -> Samples:
        """The samples of these numbers, one a row of the end of their walk."""
        with own_modes():
            array = self.model.codec.decode(end.x)
        model = self.model
        how = (model.info, seed, tuple(indices), self.settings, model.provenance, model.device.type, end.evaluations)
        return Samples(array, *how)

    @in_one_sentence
    def sample(self, n: int, seed: int = 0, *, first: int = 0, progress: bool = False, group: Group = ALONE) -> Samples:
        """Samples ``first`` .. ``first + n - 1`` of a seed.

        Args:
            n: how many, at least 1.
            seed: of the noise, not negative.
            first: number of the first one.
            progress: show a progress bar.
            group: processes that share the micro-batches out among them; each gets all samples, bit for bit those of
                one process.

        Raises:
            UndiffuseError: numbers that cannot be.
        """
        n, seed, first = whole_numbers(n=n, seed=seed, first=first)
        check_numbers(n, seed, first)
        blocks = group.shard(self.blocks(range(first, first + n)))
        with tqdm(total=len(blocks) * self.steps, desc="sampling", unit="step", disable=hidden(progress)) as bar:
            made = [samples for block in blocks for samples in self.draw(block, seed, bar.update)]
        array = group.gather_in_order(np.concatenate([part.array for part in made]) if made else None)
        model, indices = self.model, tuple(range(first, first + n))
        how = (model.info, seed, indices, self.settings, model.provenance, model.device.type)
        return Samples(array, *how, max((part.evaluations for part in made), default=0))


@dataclass(frozen=True)
class LowerStage:
    """The samples of a plan as the small images of the stage above: sample i stands upon sample i.

    Args:
        plan: of the model of small images; perhaps of a stage itself.
    """

    plan: SamplePlan

    @property
    def conditions(self) -> frozenset[str]:
        own = frozenset(condition.name for condition in self.plan.model.conditions if not condition.required)
        return own | (self.plan.low_res.conditions if self.plan.low_res else frozenset())

    def __call__(self, indices: Sequence[int], seed: int) -> Small:
        together = len(indices) == indices[-1] + 1 - indices[0]
        runs = [range(indices[0], indices[-1] + 1)] if together else [range(i, i + 1) for i in indices]
        below = stream_seed(seed, "below")  # the same seed would start both from related noise
        drawn = [samples.array for run in runs for samples in self.plan.draw(run, below)]
        return self.plan.model.codec.encode(np.concatenate(drawn))


class DrawsByPlan(ABC):
    """The drawing of a model or a cascade, which make plans."""

    @abstractmethod
    def plan(self, settings: SampleConfig | None = None, **overrides: Unpack[SampleSettings]) -> SamplePlan:
        """The plan for settings, of which ``**overrides`` changes single fields."""

    @in_one_sentence
    @own_modes()
    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        first: int = 0,
        settings: SampleConfig | None = None,
        progress: bool = False,
        group: Group = ALONE,
        **overrides: Unpack[SampleSettings],
    ) -> Samples:
        """Samples ``first`` .. ``first + n - 1`` of a seed: ``model.sample(16, steps=20)``.

        Sample i of a seed is the same, to the last bit on one machine, whatever n and first are. The arguments are
        those of `plan` and of `SamplePlan.sample`.
        """
        return self.plan(settings, **overrides).sample(n, seed, first=first, progress=progress, group=group)

    @in_one_sentence
    def draw(
        self,
        indices: range,
        seed: int = 0,
        *,
        settings: SampleConfig | None = None,
        on_step: Callable[[], object] = lambda: None,
        **overrides: Unpack[SampleSettings],
    ) -> Iterator[Samples]:
        """Samples of these numbers, micro-batch after micro-batch: ``for samples in model.draw(range(50_000)): ...``.

        They are the samples of `sample`, and only one micro-batch of them is ever in memory. The arguments are those of
        `plan` and of `SamplePlan.draw`.
        """
        return self.plan(settings, **overrides).draw(indices, seed, on_step)


def checked_range(indices: Any, seed: Any) -> tuple[range, int]:
    """Numbers of samples and the seed of their noise, as plain whole numbers.

    Raises:
        UndiffuseError: they are other things, or out of range.
    """
    if not isinstance(indices, range) or indices.step != 1:
        raise UndiffuseError(f"The samples to draw must be a range in steps of 1, such as range(16), got {indices!r}")
    if indices.stop - indices.start > MOST:  # len() itself fails beyond the machine's integers
        raise UndiffuseError(f"Sampling takes at most {MOST:,} samples at a time, got {indices!r}: draw them in parts")
    (seed,) = whole_numbers(seed=seed)
    check_numbers(len(indices), seed, indices.start)
    return indices, seed


def check_numbers(n: int, seed: int, first: int) -> None:
    """Check how many samples are asked for, and their numbers.

    Raises:
        UndiffuseError: one of them is out of range.
    """
    if n > MOST:
        raise UndiffuseError(
            f"Sampling takes at most {MOST:,} samples at a time, and n is {n:,}: draw them in parts, with first"
        )
    if n < 1 or seed < 0 or first < 0:
        raise UndiffuseError(
            "Sampling needs n of at least 1, and seed and first of at least 0; it got "
            f"n={n}, seed={seed}, first={first}"
        )


def whole_numbers(**values: Any) -> list[int]:
    """Numbers that Python's callers may have as NumPy's or as tensors, as the plain ones that files can hold.

    Raises:
        UndiffuseError: one is no whole number, such as 2.5, "2" or None.
    """
    for name, value in values.items():
        if not hasattr(value, "__index__") or getattr(value, "shape", ()) != ():
            raise UndiffuseError(f"{name} must be a whole number, got {value!r}")
    try:
        return [operator.index(value) for value in values.values()]
    except TypeError:  # NumPy's and torch's numbers that are not whole
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise UndiffuseError(f"expected whole numbers, got {shown}") from None
