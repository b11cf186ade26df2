"""Pictures that are kept: one PNG file each, which says by itself how it was made.

    FOLDER/ID.png           the picture; byte for byte what `undiffuse sample` writes for the same sample
    FOLDER/ID.json          of an edit: what was asked for, so that it can be made again
    FOLDER/inputs/SHA.png   pictures that edits began from, by the sha256 of their contents

Ids rise with time. The folder is the only state: it can be copied, and files can be taken out of it by hand.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.provenance.adapter_names import short_name
from undiffuse.provenance.edit_record import Edited
from undiffuse.provenance.png import Origin, read_metadata, write_file, write_png
from undiffuse.reports.commands import option
from undiffuse.studio.library.models import UnknownError

ID = re.compile(r"[0-9a-f]{20}")
INPUT = re.compile(r"[0-9a-f]{64}\.png")


class Gallery:
    """Pictures in a folder, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._last = 0

    # --- in -----------------------------------------------------------------------------------------------------------

    def keep(self, image: Image.Image, origin: Origin | Edited, request: dict[str, Any] | None = None) -> str:
        """Keep a picture, and of an edit what was asked for; return its id."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            identity = f"{self._last:016x}{secrets.token_hex(2)}"
        try:
            if request is not None:
                write_file(self.folder / f"{identity}.json", json.dumps(request).encode())
            write_png(self.folder / f"{identity}.png", image, origin)
        except OSError as error:
            raise UndiffuseError(f"The picture cannot be kept in {self.folder}: {error.strerror or error}") from None
        return identity

    def keep_input(self, content: bytes) -> Path:
        """Keep a picture that an edit begins from, once."""
        path = self.folder / "inputs" / f"{hashlib.sha256(content).hexdigest()}.png"
        if not path.exists():
            write_file(path, content, overwrite=True)
        return path

    # --- out ----------------------------------------------------------------------------------------------------------

    def path(self, identity: str) -> Path:
        path = self.folder / f"{identity}.png"
        if not ID.fullmatch(identity) or not path.is_file():
            raise UnknownError("There is no such picture in the gallery")
        return path

    def input(self, name: str) -> Path:
        path = self.folder / "inputs" / name
        if not INPUT.fullmatch(name) or not path.is_file():
            raise UnknownError("There is no such input in the gallery")
        return path

    def origin(self, identity: str) -> Origin | Edited:
        found = read_metadata(self.path(identity))
        made_by = found.origin or found.edited
        if made_by is None:
            raise UndiffuseError("This picture does not say how it was made")
        return made_by

    def request(self, identity: str) -> dict[str, Any] | None:
        path = self.path(identity).with_suffix(".json")
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found

    def about(self, identity: str) -> dict[str, Any]:
        path, made_by = self.path(identity), self.origin(identity)
        with Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
        recipe = recipe_of(made_by, self.request(identity))
        made = datetime.fromtimestamp(int(identity[:16], 16) / 1e9, UTC)
        return {
            "id": identity,
            "url": f"/v1/gallery/{identity}.png",
            "created": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "width": width,
            "height": height,
            "bytes": path.stat().st_size,
            "kind": recipe["kind"],
            "model": recipe["model"],
            "parameters": made_by.parameters(),
            "recipe": recipe,
            "again": isinstance(made_by, Origin) or self.request(identity) is not None,
            "walk": isinstance(made_by, Origin),
        }

    def items(
        self, limit: int = 60, before: str = "", model: str = "", kind: str = ""
    ) -> tuple[list[dict[str, Any]], bool]:
        """Pictures older than the id ``before``, of a model and of a kind, the newest first; whether there are more."""
        names = sorted((path.stem for path in self.folder.glob("*.png") if ID.fullmatch(path.stem)), reverse=True)
        found: list[dict[str, Any]] = []
        for name in names:
            if before and name >= before:
                continue
            try:
                item = self.about(name)
            except (UndiffuseError, OSError, ValueError):  # deleted at this moment, or put there by somebody else
                continue
            if model not in ("", item["model"]) or kind not in ("", item["kind"]):
                continue
            if len(found) == limit:
                return found, True
            found.append(item)
        return found, False

    def delete(self, identity: str) -> None:
        """Forget a picture; inputs stay, as other edits may have begun from them."""
        path = self.path(identity)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def recipe_of(made_by: Origin | Edited, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """The recipe of a picture, for the page and for programs."""
    common = {"step": made_by.step, "sha256": made_by.weights_sha256, "index": made_by.index}
    common["settings"] = made_by.sample.flat()
    if isinstance(made_by, Origin):
        own = {"kind": "sample", "model": short_name(made_by.checkpoint), "seed": made_by.seed}
        return {**own, **common, "command": shlex.join(sample_command(made_by))}
    asked = request or {}
    return {
        "kind": made_by.command[2] if len(made_by.command) > 2 else "edit",
        "model": made_by.model,
        **common,
        "seed": asked.get("seed"),
        "options": asked.get("options", {}),
        "inputs": {name: f"/v1/inputs/{file}" for name, file in asked.get("inputs", {}).items()},
        "command": shlex.join(made_by.command),
    }


def sample_command(made_by: Origin) -> list[str]:
    """The words that draw the sample again."""
    words = ["undiffuse", "sample", made_by.checkpoint, "-n", str(made_by.count), "--first", str(made_by.index)]
    words += ["--seed", str(made_by.seed)]
    standard = SampleConfig().flat()
    for name, value in made_by.sample.flat().items():
        if value != standard[name] and not (name == "steps" and made_by.sample.solver.times):  # which are as many
            words += option(name, value)
    return words
