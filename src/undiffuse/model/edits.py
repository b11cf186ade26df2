"""The edits of pictures as methods of a model: ``model.inpaint(image, mask)``.

Each takes a PIL image, an array or a tensor, or several of them, with values as the data have them, and gives results
of the same kind; see docs/use/editing.md for what each does, and `undiffuse.editing` for the functions in model space.
The work is done above this storey, in `undiffuse.editing.of_pictures`, which is loaded when a method is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor

from undiffuse.errors import in_one_sentence

if TYPE_CHECKING:
    from undiffuse.editing import keywords


@dataclass(frozen=True)
class Inverted:
    """The noise that pictures come from.

    Args:
        pictures: given back from that noise, of the kind that came.
        latents: x_T in model space, (count, channels, height, width).
        notes: how well each picture is given back.
    """

    pictures: Any
    latents: Tensor
    notes: tuple[str, ...]


class EditsPictures:
    """The edits of a model, or of a cascade.

    All take ``n``, the results of each picture, ``seed`` of the noise, ``progress`` for a bar, their own options, and
    the settings of `Model.sample`. Picture i of a seed gets the same noise whatever is edited beside it.

    Raises:
        UndiffuseError: pictures, options or settings that are not for the edit, or a model that cannot do it.
    """

    @in_one_sentence
    def inpaint(self, picture: Any, mask: Any, **options: Unpack[keywords.InpaintKeywords]) -> Any:
        """Paint anew what a mask marks: white, true or 1."""
        return self._edit("inpaint", picture, mask=mask, **options)

    @in_one_sentence
    def outpaint(self, picture: Any, **options: Unpack[keywords.OutpaintKeywords]) -> Any:
        """Paint more around a picture."""
        return self._edit("outpaint", picture, **options)

    @in_one_sentence
    def upscale(self, picture: Any, **options: Unpack[keywords.UpscaleKeywords]) -> Any:
        """Make a picture larger."""
        return self._edit("upscale", picture, **options)

    @in_one_sentence
    def colorize(self, picture: Any, **options: Unpack[keywords.RestoreKeywords]) -> Any:
        """Give a grey picture color."""
        return self._edit("colorize", picture, **options)

    @in_one_sentence
    def deblur(self, picture: Any, **options: Unpack[keywords.DeblurKeywords]) -> Any:
        """Sharpen a picture that was blurred by a Gaussian."""
        return self._edit("deblur", picture, **options)

    @in_one_sentence
    def denoise(self, picture: Any, **options: Unpack[keywords.DenoiseKeywords]) -> Any:
        """Take the noise off a picture."""
        return self._edit("denoise", picture, **options)

    @in_one_sentence
    def vary(self, picture: Any, **options: Unpack[keywords.VaryKeywords]) -> Any:
        """Variations of a picture."""
        return self._edit("vary", picture, **options)

    @in_one_sentence
    def translate(self, picture: Any, **options: Unpack[keywords.TranslateKeywords]) -> Any:
        """A picture of one class as one of another."""
        return self._edit("translate", picture, **options)

    @in_one_sentence
    def interpolate(self, first: Any, second: Any, **options: Unpack[keywords.InterpolateKeywords]) -> Any:
        """Pictures on the way from one to another, both ends among them."""
        return self._edit("interpolate", first, second=second, **options)

    @in_one_sentence
    def invert(self, picture: Any, **options: Unpack[keywords.InvertKeywords]) -> Inverted:
        """The noise that a picture comes from, and how well it gives the picture back."""
        found: Inverted = self._edit("invert", picture, **options)
        return found

    def _edit(self, name: str, pictures: Any, **how: Any) -> Any:
        return import_module("undiffuse.editing.of_pictures").edit(self, name, pictures, **how)
