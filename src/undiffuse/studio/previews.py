"""Tensors as small pictures inside JSON."""

from __future__ import annotations

import base64
import io

from PIL import Image
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.editing.images import view

LONGEST = 128
"""Pixels of a preview's longer side: a preview is to be looked at while it changes."""
EPS_RANGE = 3.0
"""Noise is shown from -3 (black) to 3 (white)."""


def data_url(image: Image.Image) -> str:
    """A picture as a PNG file inside a URL."""
    packed = io.BytesIO()
    image.save(packed, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


def look(x: Tensor, info: DataInfo, longest: int | None = LONGEST) -> str:
    """One sample in model space, -1 black and 1 white, not larger than ``longest``."""
    image = view(x, info)
    if longest is not None and max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.BOX)
    return data_url(image)


def look_at_noise(eps: Tensor, info: DataInfo, longest: int | None = LONGEST) -> str:
    """The same of noise."""
    return look(eps / EPS_RANGE, info, longest)
