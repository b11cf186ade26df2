"""The files of an edit: results, values beside them, strips, and in each how it was made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.cli.edit.edit_command import EditCommand, PictureBatch
from undiffuse.editing.edit import EditResult

if TYPE_CHECKING:
    from undiffuse.provenance.edit_record import Edited


def write(command: EditCommand, batch: PictureBatch, made: EditResult) -> None:
    """Write the files of each picture, and then say what there is to say of it, and their names."""
    for row in range(0, len(batch.pictures), command.copies):
        picture = batch.pictures[row]
        paths = _write_row(command, batch, made, row)
        for note in made.notes[row : row + 1]:
            print(f"{picture.path}: {note}")
        for path in paths:
            print(path)


def _write_row(command: EditCommand, batch: PictureBatch, made: EditResult, row: int) -> list[Path]:
    import numpy as np

    from undiffuse.editing.images import save_result, side_by_side, view
    from undiffuse.provenance.png import write_file, write_png

    overwrite, info, paths = "overwrite" in command.typed, command.model.info, list[Path]()
    stem = command.stem(command.pictures if command.joins else batch.pictures[row:])
    each = command.count // command.copies
    pictures = made.pictures[row * each : row * each + command.count]
    streams = [batch.indices[row + k // each] for k in range(command.count)]
    origins = [_origin(command, index, x.shape) for x, index in zip(pictures, streams, strict=True)]
    for name, values in made.files.items():
        packed, path = io.BytesIO(), command.place(stem, name, ".npz")
        np.savez_compressed(packed, **{name: values[row].numpy()})  # type: ignore[arg-type]
        write_file(path, packed.getvalue(), overwrite)
        paths.append(path)
    *places, strip = (path for path in command.places(stem) if path.suffix == ".png")
    for place, x, origin in zip(places, pictures, origins, strict=True):
        paths += save_result(place, x, info, origin, overwrite)
    if "no_strips" not in command.typed:
        height, width = pictures.shape[2:]
        before, after = (
            [(caption, view(x[row], info, (height, width))) for caption, x in shown.items()]
            for shown in (made.before, made.after)
        )
        captions = [command.name if k == 0 and not after else "" for k in range(command.count)]
        shown = [(caption, view(x, info)) for caption, x in zip(captions, pictures, strict=True)]
        write_png(strip, side_by_side([*before, *shown, *after]), origins[0], overwrite, "a strip of an edit")
        paths.append(strip)
    return paths


def _origin(command: EditCommand, index: int, shape: Sequence[int]) -> Edited:
    from undiffuse.editing.images import edit_record, file_sha256

    inputs = [f"{picture.sha256} {picture.path}" for picture in command.pictures]
    inputs += [f"{file_sha256(path)} {path}" for path in command.mask_files]
    return edit_record(command.model, command.plan.settings, command.words(), inputs, index, shape)
