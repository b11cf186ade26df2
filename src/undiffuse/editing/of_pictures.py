"""Edits of pictures as a program has them: PIL images, arrays or tensors go in, and results of the same kind come out.

The functions of `undiffuse.editing` work in model space; these are the methods of a model, `undiffuse.model.edits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import flat_fields
from undiffuse.data.codec import codec_of
from undiffuse.data.info import DataInfo
from undiffuse.editing.defaults import check_result
from undiffuse.editing.edit import EditInput
from undiffuse.editing.editor import Editor, edit_plan
from undiffuse.editing.options import options_of, unheeded
from undiffuse.editing.registry import EDITS, overlap_of
from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.model import AnyModel
from undiffuse.model.edits import Inverted
from undiffuse.model.plan import whole_numbers
from undiffuse.model.sample_objects import with_texts
from undiffuse.model.sample_request import warn
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.visualization.grid import to_image

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1, "F": 1}
"""Channels of the modes of PIL whose values are the data's own."""

Place = Literal["first", "last", "none"]


@dataclass(frozen=True)
class GivenPictures:
    """Pictures of one size, and the kind of object that they came as.

    Args:
        values: of the data's type, (count, channels, height, width).
        kind: of the object.
        single: one picture came, and not a list or a batch.
        channels: where they stand in an array or tensor; 'none' where one of one channel has no axis for it.
        device: of a tensor.
    """

    values: NDArray[Any]
    kind: Literal["image", "array", "tensor"]
    single: bool
    channels: Place = "first"
    device: torch.device | None = None

    @classmethod
    def of(cls, given: Any, info: DataInfo, channels: int, name: str = "picture") -> GivenPictures:
        """Pictures for a model of such data.

        Args:
            given: a PIL image, an array or a tensor, (height, width), (channels, height, width) or (height, width,
                channels); several of them in a list, or arrays and tensors with one more axis before.
            channels: that they must have.
            name: of the argument, for messages.

        Raises:
            UndiffuseError: another kind of object, number of channels or type of values, or sizes that differ.
        """
        if isinstance(given, (list, tuple)):
            if not given:
                raise UndiffuseError(f"`{name}` is one picture or more, and the list is empty")
            parts = [cls.of(one, info, channels, name) for one in given]
            if len({(part.kind, part.values.shape[1:]) for part in parts}) > 1 or not all(p.single for p in parts):
                raise UndiffuseError(f"The pictures in `{name}` are of one size and kind; edit others by themselves")
            return replace(parts[0], values=np.concatenate([part.values for part in parts]), single=False)
        if isinstance(given, Image.Image):
            return cls(_of_type(_of_image(given, channels, name), info, name), "image", True)
        if isinstance(given, (np.ndarray, Tensor)):
            tensor = isinstance(given, Tensor)
            array = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
            values, single, where = _of_array(array, channels, name)
            kind: Literal["array", "tensor"] = "tensor" if tensor else "array"
            return cls(
                _of_type(values, info, name), kind, single, where, given.device if isinstance(given, Tensor) else None
            )
        raise UndiffuseError(
            f"`{name}` is a PIL image, an array or a tensor, or a list of them, got a {type(given).__name__}"
            + ("; open a file with PIL.Image.open" if isinstance(given, str) or hasattr(given, "__fspath__") else "")
        )

    def back(self, x: Tensor, info: DataInfo, several: bool) -> Any:
        """Results in model space, as what came.

        Args:
            several: there are several of a picture.
        """
        kind = replace(info, shape=tuple(x.shape[1:]))
        values = codec_of(info).decode(x)
        if self.kind == "image":
            images = [to_image(each, kind) for each in values]
            return images[0] if self.single and not several else images
        found = np.moveaxis(values, 1, -1) if self.channels == "last" else values
        if self.channels == "none" and values.shape[1] == 1:  # an edit may give more channels than it takes
            found = values[:, 0]
        array = np.ascontiguousarray(found[0] if self.single and not several else found)
        return torch.from_numpy(array).to(self.device) if self.kind == "tensor" else array


def _of_image(image: Image.Image, channels: int, name: str) -> NDArray[Any]:
    if MODES.get(image.mode) != channels:
        fits = " or ".join(f"'{mode}'" for mode, count in MODES.items() if count == channels) or "none"
        raise UndiffuseError(
            f"`{name}` is of mode '{image.mode}', and this edit of this model takes {fits}: image.convert makes it"
        )
    pixels: NDArray[Any] = np.asarray(image)
    return pixels[None, None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)[None]


def _of_array(
    array: NDArray[Any], channels: int, name: str
) -> tuple[NDArray[Any], bool, Literal["first", "last", "none"]]:
    """Values (count, channels, height, width), whether it was one picture, and where its channels stood."""
    shape = array.shape
    if array.ndim == 2 and channels == 1:
        return array[None, None], True, "none"
    if array.ndim == 3 and shape[0] == channels:
        return array[None], True, "first"
    if array.ndim == 3 and shape[2] == channels:
        return np.moveaxis(array, -1, 0)[None], True, "last"
    if array.ndim == 4 and shape[1] == channels:
        return array, False, "first"
    if array.ndim == 4 and shape[3] == channels:
        return np.moveaxis(array, -1, 1), False, "last"
    raise UndiffuseError(
        f"`{name}` has the shape {shape}; this edit of this model takes ({channels}, height, width), (height, width, "
        f"{channels}), or several of them with one more axis before"
    )


def _of_type(values: NDArray[Any], info: DataInfo, name: str) -> NDArray[Any]:
    if str(values.dtype) == info.dtype:
        return values
    if info.dtype == "float32" and values.dtype.kind == "f":
        return values.astype(np.float32)
    raise UndiffuseError(
        f"`{name}` has values of {values.dtype}, and the model learned {info.dtype} from {info.low:g} to "
        f"{info.high:g}: bring them there, or use the functions of undiffuse.editing, which work in model space"
    )


def known_part(mask: Any, count: int, sides: Sequence[int]) -> Tensor:
    """A mask as edits have it, (#count, 1, height, width): 1 where pictures are known, 0 where they are painted anew.

    Args:
        mask: white, true or 1 where it is painted anew: a PIL image, an array or a tensor, (height, width), or one for
            each of ``count`` pictures.
        sides: height and width of the pictures.

    Raises:
        UndiffuseError: it is something else, of another size, neither black nor white, or all of one.
    """
    if isinstance(mask, (list, tuple)):
        return torch.cat([known_part(one, 1, sides) for one in mask])
    if isinstance(mask, Image.Image):
        values: NDArray[Any] = np.asarray(mask.convert("L")) >= 128 if mask.mode != "1" else np.asarray(mask)
    elif isinstance(mask, (np.ndarray, Tensor)):
        values = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else mask
        top = values.max(initial=0)
        if not np.isin(values, (0, top)).all() or top not in (0, 1, 255):
            raise UndiffuseError("An array for `mask` holds true and false, 0 and 1, or 0 and 255; this one has others")
        values = values == top if top else values != 0
    else:
        raise UndiffuseError(f"`mask` is a PIL image, an array or a tensor, got a {type(mask).__name__}")
    if values.ndim == 4 and 1 in values.shape[1:2]:
        values = values[:, 0]
    values = values[None] if values.ndim == 2 else values
    if values.shape[0] not in (1, count) or values.shape[1:] != tuple(sides):
        wanted = " x ".join(map(str, sides))
        raise UndiffuseError(f"`mask` has the size of the picture, {wanted} (height x width), and not {values.shape}")
    if any(one.all() or not one.any() for one in values):
        raise UndiffuseError("`mask` is all of one color: white, true or 1 is painted anew, and the rest is kept")
    return torch.from_numpy((~values).astype(np.float32))[:, None]


@own_modes()
def edit(
    model: AnyModel,
    name: str,
    pictures: Any,
    *,
    mask: Any = None,
    second: Any = None,
    n: int = 1,
    seed: int = 0,
    progress: bool = False,
    **said: Any,
) -> Any:
    """The results of an edit of `EDITS`, of the kind of object that came.

    Args:
        pictures: see `GivenPictures.of`.
        mask: see `known_part`.
        second: the picture that an interpolation goes to.
        n: results of each picture.
        seed: of the noise; results of picture i have the streams i n .. i n + n - 1.
        progress: show a bar.
        said: options of the edit and settings of the sampling.

    Raises:
        UndiffuseError: the model, the pictures or the options are not for this edit.
    """
    row, info = EDITS[name], model.info
    if modality_of(info) is not IMAGES:
        raise UndiffuseError(f"Edits are of pictures, and this model learned the shape {info.shape}")
    options, settings = _parted(name, with_texts(said))
    n, seed = whole_numbers(n=n, seed=seed)
    if n < 1 or seed < 0:
        raise UndiffuseError(f"`n` is at least 1 and `seed` at least 0; they are {n} and {seed}")
    row.check_count(n)
    how, walked = row.resolve(model, options, settings)
    given = GivenPictures.of(pictures, info, row.channels or info.channels)
    sides = given.values.shape[2:]
    check_result(sides)
    known = None if "mask" not in row.inputs else known_part(mask, len(given.values), sides)
    other = None if second is None else GivenPictures.of(second, info, info.channels, "second")
    if other is not None and (len(given.values) > 1 or other.values.shape != given.values.shape):
        raise UndiffuseError("An interpolation goes from one picture to another of its size")
    how = row.filled(how, model, (sides[0], sides[1]))
    warn(unheeded(how))
    plan, count = edit_plan(model, walked), len(given.values) * n

    def editor(height: int, width: int) -> Editor:
        check_result((height, width))
        return Editor(plan, seed, tuple(range(count)), overlap_of(how, model, (height, width)), progress)

    x0 = codec_of(info).encode(given.values).repeat_interleave(n, 0)
    known = known if known is None or len(known) == 1 else known.repeat_interleave(n, 0)
    to = None if other is None else codec_of(info).encode(other.values)[0]
    result = row.work(EditInput(editor, x0, known, to), how)
    if result.warning:
        warn([result.warning])
    back = given.back(result.pictures, info, n > 1 or row.results(how) > 1)
    if "latent" in result.files:
        return Inverted(back, result.files["latent"], result.notes)
    return back


def _parted(name: str, said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the edit and settings of the sampling."""
    row = EDITS[name]
    own, known = options_of(row.options), flat_fields(SampleConfig)
    for word in said:
        if word not in own and (word not in known or word in row.omit):
            raise UndiffuseError(f"`{name}` has no option '{word}'{perhaps(word, {*own, *known} - set(row.omit))}")
    return {k: v for k, v in said.items() if k in own}, {k: v for k, v in said.items() if k not in own}
