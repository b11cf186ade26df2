"""Edits as jobs: pictures that came in, checked and kept; the edit; results that say how they were made."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import from_plain
from undiffuse.data.codec import codec_of
from undiffuse.data.files.decode import TO_RGB, UnreadableError, decode, quiet_pillow, read_header
from undiffuse.data.files.unsupported import kind_not_read
from undiffuse.data.info import DataInfo
from undiffuse.data.transform import convert_channels, resize
from undiffuse.editing.edit import Edit, EditInput, EditResult
from undiffuse.editing.editor import Editor, edit_plan
from undiffuse.editing.images import edit_record, read_mask
from undiffuse.editing.options import EditOptions, options_of, rules_of, unheeded
from undiffuse.editing.registry import EDITS, overlap_of
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.registry import modality_of
from undiffuse.model import AnyModel
from undiffuse.model.plan import SamplePlan
from undiffuse.reports.commands import option
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.jobs.sampling import kept, warning_of
from undiffuse.studio.library.gallery import Gallery
from undiffuse.studio.library.models import Loaded
from undiffuse.studio.limits import Limits
from undiffuse.studio.settings_schema import Fitting
from undiffuse.studio.studio import Studio
from undiffuse.visualization.grid import to_image

FITS = "'fit': 'convert' makes it fit"
_reading = threading.Lock()
"""Pillow's warnings are switched for a whole process (`quiet_pillow`), so one picture is read at a time."""


@dataclass(frozen=True)
class ResolvedEdit:
    """An edit that was asked for, checked.

    Args:
        how: its options.
        fit: how its pictures come in; see `settings_schema.Fitting`.
        inputs: the pictures' files, by what they are for.
    """

    name: str
    how: EditOptions
    fit: str
    settings: SampleConfig
    n: int
    seed: int
    inputs: Mapping[str, Path]

    @property
    def row(self) -> Edit:
        return EDITS[self.name]

    def request(self, model: str) -> dict[str, Any]:
        """As it is kept, to be made again."""
        return {
            "model": model,
            "edit": self.name,
            "options": asdict(self.how) | {"fit": self.fit},
            "settings": self.settings.flat(),
            "n": self.n,
            "seed": self.seed,
            "inputs": {name: path.name for name, path in self.inputs.items()},
        }


def resolve_edit(request: Mapping[str, Any], model: AnyModel, inputs: Mapping[str, Path]) -> ResolvedEdit:
    """A requested edit with its options checked and its sampler's settings filled in."""
    row = EDITS[request["edit"]]
    options = {name: value for name, value in request["options"].items() if name != "fit"}
    fitting = from_plain(Fitting, {"fit": request["options"].get("fit", Fitting.fit)}, "the options")
    row.check_count(request["n"])
    how, settings = row.resolve(model, options, request["settings"], request.get("quick", False))
    return ResolvedEdit(request["edit"], how, fitting.fit, settings, request["n"], request["seed"], inputs)


def take_in(content: bytes, gallery: Gallery, limits: Limits, convert: bool = False) -> Path:
    """Check a picture's file as those of training data are, and keep it.

    What is kept is a PNG file of its pixels: nothing else that was in the file goes any further.

    Args:
        convert: colour that has no exact RGB may become RGB, as what does not fit is made to fit anyway.
    """
    if sentence := kind_not_read("", content[:1024]):
        raise UndiffuseError(f"The picture {sentence}")
    if not content:
        raise UndiffuseError("The picture is empty (0 bytes)")
    try:
        with _reading, quiet_pillow():
            header = read_header(io.BytesIO(content), convert)
            limits.check_pixels(header.height, header.width)
            values = decode(content, convert=convert)
    except UnreadableError as error:
        raise UndiffuseError(f"The picture {error}".replace(TO_RGB, FITS)) from None
    if values.dtype == np.float32:
        raise UndiffuseError("The picture has floating-point values; the studio takes those of 8 and 16 bits")
    return gallery.keep_input(_png(values))


def _png(values: np.ndarray[Any, Any]) -> bytes:
    """(height, width, channels) of 8 bits, or 16 bits in grey, as a PNG file."""
    if values.dtype == np.uint16 and values.shape[2] > 1:
        raise UndiffuseError("The picture has 16 bits of colour; the studio takes 8 of colour and 16 of grey")
    image = Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values))
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


def fitted(path: Path, info: DataInfo, gallery: Gallery) -> Path:
    """The picture brought to this kind of number, channels and size, and kept."""
    channels = info.channels
    with _reading, quiet_pillow():
        values = decode(path.read_bytes())
    if info.dtype == "uint8" and values.dtype == np.uint16:
        values = np.rint(values / 257).astype(np.uint8)
    if values.shape[2] != channels:
        values = convert_channels(values, channels)
    height, width = info.spatial
    return gallery.keep_input(_png(resize(values, (height, width), "center", channels in (2, 4))))


def fitted_mask(mask: Path, picture: Path, info: DataInfo, gallery: Gallery, said: list[str]) -> Path:
    """The mask of a picture that is brought to a model's size, brought there in the same way."""
    with Image.open(picture, formats=["PNG"]) as image:
        sides = (image.height, image.width)
    painted = (255 * (1 - _mask(mask, sides, said).numpy()[..., None])).astype(np.uint8)
    height, width = info.spatial
    return gallery.keep_input(
        _png(np.where(resize(painted, (height, width), "center", False) > 127, 255, 0).astype(np.uint8))
    )


def _mask(path: Path, sides: tuple[int, int], said: list[str]) -> torch.Tensor:
    with _reading:
        try:
            return read_mask(path, sides, lambda how: said.append(f"Of the mask, {how}."))
        except UndiffuseError as error:  # of the kept file's name, which says nothing to anybody
            raise UndiffuseError(str(error).replace(f" {path}", "")) from None


def work_on(job: Job, loaded: Loaded, wanted: ResolvedEdit, studio: Studio) -> None:
    """Do an edit, telling its steps, and keep what came of it."""
    gallery = studio.gallery
    job.handle.want_all()
    with loaded.session(job.handle) as network:
        model = loaded.model.with_network(network)
        plan = edit_plan(model, studio.library.settled(wanted.settings))
        wanted = replace(wanted, settings=plan.settings)
        said: list[str] = []
        if wanted.fit == "convert":
            channels = wanted.row.channels or model.info.channels
            factor = model.config.conditions.upscale  # a stage is given small pictures
            info = replace(model.info, shape=(channels, *(side // factor for side in model.info.spatial)))
            pictures = {n: fitted(p, info, gallery) for n, p in wanted.inputs.items() if n != "mask"}
            if "mask" in wanted.inputs:
                picture, mask = wanted.inputs["image"], wanted.inputs["mask"]
                pictures["mask"] = fitted_mask(mask, picture, info, gallery, said)
            wanted = replace(wanted, inputs={**wanted.inputs, **pictures})
        given = _given(job, plan, wanted, studio.limits, said)
        height, width = given.x0.shape[2:]
        wanted = replace(wanted, how=wanted.row.filled(wanted.how, model, (height, width)))
        job.begin(0, wanted.n)
        made = wanted.row.work(given, wanted.how)
        job.handle.check()
        job.note = " ".join([*said, *(f"The picture {note}." for note in made.notes[:1])]) or None
        job.warning = warning_of(plan, *unheeded(wanted.how), made.warning)
        _tell(job, model, loaded, gallery, wanted, made)


def _given(job: Job, plan: SamplePlan, wanted: ResolvedEdit, limits: Limits, said: list[str]) -> EditInput:
    info = plan.model.info
    learned = (info.spatial[0], info.spatial[1])
    first = wanted.inputs["first" if "first" in wanted.inputs else "image"]
    x0 = _read(first, info, wanted.row.channels)
    sides = (x0.shape[2], x0.shape[3])
    limits.check_larger(wanted.n, sides, learned)
    second = _read(wanted.inputs["second"], info, None)[0] if "second" in wanted.inputs else None
    mask = None
    if "mask" in wanted.inputs:
        mask = _mask(wanted.inputs["mask"], sides, said)[None, None]

    def editor(height: int, width: int) -> Editor:
        limits.check_pixels(height, width)
        limits.check_larger(wanted.n, (height, width), learned)
        overlap = overlap_of(wanted.how, plan.model, (height, width))
        indices = tuple(range(wanted.n))
        return Editor(plan, wanted.seed, indices, overlap, on_step=lambda k, of: job.at(k, of, previews=[]))

    return EditInput(editor, x0.repeat_interleave(wanted.n, 0), mask, second)


def _read(path: Path, info: DataInfo, channels: int | None) -> torch.Tensor:
    with _reading:
        try:
            values = modality_of(info).read(path, info, channels).values
        except UndiffuseError as error:  # of the kept file's name, which says nothing to anybody
            sentence = str(error).replace(str(path), "the picture").split("; try `channels")[0]
            raise UndiffuseError(f"{sentence}; {FITS}") from None
    return codec_of(info).encode(values[None])


def _tell(job: Job, model: AnyModel, loaded: Loaded, gallery: Gallery, wanted: ResolvedEdit, made: EditResult) -> None:
    request = wanted.request(loaded.entry.id)
    shown = [*made.pictures, *(x for name in made.files for x in made.before[name].cpu())]
    words = command(wanted, model, str(loaded.entry.path))
    inputs = [f"{path.stem} {path}" for path in wanted.inputs.values()]
    for index, x in enumerate(shown):
        kind = replace(model.info, shape=tuple(x.shape))
        image = to_image(codec_of(kind).decode(x.clamp(-1, 1)), kind)
        origin = edit_record(model, wanted.settings, words, inputs, index, x.shape)
        job.tell("image", **kept(gallery, image, origin, index, request))


def command(wanted: ResolvedEdit, model: AnyModel, run: str) -> list[str]:
    """The words of the command line that do the same to the kept pictures by the model in ``run``."""
    files = {name: str(path) for name, path in wanted.inputs.items()}
    mask = ["--mask", files.pop("mask")] if "mask" in files else []
    words = ["undiffuse", "edit", wanted.name, run, *files.values(), *mask]
    known, rules = options_of(wanted.row.options), rules_of(wanted.row.options)
    for name, value in asdict(wanted.how).items():
        if known[name].required or value != known[name].default:
            words += option(rules[name].flag or name, value)
    usual = wanted.row.usual(wanted.how, model).flat()
    for name, value in wanted.settings.flat().items():
        if value != usual[name] and not (name == "steps" and wanted.settings.solver.times):  # which are as many
            words += option(name, value)
    if wanted.n > 1:
        words += ["-n", str(wanted.n)]
    return [*words, "--seed", str(wanted.seed)]


def again(request: dict[str, Any], model: AnyModel, gallery: Gallery) -> ResolvedEdit:
    """A kept edit, to be done once more."""
    try:
        inputs = {name: gallery.input(file) for name, file in request["inputs"].items()}
        if request["edit"] not in EDITS or not inputs:
            raise KeyError
        return resolve_edit({**request, "options": request["options"] | {"fit": "none"}}, model, inputs)
    except (KeyError, TypeError, AttributeError):
        raise UndiffuseError("What was asked for is no longer known, so that it cannot be made again") from None
