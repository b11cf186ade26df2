"""Files that are one image each, in a folder or an archive."""

from __future__ import annotations

from typing import Any

from undiffuse.config.data import DataConfig
from undiffuse.data.files.listing import Files, Listing, is_image
from undiffuse.data.source import Draft, WrittenSamples
from undiffuse.data.writing.images import write_images


class ImageFiles:
    """The kind of file that is an image."""

    def named(self, name: str) -> bool:
        return is_image(name)

    def key(self, config: DataConfig, source: str) -> dict[str, Any]:
        return {}

    def write(self, files: Files, listing: Listing, draft: Draft) -> WrittenSamples:
        return write_images(files, listing, draft)


IMAGES = ImageFiles()
