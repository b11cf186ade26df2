"""The ``undiffuse edit`` commands: a row of the table of edits, done to files."""

from __future__ import annotations

import io
import sys
import warnings
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from undiffuse import __version__
from undiffuse.cli.edit.pages import PAGES, SURPLUS
from undiffuse.cli.fields_to_options import add_fields, flag_of
from undiffuse.cli.naming import add_model, folder_of_pictures, say_left_out
from undiffuse.cli.parse_values import Convert, Reader, number, show, whole
from undiffuse.cli.parser import Parser
from undiffuse.config.fields import FLAG, Field, fields_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.editing.options import EditOptions, Rule, options_of, rules_of
from undiffuse.editing.registry import EDITS, Edit, EditInput, EditResult, overlap_of
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model.sample_request import beside_times, warn
from undiffuse.runtime.durable_files import NAME_BYTES, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from undiffuse.data.read_image import Picture
    from undiffuse.editing import Editor
    from undiffuse.model import Model
    from undiffuse.provenance.edit_record import Edited

Kinds = Literal["grey", "rgb", "rgba"]
PICTURES = {"image": "IMAGE", "first": "A", "second": "B"}
"""What the inputs of an edit are called; a mask is an option."""


# --- what can be typed ------------------------------------------------------------------------------------------------


def command(name: str) -> SimpleNamespace:
    """An edit as a command: its page of help, `configure` and `run`."""
    return SimpleNamespace(__doc__=PAGES[name], configure=partial(configure, name), run=partial(run, name))


def configure(name: str, parser: Parser) -> None:
    """RUN, the pictures, the edit's options, those of sampling, and where results go."""
    edit = EDITS[name]
    parser.surplus = SURPLUS.get(name, "")
    pictures = [PICTURES[each] for each in edit.inputs if each in PICTURES]
    alone = len(pictures) == 1
    add_model(parser)
    for each in pictures:
        parser.add_argument(each, type=Path, help=f"a picture{' or a folder of them' if alone else ''}")
    group = parser.add_argument_group("the edit")
    if "mask" in edit.inputs:
        text = "white is painted anew, black is kept; a file, or a folder with one for each picture"
        group.add_argument("--mask", type=Path, metavar="FILE", help=text)
    options, rules = options_of(edit.options), rules_of(edit.options)
    for each, option in options.items():
        _add_option(group, option, rules[each])
    for method, preset in edit.quick.items():
        more = " ".join(f"{flag_of(name)} {value:g}" for name, value in preset.options.items())
        text = f"where you wait for it: {method} on {preset.settings.steps} steps, with {more} below {preset.below}"
        group.add_argument("--quick", action="store_true", help=text)
    group = parser.add_argument_group("which pictures")
    if alone:
        group.add_argument("-n", type=whole("-n", 1), metavar="N", help="results of each (default: 1)")
    group.add_argument("--seed", type=whole("--seed", 0), metavar="N", help="of the noise (default: 0)")
    text = "make grey of colour and so on; otherwise pictures must have the model's channels"
    group.add_argument("--channels", type=Reader("--channels", Kinds), metavar="grey|rgb|rgba", help=text)
    group.add_argument("--device", metavar="TEXT", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    usual = edit.advised(SimpleNamespace(**{each: option.default for each, option in options.items()}))
    by = [f"--{each} {options[each].default}" for each in ("method", "way") if each in options]
    add_fields(parser, SampleConfig, " with ".join(["how", *by]), edit.omit, usual=usual)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=folder_of_pictures, metavar="DIR", help=f"folder (default: RUN/edits/{name})")
    group.add_argument("--no-strips", action="store_true", help="no strips of what was given and what was made")
    group.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _add_option(group: Any, option: Field, rule: Rule) -> None:
    flag = flag_of(rule.flag or option.name)
    default = "" if option.required or option.default is None else f" (default: {show(option.default)})"
    how: dict[str, Any] = {"dest": option.name, "help": f"{option.text}{default}"}
    if option.kind is FLAG:
        group.add_argument(flag, action=BooleanOptionalAction, **how)
    else:
        how |= {"type": _reader(flag, option, rule), "metavar": option.kind.metavar, "required": option.required}
        group.add_argument(flag, **how)


def _reader(flag: str, option: Field, rule: Rule) -> Convert:
    if rule.least is not None:
        return whole(flag, rule.least)
    return Reader(flag, option.kind) if rule.above is None else number(flag, rule.above)


# --- what is done -----------------------------------------------------------------------------------------------------


def run(name: str, typed: Namespace) -> None:
    """Do an edit to the pictures that were named."""
    command = EditCommand(name, vars(typed))
    command.check()
    known = command.masks()
    for batch in command.batches():
        made = command.edit.work(command.input(batch, known), command.options_for(batch))
        command.write(batch, made)
        if made.warning:
            warnings.warn(made.warning, stacklevel=1)


@dataclass(frozen=True, eq=False)
class Batch:
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
    """An edit's model, pictures and settings.

    Args:
        name: of the edit.
        typed: what was typed, by the name of the field or argument.
    """

    name: str
    typed: dict[str, Any]

    @property
    def edit(self) -> Edit:
        return EDITS[self.name]

    def check(self) -> None:
        """Refuse what can be refused before a model is read."""
        self.edit.options(**self._typed_of(options_of(self.edit.options)))
        self.edit.check_count(self.copies)
        if "mask" in self.edit.inputs and "mask" not in self.typed:
            raise UndiffuseError("This needs --mask FILE, a picture that is white where it should be painted anew")

    def _typed_of(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self.typed[name] for name in names if name in self.typed}

    @cached_property
    def model(self) -> Model:
        from undiffuse.model import load
        from undiffuse.training.build import choose_device

        device = str(choose_device(self.typed.get("device", "auto")))
        model = load(self.typed["RUN"], self.typed.get("weights", SampleConfig.weights), device)
        say_left_out(model)
        return model

    @cached_property
    def _resolved(self) -> tuple[EditOptions, SampleConfig]:
        from undiffuse.editing.editor import settled

        warn(beside_times(self.typed))
        said, walked = self._typed_of(options_of(self.edit.options)), self._typed_of(fields_of(SampleConfig))
        how, settings = self.edit.resolve(self.model, said, walked, "quick" in self.typed)
        return how, settled(self.model, settings)

    @property
    def how(self) -> EditOptions:
        return self._resolved[0]

    @property
    def settings(self) -> SampleConfig:
        return self._resolved[1]

    def options_for(self, batch: Batch) -> EditOptions:
        """The options with what was left open and depends on the pictures."""
        height, width = batch.x0.shape[2:]
        filled: EditOptions = self.edit.filled(self.how, self.model, (height, width))
        return filled

    @property
    def copies(self) -> int:
        return int(self.typed.get("n", 1))

    @property
    def places_of_pictures(self) -> list[Path]:
        return [self.typed[PICTURES[each]] for each in self.edit.inputs if each in PICTURES]

    @cached_property
    def pictures(self) -> list[Picture]:
        """All of them, read and checked before any work, and their files' places free."""
        from undiffuse.data.read_image import find_pictures, read_picture
        from undiffuse.provenance.png import check_free

        convert = self.typed.get("channels")
        kinds = {"grey": 1, "rgb": 3, "rgba": 4}
        wanted = self.edit.channels or self.model.info.channels
        if convert is not None and kinds[convert] != wanted:
            raise UndiffuseError(f"--channels {convert} makes {kinds[convert]} of them, and {wanted} are wanted here")
        paths = [file for place in self.places_of_pictures for file in find_pictures(place)]
        found = [read_picture(path, self.model.info, wanted, convert is not None) for path in paths]
        stems = [picture.path.stem for picture in found]
        if not self.joins and len(set(stems)) < len(stems):
            raise UndiffuseError("Two pictures have one name and two endings; their results would overwrite each other")
        for stem in [self.stem(found)] if self.joins else stems:
            for place in self.places(stem):
                check_free(place, "overwrite" in self.typed)
        return found

    @property
    def joins(self) -> bool:
        """Whether it is an edit of two pictures."""
        return "second" in self.edit.inputs

    def stem(self, pictures: Sequence[Picture]) -> str:
        """What the files of one picture, or of two that are joined, are called after."""
        return (
            shortened("-".join(picture.path.stem for picture in pictures), 200) if self.joins else pictures[0].path.stem
        )

    @property
    def folder(self) -> Path:
        return Path(self.typed.get("out") or self.model.home / "edits" / self.name)

    @property
    def count(self) -> int:
        """Results of a picture."""
        return self.copies * self.edit.results(self.how)

    def places(self, stem: str) -> list[Path]:
        """All files that one picture's results go to."""
        results = [self.place(stem, str(k) if self.count > 1 else "") for k in range(self.count)]
        return [*results, *(self.place(stem, each, ".npz") for each in self.edit.files), self.place(stem, "strip")]

    def place(self, stem: str, part: str, suffix: str = ".png") -> Path:
        """Where one file goes."""
        return self.folder / f"{shortened('-'.join(filter(None, (stem, part))), NAME_BYTES - len(suffix))}{suffix}"

    @cached_property
    def mask_files(self) -> list[Path]:
        from undiffuse.data.read_image import find_pictures

        return find_pictures(self.typed["mask"]) if "mask" in self.edit.inputs else []

    def masks(self) -> dict[Path, Tensor]:
        """Where each picture is known, by its file; of an edit that takes no masks, none."""
        from undiffuse.editing.images import read_mask

        def known(picture: Picture) -> Tensor:
            path = mask_of(picture, self.typed["mask"])
            return read_mask(path, picture.values.shape[1:], lambda how: print(f"{path}: {how}", file=sys.stderr))

        return {picture.path: known(picture) for picture in self.pictures} if self.mask_files else {}

    def batches(self) -> Iterator[Batch]:
        """The pictures by size, in the order in which the sizes come. Picture i has the streams i n .. i n + n - 1."""
        import numpy as np
        import torch

        from undiffuse.data.scaling import encode

        by_size: dict[tuple[int, ...], list[int]] = {}
        for k, picture in enumerate(self.pictures[:1] if self.joins else self.pictures):
            by_size.setdefault(picture.values.shape, []).append(k)
        for rows in by_size.values():
            pairs = [(k, copy) for k in rows for copy in range(self.copies)]
            values = np.stack([self.pictures[k].values for k in rows])
            yield Batch(
                tuple(self.pictures[k] for k, _ in pairs),
                tuple(k * self.copies + copy for k, copy in pairs),
                torch.repeat_interleave(encode(values, self.model.info), self.copies, 0),
            )

    def input(self, batch: Batch, known: Mapping[Path, Tensor]) -> EditInput:
        """What the edit works on."""
        import torch

        from undiffuse.data.scaling import encode

        mask = torch.stack([known[picture.path] for picture in batch.pictures])[:, None] if known else None
        second = encode(self.pictures[1].values, self.model.info) if self.joins else None
        return EditInput(lambda *sides: self.editor(batch.indices, sides), batch.x0, mask, second)

    def editor(self, indices: Sequence[int], sides: tuple[int, int]) -> Editor:
        """The editor for results of this height and width."""
        from undiffuse.editing import Editor
        from undiffuse.editing.defaults import check_result

        check_result(sides)
        overlap = overlap_of(self.how, self.model, sides)
        learned = self.model.info.spatial
        if overlap is not None and any(side > usual for side, usual in zip(sides, learned, strict=True)):
            self._say_tiles(sides, overlap)
        return Editor(self.model, self.settings, self.typed.get("seed", 0), tuple(indices), overlap, progress=True)

    def _say_tiles(self, sides: Sequence[int], overlap: int) -> None:
        from undiffuse.diffusion.guidance.tiled import count_tiles

        learned = self.model.info.spatial
        size, tile = (" x ".join(map(str, s)) for s in (sides, learned))
        tiles = counted(count_tiles(sides, learned, overlap), "tile")
        print(f"{size} pixels (height x width) in {tiles} of {tile} a step, --overlap {overlap}", file=sys.stderr)

    # --- what is written ----------------------------------------------------------------------------------------------

    def write(self, batch: Batch, made: EditResult) -> None:
        """The files of each picture, and then what is said of it and their names."""
        for row in range(0, len(batch.pictures), self.copies):
            picture = batch.pictures[row]
            paths = self._write_row(batch, made, row)
            for note in made.notes[row : row + 1]:
                print(f"{picture.path}: {note}")
            for path in paths:
                print(path)

    def _write_row(self, batch: Batch, made: EditResult, row: int) -> list[Path]:
        import numpy as np

        from undiffuse.editing.images import Result, side_by_side, view
        from undiffuse.provenance.png import write_file, write_png

        overwrite, info, paths = "overwrite" in self.typed, self.model.info, list[Path]()
        stem = self.stem(self.pictures if self.joins else batch.pictures[row:])
        each = self.count // self.copies
        pictures = made.pictures[row * each : row * each + self.count]
        streams = [batch.indices[row + k // each] for k in range(self.count)]
        results = [Result(x, info, self.origin(index, x.shape)) for x, index in zip(pictures, streams, strict=True)]
        for name, values in made.files.items():
            packed, path = io.BytesIO(), self.place(stem, name, ".npz")
            np.savez_compressed(packed, **{name: values[row].numpy()})  # type: ignore[arg-type]
            write_file(path, packed.getvalue(), overwrite)
            paths.append(path)
        *places, strip = (path for path in self.places(stem) if path.suffix == ".png")
        for result, place in zip(results, places, strict=True):
            paths += result.save(place, overwrite)
        if "no_strips" not in self.typed:
            height, width = pictures.shape[2:]
            before, after = (
                [(caption, view(x[row], info, (height, width))) for caption, x in shown.items()]
                for shown in (made.before, made.after)
            )
            captions = [self.name if k == 0 and not after else "" for k in range(self.count)]
            shown = [(caption, view(x, info)) for caption, x in zip(captions, pictures, strict=True)]
            write_png(
                strip, side_by_side([*before, *shown, *after]), results[0].origin, overwrite, "a strip of an edit"
            )
            paths.append(strip)
        return paths

    def origin(self, index: int, shape: Sequence[int]) -> Edited:
        """How a result was made."""
        from undiffuse.editing.images import file_sha256
        from undiffuse.provenance.edit_record import Edited
        from undiffuse.provenance.png import model_name

        made_by = self.model.provenance
        inputs = [f"{picture.sha256} {picture.path}" for picture in self.pictures]
        inputs += [f"{file_sha256(path)} {path}" for path in self.mask_files]
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
        options = {**self.typed, "seed": self.typed.get("seed", 0)}
        options |= {name: getattr(self.settings, name) for name in ("sampler", "steps", "micro_batch")}
        words = ["undiffuse", "edit", self.name, *map(str, [options["RUN"], *self.places_of_pictures])]
        rules = rules_of(self.edit.options)
        for name, value in options.items():
            if name in ("RUN", *PICTURES.values(), "out", "overwrite", "no_strips"):
                continue
            flag = flag_of((rules[name].flag if name in rules else "") or name)
            words += [flag] if value is True else [f"--no-{flag[2:]}"] if value is False else [flag, show(value)]
        return words


def mask_of(picture: Picture, mask: Path) -> Path:
    """The picture's own mask of a folder, or the one there is."""
    if not mask.is_dir():
        return mask
    found = sorted(file for file in mask.iterdir() if file.stem == picture.path.stem)
    if not found:
        raise UndiffuseError(f"{mask} holds no mask called {picture.path.stem}, for {picture.path}")
    return found[0]
