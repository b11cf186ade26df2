"""Samples: values of the data's own type, as pictures and as files, and how they were made."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.config.sampling import SampleConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import counted, in_one_sentence
from undiffuse.modalities.registry import modality_of
from undiffuse.provenance.npz import write_npz
from undiffuse.provenance.png import Origin, check_free, write_png
from undiffuse.version import __version__
from undiffuse.visualization.grid import grid, to_image

if TYPE_CHECKING:
    from PIL import Image

GRID = 400
"""Pictures in a grid at most: 20 x 20 can still be looked at."""


@dataclass(frozen=True)
class Samples:
    """A sequence of samples.

    Args:
        array: (n, channels, *spatial) in the data's dtype and range.
        info: of the data that the model learned.
        seed, indices: sample k is number ``indices[k]`` of the seed.
        settings: the sampler and its settings.
        provenance: the model's: its checkpoint, step, and the weights' sha256.
        device: kind of the device that computed them; bits are the same for one kind only.
        evaluations: of the denoiser, for each of them; 0 where they were not counted.
    """

    array: np.ndarray
    info: DataInfo
    seed: int
    indices: tuple[int, ...]
    settings: SampleConfig
    provenance: dict[str, Any]
    device: str = "cpu"
    evaluations: int = 0

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        solver, shape = self.settings.solver, " x ".join(map(str, self.info.shape))
        return f"Samples({len(self)} of {shape}; seed {self.seed}; {solver.sampler} in {counted(solver.steps, 'step')})"

    def _repr_png_(self) -> bytes:
        """All of them in one picture, where a notebook shows them."""
        shown = io.BytesIO()
        grid(self.images()[:GRID]).save(shown, format="PNG")
        return shown.getvalue()

    def images(self) -> list[Image.Image]:
        """One picture a sample; a view where a picture cannot hold the values as they are."""
        return [to_image(values, self.info) for values in self.array]

    def grid(self) -> Image.Image:
        """All of them in one picture."""
        return grid(self.images())

    def origin(self, index: int, count: int = 1) -> Origin:
        """The record in the file of sample ``index``, or of a grid of ``count`` samples from there on."""
        return Origin(
            checkpoint=self.provenance.get("checkpoint", ""),
            step=self.provenance.get("step", 0),
            weights_sha256=self.provenance.get("sha256", ""),
            seed=self.seed,
            index=index,
            count=count,
            shape=self.info.shape,
            sample=self.settings,
            version=__version__,
            device=self.device,
        )

    @in_one_sentence
    def save(self, folder: str | Path, *, values: bool | None = None, overwrite: bool = False) -> list[Path]:
        """Write ``00000.png`` ..., ``grid.png`` of the first `GRID` and, with ``values``, ``samples.npz``.

        Args:
            folder: made if it is not there.
            values: write the values too; by default where the file of a sample cannot hold them as they are.
            overwrite: replace files that are there.

        Returns:
            The files written.

        Raises:
            UndiffuseError: a file is there already; nothing was written.
        """
        folder = Path(folder)
        if values is None:
            values = not modality_of(self.info).exact(self.info)
        files = file_names(self.indices, self.info, values)
        for name in files:
            check_free(folder / name, overwrite)
        self.save_pictures(folder, overwrite=overwrite)
        first, shown = self.indices[0], min(len(self), GRID)
        write_png(
            folder / "grid.png",
            grid(self.images()[:shown]),
            self.origin(first, shown),
            overwrite,
            f"a grid of {counted(shown, 'sample')}",
        )
        if values:
            self.save_values(folder / "samples.npz", overwrite=overwrite)
        return [folder / name for name in files]

    @in_one_sentence
    def save_pictures(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write ``00000.png`` ...: one file a sample, each with its origin."""
        for index, values in zip(self.indices, self.array, strict=True):
            path = folder / sample_file(index, self.info)
            modality_of(self.info).write(path, values, self.info, self.origin(index), overwrite)

    @in_one_sentence
    def save_values(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the array as an .npz file (key ``images``) with the samples' origin."""
        write_npz(path, [self.array], self.origin(self.indices[0], len(self)), overwrite)


def sample_file(index: int, info: DataInfo) -> str:
    """Name of a sample's file."""
    return f"{index:05d}{modality_of(info).suffix}"


def file_names(indices: tuple[int, ...] | range, info: DataInfo, values: bool) -> list[str]:
    """The files that `Samples.save` writes."""
    return [*(sample_file(index, info) for index in indices), "grid.png", *(["samples.npz"] if values else [])]
