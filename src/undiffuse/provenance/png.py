"""The making of a picture, kept inside its PNG file.

Two text chunks: ``parameters``, the line that other tools show ("Steps: 50, Sampler: ddim, Seed: 0, ..."), and
``undiffuse``, JSON with everything that is needed to make the picture again; ``undiffuse-edit`` in its place where the
picture is an edit of another (`edit_record`). A PNG file comes from anywhere, so
reading never decodes pixels, never inflates a chunk beyond `MAX_TEXT` bytes, and checks every field.
"""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.adapter_names import short_name
from undiffuse.provenance.edit_record import Edited, Record
from undiffuse.provenance.own_pictures import SHEET_LABEL
from undiffuse.runtime.durable_files import ELSEWHERE, appearing, check_writable, for_the_eye, writing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""First and last bytes of every PNG file."""
MAX_TEXT = 1 << 16
"""Bytes of one text chunk, packed or unpacked."""
MAX_CHUNKS = 4096
LABELS = {"parameters", "undiffuse", "undiffuse-edit"}


@dataclass(frozen=True)
class Origin(Record):
    """Everything that a sample depends on; ``undiffuse sample --from`` makes the picture again from it."""

    CHUNK = "undiffuse"

    checkpoint: str
    """The folder of the model, as it was found."""
    step: int
    """Training step of the weights."""
    weights_sha256: str
    """sha256 of the weights' file, so that other weights in the same folder are noticed."""
    seed: int
    index: int
    """Number of the picture among those of the seed; the first one for a grid."""
    count: int
    """1, or the number of pictures in a grid."""
    shape: tuple[int, ...]
    """(channels, *spatial) of one sample."""
    sample: SampleConfig
    version: str
    device: str
    """The device that computed it: bits are promised for one kind of device only."""

    def facts(self) -> dict[str, Any]:
        return {
            "Steps": self.sample.solver.steps,
            "Sampler": self.sample.solver.sampler,
            "Seed": self.seed,
            "Index": self.index,
            "Size": "x".join(str(side) for side in reversed(self.shape[1:])),
            "Model": short_name(self.checkpoint),
            "Model hash": self.weights_sha256[:10],
            "Training steps": self.step,
            "Spacing": self.sample.solver.spacing,
            "Eta": self.sample.solver.eta,
            "Version": f"undiffuse {self.version}",
        }

    @classmethod
    def from_json(cls, found: object) -> Self:
        origin = super().from_json(found)
        if min(origin.index, origin.seed, origin.step, origin.count - 1, min(origin.shape, default=0) - 1) < 0:
            raise UndiffuseError(f"the picture's '{cls.CHUNK}' chunk holds a number below what there can be")
        return origin


@dataclass(frozen=True)
class Metadata:
    """The text chunks of a PNG file that are about its making."""

    parameters: str | None = None
    origin: Origin | None = None
    edited: Edited | None = None


def write_png(
    path: Path,
    image: Image.Image,
    origin: Origin | Edited | None = None,
    overwrite: bool = False,
    sheet: str = "",
) -> None:
    """Write the picture, with its origin in text chunks, or what it shows where it is a ``sheet`` to be looked at."""
    chunks = PngInfo()
    if origin is not None:
        chunks.add_text("parameters", for_the_eye(origin.parameters()))
        chunks.add_text(origin.CHUNK, json.dumps(origin.to_json(), sort_keys=True))
    if sheet:
        chunks.add_text(SHEET_LABEL, sheet)
    packed = io.BytesIO()
    image.save(packed, "PNG", pnginfo=chunks)
    write_file(path, packed.getvalue(), overwrite)


def sheet_chunk(shown: str) -> PngInfo:
    """The text chunk of a picture that was made to be looked at."""
    chunks = PngInfo()
    chunks.add_text(SHEET_LABEL, shown)
    return chunks


def write_file(path: Path, content: bytes, overwrite: bool = False, advice: str = ELSEWHERE) -> None:
    """Write a file that is wholly there or not at all, and never in the place of another one unless told so."""
    check_free(path, overwrite, advice)
    with appearing(path, advice) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """`write_file` of a text, in which names that are no UTF-8 are written as `for_the_eye`."""
    write_file(path, for_the_eye(text).encode(), overwrite)


def check_free(path: Path, overwrite: bool = False, advice: str = ELSEWHERE) -> None:
    """Check that a file may be written at a path.

    Raises:
        UndiffuseError: a file is there; or, an `UnwritableError`, the place is read-only, full, or in no folder.
    """
    with writing(path, advice):
        there = path.exists()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if there and not overwrite:
        raise UndiffuseError(f"{path} exists already; {advice}, or replace it with `overwrite`")
    check_writable(path, advice)


def read_metadata(path: Path) -> Metadata:
    """The text chunks of a file about its making; empty for a PNG without them.

    Raises:
        UndiffuseError: no PNG file, a damaged one, or a chunk of ours that is not as it should be.
    """
    try:
        with path.open("rb") as file:
            texts = dict(_texts(file, path))
    except OSError as error:
        raise UndiffuseError(f"Cannot read {path}: {error.strerror or error}") from None
    origin = Origin.from_json(_json(texts["undiffuse"], path)) if "undiffuse" in texts else None
    edited = Edited.from_json(_json(texts["undiffuse-edit"], path)) if "undiffuse-edit" in texts else None
    return Metadata(texts.get("parameters"), origin, edited)


def _json(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UndiffuseError(f"The 'undiffuse' chunk of {path} should hold JSON, but cannot be parsed") from None


def _texts(file: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    """(keyword, text) of the chunks that we know; the others, pixels among them, are skipped unread."""
    if file.read(8) != SIGNATURE:
        raise UndiffuseError(f"{path} is no PNG file; only those carry how they were made")
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise UndiffuseError(f"{path} is cut off: its last PNG chunk is missing")
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > MAX_TEXT:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        body, checksum = file.read(length), file.read(4)
        if checksum != struct.pack(">I", zlib.crc32(kind + body)):
            raise UndiffuseError(f"{path} is damaged: the checksum of a text chunk does not fit")
        keyword, _, rest = body.partition(b"\0")
        if (name := keyword.decode("latin-1")) in LABELS:
            yield name, _text(kind, rest, path)
    raise UndiffuseError(f"{path} has more than {MAX_CHUNKS} PNG chunks; no picture made here has")


def _text(kind: bytes, rest: bytes, path: Path) -> str:
    """The text of a chunk after its keyword, as the PNG specification (section 11.3.3) lays it out."""
    encoding, packed = "latin-1", kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    if kind == b"iTXt":
        encoding, packed = "utf-8", rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        if packed:
            inflater = zlib.decompressobj()
            rest = inflater.decompress(rest, MAX_TEXT)
            if inflater.unconsumed_tail:
                raise UndiffuseError(f"A text chunk of {path} unpacks to more than {MAX_TEXT} bytes; refused")
        return rest.decode(encoding)
    except (zlib.error, UnicodeDecodeError):
        raise UndiffuseError(f"{path} is damaged: a text chunk cannot be unpacked") from None
