"""A picture made again from what its file says, and compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.errors import UndiffuseError, quoted

if TYPE_CHECKING:
    from PIL import Image

    from undiffuse.model import AnyModel
    from undiffuse.provenance.png import Origin


def again(options: dict[str, Any]) -> None:
    """Make the picture --from again, say whether it is identical, and write it to the folder --out if there is one."""
    import numpy as np

    from undiffuse.provenance.png import write_png

    path: Path = options["from"]
    made_by = read_origin(path)
    model = matching_model(made_by, path, options.get("RUN"), options.get("device", made_by.device))
    samples = model.sample(made_by.count, made_by.seed, first=made_by.index, settings=made_by.sample, progress=True)
    image = samples.images()[0] if made_by.count == 1 else samples.grid()
    old, new = np.asarray(open_like(path, image)).astype(int), np.asarray(image).astype(int)
    if "out" in options:
        target = options["out"] / path.name
        sheet = f"a grid of {made_by.count} samples" if made_by.count > 1 else ""
        write_png(target, image, samples.origin(made_by.index, made_by.count), "overwrite" in options, sheet)
        print(f"{target}: made again")
    apart = np.abs(old - new)
    if not apart.any():
        print(f"{path} made again: identical, every one of {new.size} values")
    else:
        print(
            f"{path} made again: not identical, {np.count_nonzero(apart)} of {new.size} values differ, by at most "
            f"{apart.max()}; it was made by undiffuse {made_by.version} on {made_by.device}, and another machine or "
            "version of torch rounds differently"
        )


def read_origin(path: Path) -> Origin:
    from undiffuse.provenance.png import read_metadata

    if path.is_dir():
        raise UndiffuseError(f"--from takes one picture, and {path} is a folder: name a picture in it")
    said = read_metadata(path)
    if said.edited is not None:
        command = said.edited.about()["command"]
        raise UndiffuseError(f"{path} was made by an edit, and not drawn: it is made again by {command}")
    found = said.origin
    if found is None:
        raise UndiffuseError(f"{path} does not say how it was made: it has no 'undiffuse' chunk")
    return found


def matching_model(made_by: Origin, path: Path, run: Path | None, device: str) -> AnyModel:
    """The model that made a picture, with the weights of then."""
    from undiffuse.checkpoints.find import is_there
    from undiffuse.checkpoints.hub import hub_name
    from undiffuse.model import load
    from undiffuse.provenance.adapter_names import adapters_in
    from undiffuse.runtime.devices import choose_device

    home = run or Path(made_by.checkpoint)
    base, adapters = adapters_in(home)

    def found(name: str | Path) -> bool:
        hub = hub_name(name)
        return is_there(name) or (hub is not None and (run or hub.revision) is not None)  # what was a path has none

    if not all(map(found, (base, *(one.name for one in adapters)))):
        raise UndiffuseError(
            f"{path} was made by {home}, which is not there (any more): say where its run is with "
            f"undiffuse sample RUN --from {quoted(path)}"
        )
    model = load(home, made_by.sample.compute.weights, str(choose_device(device)))
    if model.provenance["sha256"] != made_by.weights_sha256:
        raise UndiffuseError(
            f"{path} was made by other weights than those in {home}: it wants step {made_by.step} with sha256 "
            f"{made_by.weights_sha256[:10]}..., this is step {model.provenance['step']}; "
            "name that checkpoint's folder as RUN"
        )
    return model


def open_like(path: Path, image: Image.Image) -> Image.Image:
    """The file's picture, refused before it is decoded where it has another size or kind than the one made again."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as old:
            if (old.size, old.mode) != (image.size, image.mode):
                raise UndiffuseError(
                    f"{path} has {old.width} x {old.height} pixels of mode {old.mode} where its text promises "
                    f"{image.width} x {image.height} of mode {image.mode}: it was changed after it was made"
                )
            old.load()
            return old.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise UndiffuseError(f"{path} cannot be read as a picture: {error}") from None
