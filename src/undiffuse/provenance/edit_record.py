"""How an edited picture was made: the command that makes it again, and by what it can be told that nothing changed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import from_plain, to_plain
from undiffuse.errors import UndiffuseError

EDIT_FORMAT = 1


@dataclass(frozen=True)
class Edited:
    """Everything that an edited picture depends on; it is kept in the PNG's chunk ``undiffuse-edit``."""

    command: tuple[str, ...]
    """The words that make it again, in the folder where they were typed."""
    inputs: tuple[str, ...]
    """Files that the command reads, each as 'sha256 path'."""
    model: str
    """Name of the run."""
    step: int
    """Training step of the weights."""
    weights_sha256: str
    """sha256 of the weights' file."""
    index: int
    """Number of the picture's random stream."""
    shape: tuple[int, ...]
    """(channels, *spatial) of the result."""
    sample: SampleConfig
    """How it was walked."""
    version: str
    """Version of undiffuse."""
    device: str
    """Where it was computed: bits are promised for one kind of device only."""

    def parameters(self) -> str:
        """The line that other tools read."""
        pairs = {
            "Steps": self.sample.solver.steps,
            "Sampler": self.sample.solver.sampler,
            "Size": "x".join(str(side) for side in reversed(self.shape[1:])),
            "Model": self.model,
            "Model hash": self.weights_sha256[:10],
            "Edit": self.command[2] if len(self.command) > 2 else "",
            "Version": f"undiffuse {self.version}",
        }
        return ", ".join(f"{name}: {value}" for name, value in pairs.items())

    def to_json(self) -> dict[str, Any]:
        return {"format": EDIT_FORMAT, **to_plain(self)}

    def about(self) -> dict[str, Any]:
        """For the eye: the command as it is typed."""
        return {**to_plain(self), "command": shlex.join(self.command)}

    @classmethod
    def from_json(cls, found: object) -> Edited:
        """Check every field.

        Raises:
            UndiffuseError: a newer format, a missing or unknown field, or a value of the wrong type.
        """
        where = "the picture's 'undiffuse-edit' chunk"
        if not isinstance(found, dict) or found.get("format") != EDIT_FORMAT:
            version = found.get("format") if isinstance(found, dict) else None
            raise UndiffuseError(
                f"{where} has format {version!r:.20} where this undiffuse reads {EDIT_FORMAT}; upgrade it"
            )
        return from_plain(cls, {name: value for name, value in found.items() if name != "format"}, where)
