"""Options that all measurements of a model share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.model import Model
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.torch_modes import evaluation_mode


@dataclass(frozen=True)
class MeasureOptions:
    """The way in which a model is asked about many images.

    Args:
        clip: x0 predictions to [-1, 1], as in sampling and in Ho et al.'s code for the bound.
        seed: of every random stream.
        batch: images per evaluation of the network; by default `Model.micro_batch`, always filled where an image's
            bits are not to depend on how many are measured.
        progress: show a bar (on a terminal only).
    """

    clip: bool = True
    seed: int = 0
    batch: int | None = None
    progress: bool = False

    def size(self, model: Model) -> int:
        return self.batch or model.micro_batch

    def denoiser(self, model: Model) -> Denoiser:
        return model.clipped if self.clip else model.denoiser

    @contextmanager
    def asking(self, model: Model, what: str, total: int, unit: str = "step") -> Iterator[tqdm[Any]]:
        """A bar; inside, the network is in evaluation mode."""
        with (
            evaluation_mode(model.network),
            tqdm(total=total, desc=what, unit=unit, disable=hidden(self.progress)) as bar,
        ):
            yield bar


DEFAULT = MeasureOptions()
