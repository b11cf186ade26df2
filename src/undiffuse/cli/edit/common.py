"""What the ``undiffuse edit`` commands share: a run, pictures, how to walk, and files with the command inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from undiffuse import __version__
from undiffuse.cli.fields_to_options import add_fields, flag_of
from undiffuse.cli.naming import add_model, folder_of_pictures, say_left_out
from undiffuse.cli.parse_values import Reader, number, show, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model.sample_request import beside_times, warn
from undiffuse.runtime.durable_files import NAME_BYTES, shortened

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from undiffuse.data.read_image import Picture
    from undiffuse.editing import Editor
    from undiffuse.editing.images import Result
    from undiffuse.model import Model
    from undiffuse.provenance.edit_record import Edited

Kinds = Literal["grey", "rgb", "rgba"]

Shown = tuple[str, "Image.Image"]
"""A caption and a picture of the strip."""


def add_edit(parser: Parser, name: str, images: Sequence[str] = ("IMAGE",), omit: Sequence[str] = ()) -> Any:
    """RUN, the pictures, and the options of all edits; the group that the command's own options go to.

    Args:
        omit: settings of sampling that are not for this command.
    """
    add_model(parser)
    for image in images:
        folder = " or a folder of them" if len(images) == 1 else ""
        parser.add_argument(image, type=Path, help=f"a picture{folder}")
    own = parser.add_argument_group("the edit")
    group = parser.add_argument_group("which pictures")
    if len(images) == 1:
        group.add_argument("-n", type=whole("-n", 1), metavar="N", help="results of each (default: 1)")
    group.add_argument("--seed", type=whole("--seed", 0), metavar="N", help="of the noise (default: 0)")
    text = "make grey of colour and so on; otherwise pictures must have the model's channels"
    group.add_argument("--channels", type=Reader("--channels", Kinds), metavar="grey|rgb|rgba", help=text)
    text = (
        "pixels that tiles share, or 'none' for the whole picture at once (default: none up to the size that was "
        "learned, a quarter of it beyond)"
    )
    group.add_argument("--overlap", type=Reader("--overlap", int | None), metavar="N|none", help=text)
    group.add_argument("--device", metavar="TEXT", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add_fields(parser, SampleConfig, "how", omit)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=folder_of_pictures, metavar="DIR", help=f"folder (default: RUN/edits/{name})")
    group.add_argument("--no-strips", action="store_true", help="no strips of what was given and what was made")
    group.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return own


def add_method(group: Any, methods: Any, default: str) -> None:
    """--method and --scale."""
    text = f"how the given part is met; see docs/editing.md (default: {default})"
    group.add_argument("--method", type=Reader("--method", methods), metavar="|".join(methods.__args__), help=text)
    text = "of the gradient, for pigdm and dps (default: 1)"
    group.add_argument("--scale", type=number("--scale", 0), metavar="X", help=text)


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one size, each as often as results are wanted of it.

    Args:
        pictures: one a row, so each repeated.
        copies: number of the result of its picture, one a row.
        indices: of the rows' random streams.
        x0: in model space, (rows, channels, height, width).
    """

    pictures: tuple[Picture, ...]
    copies: tuple[int, ...]
    indices: tuple[int, ...]
    x0: Tensor


@dataclass(frozen=True)
class Desk:
    """A command's model, pictures and settings.

    Args:
        name: of the command after ``undiffuse edit``.
        options: what was typed.
        default: settings where nothing was.
        channels: that pictures must have; by default the model's.
        images: names of the options that hold pictures.
        others: files that the command reads, too.
    """

    name: str
    options: dict[str, Any]
    default: SampleConfig
    channels: int | None = None
    images: tuple[str, ...] = ("IMAGE",)
    others: tuple[Path, ...] = ()

    @cached_property
    def model(self) -> Model:
        from undiffuse.model import load
        from undiffuse.training.build import choose_device

        device = str(choose_device(self.options.get("device", "auto")))
        model = load(self.options["RUN"], self.typed.weights, device)
        say_left_out(model)
        return model

    @property
    def typed(self) -> SampleConfig:
        return replace(
            self.default, **{f.name: self.options[f.name] for f in fields(SampleConfig) if f.name in self.options}
        )

    @cached_property
    def settings(self) -> SampleConfig:
        from undiffuse.editing.editor import settled

        warn(beside_times(self.options))
        return settled(self.model, self.typed)

    @property
    def copies(self) -> int:
        return int(self.options.get("n", 1))

    @cached_property
    def pictures(self) -> list[Picture]:
        """All of them, read and checked before any work, and their files' places free."""
        from undiffuse.data.read_image import find_pictures, read_picture
        from undiffuse.provenance.png import check_free

        convert = self.options.get("channels")
        kinds = {"grey": 1, "rgb": 3, "rgba": 4}
        wanted = self.channels or self.model.info.channels
        if convert is not None and kinds[convert] != wanted:
            raise UndiffuseError(f"--channels {convert} makes {kinds[convert]} of them, and {wanted} are wanted here")
        paths = [file for name in self.images for file in find_pictures(self.options[name])]
        found = [read_picture(path, self.model.info, wanted, convert is not None) for path in paths]
        stems = [picture.path.stem for picture in found]
        if len(self.images) == 1 and len(set(stems)) < len(stems):
            raise UndiffuseError("Two pictures have one name and two endings; their results would overwrite each other")
        for stem in stems if len(self.images) == 1 else [shortened("-".join(stems), 200)]:
            for place in [*(self.place(stem, k) for k in range(self.copies)), self.place(f"{stem}-strip", 0)]:
                check_free(place, "overwrite" in self.options)
        return found

    @property
    def folder(self) -> Path:
        return Path(self.options.get("out") or self.model.home / "edits" / self.name)

    def place(self, stem: str, copy: int) -> Path:
        """Where a result goes."""
        alone = self.copies == 1 or stem.endswith("-strip")
        return self.folder / f"{shortened(stem if alone else f'{stem}-{copy}', NAME_BYTES - len('.png'))}.png"

    def batches(self) -> Iterator[Batch]:
        """The pictures by size, in the order in which the sizes come. Picture i has the streams i n .. i n + n - 1."""
        import numpy as np
        import torch

        from undiffuse.data.scaling import encode

        by_size: dict[tuple[int, ...], list[int]] = {}
        for k, picture in enumerate(self.pictures):
            by_size.setdefault(picture.values.shape, []).append(k)
        for rows in by_size.values():
            pairs = [(k, copy) for k in rows for copy in range(self.copies)]
            values = np.stack([self.pictures[k].values for k in rows])
            x0 = encode(values, self.model.info)
            yield Batch(
                tuple(self.pictures[k] for k, _ in pairs),
                tuple(copy for _, copy in pairs),
                tuple(k * self.copies + copy for k, copy in pairs),
                torch.repeat_interleave(x0, self.copies, 0),
            )

    def editor(self, indices: Sequence[int], sides: Sequence[int]) -> Editor:
        """The editor for results of this height and width."""
        from undiffuse.editing import Editor
        from undiffuse.editing.defaults import check_result

        check_result(sides)
        learned = self.model.info.spatial
        larger = any(side > usual for side, usual in zip(sides, learned, strict=True))
        tiled = larger and self.model.config.conditions.upscale == 1  # a stage sees everything at once
        overlap = self.options.get("overlap", min(learned) // 4 if tiled else None)
        if overlap is not None and larger:
            self._say_tiles(sides, overlap)
        return Editor(self.model, self.settings, self.options.get("seed", 0), tuple(indices), overlap, progress=True)

    def _say_tiles(self, sides: Sequence[int], overlap: int) -> None:
        from undiffuse.diffusion.guidance.tiled import count_tiles

        learned = self.model.info.spatial
        size, tile = (" x ".join(map(str, s)) for s in (sides, learned))
        tiles = counted(count_tiles(sides, learned, overlap), "tile")
        print(f"{size} pixels (height x width) in {tiles} of {tile} a step, --overlap {overlap}", file=sys.stderr)

    def origin(self, index: int, shape: Sequence[int]) -> Edited:
        """How a result was made."""
        from undiffuse.editing.images import file_sha256
        from undiffuse.provenance.edit_record import Edited
        from undiffuse.provenance.png import model_name

        made_by = self.model.provenance
        inputs = [f"{picture.sha256} {picture.path}" for picture in self.pictures]
        inputs += [f"{file_sha256(path)} {path}" for path in self.others]
        return Edited(
            command=tuple(self.words()),
            inputs=tuple(inputs),
            model=model_name(Path(made_by["checkpoint"])),
            step=made_by["step"],
            weights_sha256=made_by["sha256"],
            index=index,
            shape=tuple(shape),
            sample=self.settings,
            version=__version__,
            device=self.model.device.type,
        )

    def words(self) -> list[str]:
        """The command that makes the same again: what was typed, and what it took by itself."""
        options = {**self.options, "seed": self.options.get("seed", 0)}
        options |= {name: getattr(self.settings, name) for name in ("sampler", "steps", "micro_batch")}
        words = ["undiffuse", "edit", *self.name.split(), str(options["RUN"]), *(str(options[i]) for i in self.images)]
        for name, value in options.items():
            if name in ("RUN", *self.images, "out", "overwrite", "no_strips"):
                continue
            flag = flag_of(name)
            words += [flag] if value is True else [f"--no-{flag[2:]}"] if value is False else [flag, show(value)]
        return words

    def write(self, batch: Batch, made: Tensor, before: Sequence[Sequence[Shown]]) -> None:
        """Results and, once a picture, the strip.

        Args:
            batch: what was edited.
            made: the results, one a row.
            before: what stands before them on the strip, one list a row; those of equal pictures are alike.
        """
        rows = list(zip(batch.pictures, batch.copies, batch.indices, made, before, strict=True))
        for first in range(0, len(rows), self.copies):
            some = rows[first : first + self.copies]
            results = [(self.result(x, index), copy) for _, copy, index, x, _ in some]
            self.save(some[0][0].path.stem, results, some[0][4])

    def result(self, x: Tensor, index: int) -> Result:
        from undiffuse.editing.images import Result

        return Result(x, self.model.info, self.origin(index, x.shape))

    def save(self, stem: str, results: Sequence[tuple[Result, int]], before: Sequence[Shown]) -> None:
        """The files of one picture's results and their strip."""
        from undiffuse.editing.images import view

        overwrite = "overwrite" in self.options
        for result, copy in results:
            for path in result.save(self.place(stem, copy), overwrite):
                print(path)
        after = [(self.name if copy == 0 else "", view(result.x, self.model.info)) for result, copy in results]
        self.write_strip(stem, [*before, *after], results[0][0].origin)

    def write_strip(self, stem: str, shown: Sequence[Shown], origin: Edited) -> None:
        """The strip of captioned pictures, where strips are wanted."""
        from undiffuse.editing.images import side_by_side
        from undiffuse.provenance.png import write_png

        if "no_strips" not in self.options:
            path = self.place(f"{stem}-strip", 0)
            write_png(path, side_by_side(shown), origin, "overwrite" in self.options, "a strip of an edit")
            print(path)
