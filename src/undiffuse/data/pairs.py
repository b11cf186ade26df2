"""Pictures that go with samples: a sketch, a mask, a photograph before it was coloured; one for each, by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError


@dataclass(frozen=True, eq=False)
class Pairs:
    """One picture, of (count, channels, *spatial) in an order of their own, for each sample."""

    pictures: NDArray[Any]
    place: NDArray[np.int64]

    def __getitem__(self, samples: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.pictures[self.place[samples]]
        return found

    @property
    def unused(self) -> int:
        """Pictures that go with no sample."""
        return len(self.pictures) - len(np.unique(self.place))


def match(names: Sequence[str], theirs: Sequence[str], pictures: NDArray[Any], where: str) -> Pairs:
    """Each sample with the picture of the same path and name, whatever the ending: cats/1.jpg and cats/1.png.

    Names are relative to the folders; numbers where these are arrays.
    """
    stems = [_stem(name) for name in theirs]
    twice = next((stem for stem, count in Counter(stems).items() if count > 1), None)
    if twice is not None:
        raise UndiffuseError(f"expected one picture of each name in {where}, got two called '{twice}'")
    places = {stem: place for place, stem in enumerate(stems)}
    missing = [name for name in names if _stem(name) not in places]
    if missing:
        raise UndiffuseError(
            f"expected a picture for each image in {where}, got none for {len(missing):,} of {len(names):,}, such as "
            f"'{missing[0]}'; their names are the same but for the ending"
        )
    return Pairs(pictures, np.array([places[_stem(name)] for name in names], np.int64))


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
