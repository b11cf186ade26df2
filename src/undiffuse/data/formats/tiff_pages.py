"""One TIFF of many pages as an array: each page is a sample, as along the first axis of ``.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from undiffuse.data.dataset import RowWriter
from undiffuse.data.files.decode import MAX_PIXELS, UnreadableError, page_kind, page_pixels, quiet_pillow
from undiffuse.data.files.listing import looks_like_image
from undiffuse.data.files.read_errors import intact
from undiffuse.data.formats.array_source import Arrays, ArraySource
from undiffuse.data.formats.format import Format, NamedPath
from undiffuse.errors import UndiffuseError


class TiffPages(ArraySource):
    """A stack of images of one size and depth; of volumes, a folder of such files is made (`volumes`)."""

    KIND, ROLE = "TiffPages", "pages"

    def load(self, scratch: Path) -> Arrays:
        target = scratch / "pages.npy"
        with (
            intact("a whole TIFF", self.name),
            quiet_pillow(),
            Image.open(self.path, formats=["TIFF"]) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise UndiffuseError(
                    f"expected pages of at most {MAX_PIXELS:,} pixels in {self.name}, got {image.size}"
                )
            channels, dtype = _kind(image, self.name)
            size = image.size
            with RowWriter(target, dtype, (channels, image.height, image.width)) as rows:
                for number in range(getattr(image, "n_frames", 1)):
                    image.seek(number)
                    if (image.size, *_kind(image, self.name)) != (size, channels, dtype):
                        raise UndiffuseError(
                            f"expected pages of one size and kind in {self.name}, got others on page {number + 1}"
                        )
                    try:
                        pixels = page_pixels(image)
                    except UnreadableError as error:
                        raise UndiffuseError(
                            f"expected pages that can be read in {self.name}, got page {number + 1}, which {error}"
                        ) from None
                    rows.write(np.moveaxis(pixels, -1, 0)[None])
        return Arrays(np.load(target, mmap_mode="r"))


def _kind(image: Image.Image, name: str) -> tuple[int, str]:
    try:
        return page_kind(image)  # type: ignore[arg-type]  # Image.open gives a file's image
    except UnreadableError as error:
        raise UndiffuseError(f"expected pages that can be read in {name}, got one that {error}") from None


def has_pages(path: Path) -> bool:
    try:
        with path.open("rb") as file, Image.open(file, formats=["TIFF"]) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # none that can be opened: it is not for here to say why
        return False


def _open(found: NamedPath) -> TiffPages | None:
    pages = looks_like_image(found.head) and has_pages(found.path)
    return TiffPages(found.path, found.name) if pages else None


FORMAT = Format(file=_open)
