"""Pictures that undiffuse itself wrote for the eye: grids, strips, comparisons, contact sheets, films, plots.

They lie among samples and other pictures and are none themselves: a folder of 40 samples and their grid holds 40
images. A PNG says in its text chunks what it is: ``undiffuse-sheet``, or an origin of more than one picture
(`provenance.png`). GIF and WebP say it in a comment and in XMP, SVG in an attribute.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

SHEET_LABEL = "undiffuse-sheet"
"""Keyword of the text chunk that says what a picture for the eye shows."""
MADE_BY = "undiffuse: "
"""Before the same words in GIF's comment and WebP's XMP."""
SVG_MARK = 'data-made-by="undiffuse"'
WHY = "made by undiffuse to be looked at, and no sample: "
"""The beginning of each reason."""
_NAMES = re.compile(
    r"(grid|compare|samples|step-\d+)\.png|.*-(contact|strip)\.png|(forward|reverse|brownian)\.(png|webp|gif)|.*\.svg"
)
"""The names of such files where nobody has given them another one."""
_EXACT = {"|u1": (1, 2, 3, 4), "<u2": (1,)}
"""Types and channels that a PNG holds as they are (`modalities.images`)."""


def has_own_name(name: str) -> bool:
    """True for names that undiffuse gives to pictures for the eye."""
    return _NAMES.fullmatch(name.lower()) is not None


def drawn_for_the_eye(head: bytes) -> str:
    """The reason to leave out a plot of undiffuse's, by the first bytes of an SVG file; '' for any other."""
    ours = SVG_MARK.encode() in head or b'aria-label="figures of quality"' in head
    return f"{WHY}a plot" if ours and b"<svg" in head else ""


def made_for_the_eye(image: Image.Image) -> str:
    """The reason to leave out an opened picture of undiffuse's; '' for samples and others' pictures."""
    info = image.info
    said = [info.get(SHEET_LABEL), _after(info.get("comment")), _after(info.get("xmp"))]
    if shown := next((str(text) for text in said if text), ""):
        return f"{WHY}{shown[:80]}"
    for label in ("undiffuse", "undiffuse-edit"):
        fields = _json(info.get(label))
        count, shape = fields.get("count", 1), fields.get("shape")
        if isinstance(count, int) and count > 1:
            return f"{WHY}a grid of {count} samples"
        if isinstance(shape, list) and len(shape) == 3 and shape[1:] != [image.height, image.width]:
            return f"{WHY}{'a grid of 1 sample' if label == 'undiffuse' else 'a strip of an edit'}"
    return ""


def values_beside(folder: Path) -> Path | None:
    """The file with the values of the samples in a folder, where their pictures could not hold them."""
    path = folder / "samples.npz"
    return path if path.is_file() and kept_values(path) == "views" else None


def is_run(folder: Path) -> bool:
    """True for a folder that is a run or a checkpoint: the pictures in it are for the eye."""
    return (folder / "checkpoints").is_dir() or (folder / "manifest.json").exists()


def kept_values(file: Path | BinaryIO) -> Literal["", "pictures", "views"]:
    """The kind of pictures beside an .npz file of undiffuse's: the samples, or views of them; '' of others' files."""
    try:
        with zipfile.ZipFile(file) as archive:
            if _json(archive.comment).get("shape") is None:
                return ""
            with archive.open("images.npy") as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return ""
    return "pictures" if len(shape) == 4 and shape[1] in _EXACT.get(dtype.str, ()) else "views"


def _after(said: object) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said if isinstance(said, str) else ""
    return text.partition(MADE_BY)[2].partition("<")[0].strip()


def _json(text: object) -> dict[str, object]:
    if not isinstance(text, (str, bytes)):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
