"""The facts about a prepared data set, which travel with the data, the run and the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from undiffuse.data.standardizer import NOTHING, Standardizer

NARROW = 0.05
"""Standard deviation in model space below which values hardly vary: 12-bit ones in 16 bits have at most 0.036."""


@dataclass(frozen=True)
class _Facts:
    """Shape, range and statistics of samples."""

    name: str
    """The name that the user gave: a folder's or file's, or a built-in one."""
    fingerprint: str
    """sha256 of the contents and of the settings that they were prepared with."""
    count: int
    shape: tuple[int, ...]
    """(channels, *spatial)."""
    dtype: str
    """'uint8', 'uint16' or 'float32'."""
    low: float
    """The value that maps to -1: 0 for integers, the smallest value for floats."""
    high: float
    """The value that maps to +1: 255, 65535, or the largest value for floats."""
    mean: tuple[float, ...]
    """Mean of each channel, in model space."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in model space."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their labels; empty without labels."""
    refused: int = 0
    """Files that were found but could not be used."""
    texts: int = 0
    """Samples of which a text says something."""


@dataclass(frozen=True)
class StoredInfo(_Facts):
    """A `DataInfo` as files have it: flat, as before numbers and pairs were records of their own."""

    vectors: tuple[str, ...] = ()
    vector_mean: tuple[float, ...] = ()
    vector_std: tuple[float, ...] = ()
    pair_channels: int = 0
    pair_dtype: str = ""
    pair_low: float = 0.0
    pair_high: float = 0.0
    unclassed: str = ""
    kind: str = ""
    new: str = ""

    def info(self) -> DataInfo:
        numbers = Standardizer(self.vectors, self.vector_mean, self.vector_std)
        info = DataInfo(**_facts_of(self), numbers=numbers, unclassed=self.unclassed, kind=self.kind, new=self.new)
        pair = (self.pair_channels, self.pair_dtype, self.pair_low, self.pair_high)
        return info.with_pair(*pair) if self.pair_channels else info


@dataclass(frozen=True)
class DataInfo(_Facts):
    """Shape, range and statistics of a data set.

    Model space is float32 in [-1, 1]: ``low`` maps to -1 and ``high`` to +1, so a model knows how to give back values
    of the data's own type and range.
    """

    numbers: Standardizer = NOTHING
    """The numbers that are said of samples."""
    pair: DataInfo | None = None
    """The pictures that go with the samples, one with each: their kind, range and shape."""
    unclassed: str = ""
    """Reason why there are no classes although folders look like some; '' elsewhere."""
    kind: str = ""
    """The kind of sample where the shape does not tell: 'video' of clips; '' elsewhere."""
    new: str = ""
    """The fingerprint of the data themselves, where a model's samples lie beside them; '' elsewhere."""

    def learned(self, data: DataInfo) -> bool:
        """Whether these, from which a model learned, are those data, be it with samples of another model beside."""
        return data.fingerprint in (self.fingerprint, self.new)

    @property
    def to_have_classes(self) -> str:
        """Advice on how data without classes get some."""
        return self.unclassed or (
            "put the images into a folder for each class, or write a metadata.csv with the columns file_name and class"
        )

    @property
    def narrow(self) -> str:
        """Sentence about values that fill next to nothing of [-1, 1], which is learned badly; '' elsewhere."""
        widest = max(self.std)
        if widest >= NARROW:
            return ""
        unit = "8" if self.dtype == "uint8" else "16"
        do = (
            "their range is that of a few values far from all others; clip the array first"
            if self.dtype == "float32"
            else f"{unit}-bit values are taken for 0 .. {self.high:.0f}; where yours end much lower, save them as "
            "floats, whose own range is taken, or multiply them up to it"
        )
        return f"the values hardly vary (std {widest:.2g} in the model, where pictures have about 0.5): {do}"

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def vectors(self) -> tuple[str, ...]:
        return self.numbers.names

    def with_pair(self, channels: int, dtype: str, low: float, high: float) -> DataInfo:
        """These data with a picture for each sample, of its size; moments of the pictures are not known."""
        shape = (channels, *self.spatial)
        return replace(self, pair=DataInfo(self.name, self.fingerprint, self.count, shape, dtype, low, high, (), ()))

    def to_json(self) -> dict[str, Any]:
        numbers, pair = self.numbers, self.pair
        told: dict[str, Any] = {"vectors": numbers.names, "vector_mean": numbers.mean, "vector_std": numbers.std}
        if pair:
            told |= {f"pair_{name}": getattr(pair, name) for name in ("channels", "dtype", "low", "high")}
        values = asdict(StoredInfo(**_facts_of(self), **told, unclassed=self.unclassed, kind=self.kind, new=self.new))
        later = {"unclassed", "kind", "new"}  # files that say none are as they were before there was such a field
        return {name: value for name, value in values.items() if value or name not in later}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DataInfo:
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return StoredInfo(**plain).info()


def _facts_of(known: _Facts) -> dict[str, Any]:
    return {field.name: getattr(known, field.name) for field in fields(_Facts)}
