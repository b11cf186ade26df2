"""The record of how a picture was made; of an edit, with the command that makes it again."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import from_plain, to_plain
from undiffuse.errors import UndiffuseError


class Record(ABC):
    """Everything that a picture depends on, kept as JSON in a chunk of its PNG file."""

    FORMAT: ClassVar[int] = 1
    CHUNK: ClassVar[str]

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The entries that other tools show."""

    def parameters(self) -> str:
        """The line that other tools read."""
        return ", ".join(f"{name}: {value}" for name, value in self.facts().items())

    def to_json(self) -> dict[str, Any]:
        return {"format": self.FORMAT, **to_plain(self)}

    @classmethod
    def from_json(cls, found: object) -> Self:
        """Check every field.

        Raises:
            UndiffuseError: a newer format, a missing or unknown field, or a value of the wrong type.
        """
        where = f"the picture's '{cls.CHUNK}' chunk"
        fields = dict(found) if isinstance(found, dict) else {}
        version = fields.pop("format", None)
        if version != cls.FORMAT:
            raise UndiffuseError(
                f"{where} has format {version!r:.20} where this undiffuse reads {cls.FORMAT}; upgrade it"
            )
        return from_plain(cls, fields, where)


@dataclass(frozen=True)
class Edited(Record):
    CHUNK = "undiffuse-edit"

    command: tuple[str, ...]
    """The words that make it again, in the folder where they were typed."""
    inputs: tuple[str, ...]
    """Files that the command reads, each as 'sha256 path'."""
    model: str
    """Name of the run."""
    step: int
    """Training step of the weights."""
    weights_sha256: str
    index: int
    """Number of the picture's random stream."""
    shape: tuple[int, ...]
    """(channels, *spatial) of the result."""
    sample: SampleConfig
    version: str
    device: str
    """The device that computed it: bits are promised for one kind of device only."""

    def facts(self) -> dict[str, Any]:
        return {
            "Steps": self.sample.solver.steps,
            "Sampler": self.sample.solver.sampler,
            "Size": "x".join(str(side) for side in reversed(self.shape[1:])),
            "Model": self.model,
            "Model hash": self.weights_sha256[:10],
            "Edit": self.command[2] if len(self.command) > 2 else "",
            "Version": f"undiffuse {self.version}",
        }

    def about(self) -> dict[str, Any]:
        """For the eye: the command as it is typed."""
        return {**to_plain(self), "command": shlex.join(self.command)}
