"""What names and shapes in a file of tensors tell of a network, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from undiffuse.checkpoints.foreign.mapping import NameRule
from undiffuse.checkpoints.foreign.tensors import Shape
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.network import NetworkConfig
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True)
class Layout:
    """A file of somebody's in our terms.

    Args:
        shape: (channels, height, width) of images.
        classes: that the network can be told; 0 for none.
    """

    network: NetworkConfig
    diffusion: DiffusionConfig
    shape: Shape
    rules: list[NameRule]
    classes: int = 0


@dataclass(frozen=True)
class Shapes:
    """The shapes in a file.

    Args:
        where: the file's name in messages.
        whose: a clause for messages, about networks that have what this one lacks.
    """

    shapes: Mapping[str, Shape]
    where: str
    whose: str

    def size(self, name: str, axis: int = 0) -> int:
        """Length of a tensor along an axis."""
        if not -len(self.shapes.get(name, ())) <= axis < len(self.shapes.get(name, ())):
            raise self.lacks(name)
        return self.shapes[name][axis]

    def lacks(self, name: str) -> UndiffuseError:
        return UndiffuseError(f"{self.where} lacks '{name}', which {self.whose}")

    def count(self, pattern: str) -> int:
        """The number of tensors of this name, counted from 0."""
        return next(k for k in count() if pattern.format(k) not in self.shapes)

    def multipliers(self, base: int, widths: Sequence[int]) -> tuple[int, ...]:
        """The channels of each level in units of the stem's."""
        if not widths or not base or any(width % base for width in widths):
            raise UndiffuseError(
                f"{self.where} has levels of {widths} channels, which are no multiples of its stem's {base}"
            )
        return tuple(width // base for width in widths)
