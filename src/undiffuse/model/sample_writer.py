"""Samples to disk as they are drawn: memory does not grow with their number, and what was interrupted goes on.

Each micro-batch is drawn, written and forgotten. A file appears under its name only when it is whole, and says by
itself of which weights, seed and settings it is; so whatever files are there say what is still to be drawn, and a
second attempt needs no other memory of the first. Since sample i does not depend on those beside it, many processes
share the numbers out and write into one folder, and what comes of all that is, byte for byte, that of one undisturbed
run.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError, counted
from undiffuse.modalities.registry import modality_of
from undiffuse.model.plan import SamplePlan, checked_range
from undiffuse.model.samples import GRID, Samples, sample_file
from undiffuse.provenance.npz import read_npz, read_origin, write_npz
from undiffuse.provenance.png import END, SIGNATURE, Origin, check_free, read_metadata, write_png
from undiffuse.runtime.durable_files import UnwritableError, check_writable, unwritable
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.standard_streams import hidden
from undiffuse.visualization.grid import grid

PARTS = ".samples-npz"
"""Folder of the values of each micro-batch until all are there."""
PLACE = ("checkpoint",)
"""What may differ between two makings of one file: the model's folder may have been moved."""
RESUME = "give another place with `out`, then go on with `resume`"
NUMBERS = (*PLACE, "index", "count")
"""What may differ, too, between a file of all samples and one of more of them."""


@dataclass(frozen=True)
class Drawn:
    """A set of samples on the disk.

    Args:
        new, kept: numbers of pictures that this process drew now, and that were there.
        exact: whether the pictures hold the values as they are.
        values: whether ``samples.npz`` is there, too.
    """

    new: int
    kept: int
    exact: bool
    values: bool


@dataclass(frozen=True)
class Writing:
    """The kinds of file to write, and the fate of files that are there.

    Args:
        values: write the values too; by default where a PNG cannot hold them as they are.
        overwrite: replace files that are there.
        resume: keep those of them that are whole and what would be drawn now.
    """

    values: bool | None = None
    overwrite: bool = False
    resume: bool = False


def draw_to(
    folder: Path,
    plan: SamplePlan,
    indices: range,
    seed: int = 0,
    writing: Writing = Writing(),
    group: Group = ALONE,
    progress: bool = False,
) -> Drawn:
    """Write ``00000.png`` ..., ``grid.png`` of the first `GRID` of them and, with values, ``samples.npz``.

    Args:
        folder: made if it is not there; all processes must see the same.
        plan: of the samples; to go on, `micro_batch_in` says which micro-batch the files there are of.
        indices: numbers of the samples, in steps of 1.
        seed: of the noise.
        group: processes that share the micro-batches out among them.
        progress: show a bar with the time left.

    Raises:
        UndiffuseError: numbers that cannot be, a file in the way or a place where nobody may write (before anything is
            drawn), or no room.
    """
    indices, seed = checked_range(indices, seed)
    model, blocks = plan.model, plan.blocks(indices)
    if writing.resume and "sha256" not in model.provenance:
        raise UndiffuseError("Nobody can tell whose files are there: resume takes a model from undiffuse.load")
    none_yet = np.empty((0, *model.info.shape))
    template = Samples(none_yet, model.info, seed, (), plan.settings, model.provenance, model.device.type)
    exact = modality_of(model.info).exact(model.info)
    values = not exact if writing.values is None else writing.values
    job = _Job(folder, indices, blocks, template, replace(writing, values=values))
    mine = group.shard(blocks)
    if group.is_main:
        check_writable(job.grid)  # nothing is drawn yet, so there is nothing to go on with
    try:
        if values and job.has_file():
            job = replace(job, writing=replace(writing, values=False))
        missing = [block for block in mine if not job.has(block)]
        if group.is_main:
            job.prepare()
        group.barrier()  # nobody writes before everybody has looked
        with tqdm(total=len(missing) * plan.steps, desc="sampling", unit="step", disable=hidden(progress)) as bar:
            for block in missing:
                for samples in plan.draw(block, seed, bar.update):
                    job.write(samples)
                bar.set_postfix_str(f"picture {block.stop - indices.start:,} of {len(indices):,}")
        group.barrier()
        if group.is_main:
            job.finish()
    except OSError as error:
        raise unwritable(folder, error, RESUME) from error
    except UnwritableError as error:
        raise UnwritableError(f"{error}, then go on with `resume`") from error
    new = sum(map(len, missing))
    return Drawn(new, sum(map(len, mine)) - new, exact, values)


def micro_batch_in(folder: Path, indices: range, info: DataInfo) -> int | None:
    """The micro-batch of the first of our pictures in a folder; None where there is none."""
    for path in (folder / sample_file(index, info) for index in indices):
        try:
            found = read_metadata(path).origin if path.exists() else None
        except UndiffuseError:  # torn, or somebody else's: what is in the way is told later
            continue
        if found is not None:
            return found.sample.compute.micro_batch
    return None


@dataclass(frozen=True)
class _Job:
    """The files of a set of samples. ``template`` knows everything of them but their values."""

    folder: Path
    indices: range
    blocks: list[range]
    template: Samples
    writing: Writing

    @property
    def grid(self) -> Path:
        return self.folder / "grid.png"

    @property
    def file(self) -> Path:
        return self.folder / "samples.npz"

    @property
    def origin_of_all(self) -> Origin:
        return self.template.origin(self.indices.start, len(self.indices))

    def picture(self, index: int) -> Path:
        return self.folder / sample_file(index, self.template.info)

    def part(self, block: range) -> Path:
        return self.folder / PARTS / f"{block.start:08d}.npz"

    # --- what is there ------------------------------------------------------------------------------------------------

    def has(self, block: range) -> bool:
        """Whether a block's files are there.

        Raises:
            UndiffuseError: one of its files is in the way.
        """
        pictures = [self.has_picture(self.picture(index), self.template.origin(index), PLACE) for index in block]
        return all(pictures) and (not self.writing.values or self.has_part(block))

    def has_picture(self, path: Path, wanted: Origin, free: tuple[str, ...]) -> bool:
        """Whether a file is there, whole, and as it would be written now."""
        if not self._may_stay(path):
            return False
        data = path.read_bytes()
        if not data or (data.startswith(SIGNATURE) and not _is_whole(data)):
            return False  # torn: drawn again
        found = read_metadata(path).origin if data.startswith(SIGNATURE) else None
        return self._is_ours(path, found, wanted, free)

    def has_part(self, block: range) -> bool:
        """Whether a block's values are there; other values in our own folder are just drawn again."""
        found = read_origin(self.part(block)) if self.writing.resume else None
        return found is not None and not difference(found, self.template.origin(block.start, len(block)))

    def has_file(self) -> bool:
        """Whether the values of all samples are there.

        Raises:
            UndiffuseError: other ones are.
        """
        if not self._may_stay(self.file):
            return False
        found, wanted = read_origin(self.file), self.origin_of_all
        ours = self._is_ours(self.file, found, wanted, NUMBERS)
        return ours and found is not None and not difference(found, wanted)

    def _may_stay(self, path: Path) -> bool:
        if path.exists() and not self.writing.resume:
            check_free(path, self.writing.overwrite)
        return path.exists() and self.writing.resume

    def _is_ours(self, path: Path, found: Origin | None, wanted: Origin, free: tuple[str, ...]) -> bool:
        other = "by nobody knows what" if found is None else difference(found, wanted, free)
        if other and not self.writing.overwrite:
            raise UndiffuseError(
                f"{path} was made {other}, so that `resume` cannot go on from it; give another place with `out`, or "
                "replace such files with `overwrite`"
            )
        return not other

    # --- what is written ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Remove what a killed process left half-written.

        Raises:
            UndiffuseError: the grid is in the way.
        """
        self.has_picture(self.grid, self.origin_of_all, NUMBERS)
        if not self.writing.resume:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        for pattern in (
            f".[0-9]*{self.picture(0).suffix}.*.partial",
            ".grid.png.*.partial",
            ".samples.npz.*.partial",
            f"{PARTS}/.*.partial",
        ):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def write(self, samples: Samples) -> None:
        """One block; values first, so that what the pictures promise is there."""
        if self.writing.values:
            block = range(samples.indices[0], samples.indices[-1] + 1)
            samples.save_values(self.part(block), overwrite=True)
        samples.save_pictures(self.folder, overwrite=True)

    def finish(self) -> None:
        """Write what is of all samples."""
        shown = self.indices[:GRID]
        sheet = grid([self._opened(index) for index in shown])
        origin = self.template.origin(shown.start, len(shown))
        write_png(self.grid, sheet, origin, overwrite=True, sheet=f"a grid of {counted(len(shown), 'sample')}")
        if self.writing.values:
            parts = (read_npz(self.part(block)) for block in self.blocks)
            write_npz(self.file, parts, self.origin_of_all, overwrite=True)
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def _opened(self, index: int) -> Image.Image:
        with Image.open(self.picture(index), formats=["PNG"]) as image:
            image.load()
            return image


def _is_whole(data: bytes) -> bool:
    """Whether every chunk of a PNG file, the last one included, is as its checksum says."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return data.endswith(END)


def difference(found: Origin, wanted: Origin, free: tuple[str, ...] = PLACE) -> str:
    """The first thing in which the making of two files differs, in words; empty where nothing does but ``free``."""
    for field in fields(Origin):
        have, want = getattr(found, field.name), getattr(wanted, field.name)
        if field.name in free or have == want:
            continue
        if field.name == "weights_sha256":
            return (
                f"with other weights (step {found.step}, sha256 {have[:10]}..., not step {wanted.step}, {want[:10]}...)"
            )
        if field.name == "sample":
            has, wants = have.flat(), want.flat()
            return next(f"with {name} {has[name]}, not {wants[name]}" for name in has if has[name] != wants[name])
        return f"with {field.name} {have}, not {want}"
    return ""
