"""An edit of files: a model, pictures, settings, and the command that does the same again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.naming import load_to_draw
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import flat_fields
from undiffuse.config.without_effect import without_effect
from undiffuse.editing.edit import Edit, EditInput
from undiffuse.editing.options import EditOptions, options_of, rules_of
from undiffuse.editing.registry import EDITS, overlap_of
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model.sample_request import beside_times, warn
from undiffuse.runtime.durable_files import NAME_BYTES, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from undiffuse.data.read_image import Picture
    from undiffuse.editing import Editor
    from undiffuse.model import AnyModel
    from undiffuse.model.plan import SamplePlan

PICTURES = {"image": "IMAGE", "first": "A", "second": "B"}
"""What the inputs of an edit are called; a mask is an option."""


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Pictures of one size, each as often as results are wanted of it.

    Args:
        pictures: one a row, so each repeated.
        indices: of the rows' random streams.
        x0: in model space, (rows, channels, height, width).
    """

    pictures: tuple[Picture, ...]
    indices: tuple[int, ...]
    x0: Tensor


@dataclass(frozen=True)
class EditCommand:
    """An edit's model, pictures and settings, of what was typed by the name of the field or argument."""

    name: str
    typed: dict[str, Any]

    @property
    def edit(self) -> Edit:
        return EDITS[self.name]

    def check(self) -> None:
        """Check what needs no model."""
        self.edit.options(**self._typed_of(options_of(self.edit.options)))
        self.edit.check_count(self.copies)
        if "mask" in self.edit.inputs and "mask" not in self.typed:
            raise UndiffuseError("This needs --mask FILE, a picture that is white where it should be painted anew")

    def _typed_of(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self.typed[name] for name in names if name in self.typed}

    @cached_property
    def model(self) -> AnyModel:
        return load_to_draw(self.typed)

    @cached_property
    def _said(self) -> tuple[EditOptions, SampleConfig]:
        warn(beside_times(self.typed))
        said, walked = self._typed_of(options_of(self.edit.options)), self._typed_of(flat_fields(SampleConfig))
        quick = "quick" in self.typed
        how, settings = self.edit.resolve(self.model, said, walked, quick)
        acts = getattr(how, "method", "") in self.edit.quick, f"with `method={' or '.join(self.edit.quick)}`"
        warn(without_effect({"quick": quick}, {"quick": acts}, {"quick": False}))
        return how, settings

    @property
    def how(self) -> EditOptions:
        return self._said[0]

    @cached_property
    def plan(self) -> SamplePlan:
        from undiffuse.editing.editor import edit_plan

        return edit_plan(self.model, self._said[1])

    @property
    def copies(self) -> int:
        return int(self.typed.get("n", 1))

    @property
    def places_of_pictures(self) -> list[Path]:
        return [self.typed[PICTURES[each]] for each in self.edit.inputs if each in PICTURES]

    @cached_property
    def pictures(self) -> list[Picture]:
        """All of them, read and checked before any work, and their files' places free."""
        from undiffuse.data.read_image import find_pictures
        from undiffuse.modalities.registry import modality_of
        from undiffuse.provenance.png import check_free

        convert = self.typed.get("channels")
        kinds = {"grey": 1, "rgb": 3, "rgba": 4}
        wanted = self.edit.channels or self.model.info.channels
        if convert is not None and kinds[convert] != wanted:
            raise UndiffuseError(f"--channels {convert} makes {kinds[convert]} of them, and {wanted} are wanted here")
        paths = [file for place in self.places_of_pictures for file in find_pictures(place)]
        info = self.model.info
        found = [modality_of(info).read(path, info, wanted, convert is not None) for path in paths]
        stems = [picture.path.stem for picture in found]
        if not self.joins and len(set(stems)) < len(stems):
            raise UndiffuseError("Two pictures have one name and two endings; their results would overwrite each other")
        for stem in [self.stem(found)] if self.joins else stems:
            for place in self.places(stem):
                check_free(place, "overwrite" in self.typed)
        return found

    @property
    def joins(self) -> bool:
        return "second" in self.edit.inputs

    def stem(self, pictures: Sequence[Picture]) -> str:
        """The name that the files of one picture, or of two that are joined, begin with."""
        names = [picture.path.stem for picture in pictures]
        return shortened("-".join(names), 200) if self.joins else names[0]

    @property
    def folder(self) -> Path:
        return Path(self.typed.get("out") or self.model.home / "edits" / self.name)

    @property
    def count(self) -> int:
        return self.copies * self.edit.results(self.how)

    def places(self, stem: str) -> list[Path]:
        """All files that one picture's results go to."""
        results = [self.place(stem, str(k) if self.count > 1 else "") for k in range(self.count)]
        return [*results, *(self.place(stem, each, ".npz") for each in self.edit.files), self.place(stem, "strip")]

    def place(self, stem: str, part: str, suffix: str = ".png") -> Path:
        return self.folder / f"{shortened('-'.join(filter(None, (stem, part))), NAME_BYTES - len(suffix))}{suffix}"

    @cached_property
    def mask_files(self) -> list[Path]:
        from undiffuse.data.read_image import find_pictures

        return find_pictures(self.typed["mask"]) if "mask" in self.edit.inputs else []

    def masks(self) -> dict[Path, Tensor]:
        """The known part of each picture, by the picture's file; nothing for an edit without masks."""
        from undiffuse.editing.images import read_mask

        def known(picture: Picture) -> Tensor:
            path = mask_of(picture, self.typed["mask"])
            return read_mask(path, picture.values.shape[1:], lambda how: print(f"{path}: {how}", file=sys.stderr))

        return {picture.path: known(picture) for picture in self.pictures} if self.mask_files else {}

    def batches(self) -> Iterator[PictureBatch]:
        """The pictures by size, in the order in which the sizes come. Picture i has the streams i n .. i n + n - 1."""
        import numpy as np
        import torch

        by_size: dict[tuple[int, ...], list[int]] = {}
        for k, picture in enumerate(self.pictures[:1] if self.joins else self.pictures):
            by_size.setdefault(picture.values.shape, []).append(k)
        for rows in by_size.values():
            pairs = [(k, copy) for k in rows for copy in range(self.copies)]
            values = np.stack([self.pictures[k].values for k in rows])
            yield PictureBatch(
                tuple(self.pictures[k] for k, _ in pairs),
                tuple(k * self.copies + copy for k, copy in pairs),
                torch.repeat_interleave(self.model.codec.encode(values), self.copies, 0),
            )

    def input(self, batch: PictureBatch, known: Mapping[Path, Tensor]) -> EditInput:
        import torch

        mask = torch.stack([known[picture.path] for picture in batch.pictures])[:, None] if known else None
        second = self.model.codec.encode(self.pictures[1].values) if self.joins else None
        return EditInput(lambda *sides: self.editor(batch.indices, sides), batch.x0, mask, second)

    def editor(self, indices: Sequence[int], sides: tuple[int, int]) -> Editor:
        from undiffuse.diffusion.guidance.tiled import count_tiles
        from undiffuse.editing import Editor
        from undiffuse.editing.defaults import check_result

        check_result(sides)
        overlap = overlap_of(self.how, self.model, sides)
        learned = self.model.info.spatial
        if overlap is not None and any(side > usual for side, usual in zip(sides, learned, strict=True)):
            size, tile = (" x ".join(map(str, s)) for s in (sides, learned))
            tiles = counted(count_tiles(sides, learned, overlap), "tile")
            print(f"{size} pixels (height x width) in {tiles} of {tile} a step, --overlap {overlap}", file=sys.stderr)
        return Editor(self.plan, self.typed.get("seed", 0), tuple(indices), overlap, progress=True)

    def words(self) -> list[str]:
        """The command that makes the same again: what was typed, and what it took by itself."""
        from undiffuse.reports.commands import option

        options = {**self.typed, "seed": self.typed.get("seed", 0)}
        flat = self.plan.settings.flat()
        options |= {name: flat[name] for name in ("sampler", "steps", "micro_batch")}
        words = ["undiffuse", "edit", self.name, *map(str, [options["RUN"], *self.places_of_pictures])]
        rules = rules_of(self.edit.options)
        for name, value in options.items():
            if name in ("RUN", *PICTURES.values(), "out", "overwrite", "no_strips"):
                continue
            words += option((rules[name].flag if name in rules else "") or name, value)
        return words


def mask_of(picture: Picture, mask: Path) -> Path:
    """The picture's own mask of a folder, or the one there is."""
    if not mask.is_dir():
        return mask
    found = sorted(file for file in mask.iterdir() if file.stem == picture.path.stem)
    if not found:
        raise UndiffuseError(f"{mask} holds no mask called {picture.path.stem}, for {picture.path}")
    return found[0]
