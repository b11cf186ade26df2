"""What is known of a prepared data set: it travels with the data, the run and the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

NARROW = 0.05
"""Standard deviation in model space below which values hardly vary: 12-bit ones in 16 bits have at most 0.036."""


@dataclass(frozen=True)
class DataInfo:
    """Shape, range and statistics of a data set.

    Model space is float32 in [-1, 1]: ``low`` maps to -1 and ``high`` to +1, so a model knows how to give back values
    of the data's own type and range.
    """

    name: str
    """What the user called it: a folder's or file's name, or a built-in name."""
    fingerprint: str
    """sha256 of the contents and of the settings that they were prepared with."""
    count: int
    """Number of samples."""
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
    vectors: tuple[str, ...] = ()
    """Names of the numbers that are said of samples."""
    vector_mean: tuple[float, ...] = ()
    """Mean of each of them, which a network is told them without."""
    vector_std: tuple[float, ...] = ()
    """Standard deviation of each, which they are divided by."""
    pair_channels: int = 0
    """Channels of the picture that goes with each sample; 0 without any."""
    pair_dtype: str = ""
    """As ``dtype``, of those pictures."""
    pair_low: float = 0.0
    """As ``low``."""
    pair_high: float = 0.0
    """As ``high``."""
    unclassed: str = ""
    """What took the classes away, where folders look like some: images beside them; '' elsewhere."""

    @property
    def to_have_classes(self) -> str:
        """What would give these data classes, where they have none."""
        return self.unclassed or (
            "put the images into a folder for each class, or write a metadata.csv with the columns file_name and class"
        )

    @property
    def narrow(self) -> str:
        """What is wrong where the values fill next to nothing of [-1, 1], which is learned badly; '' elsewhere."""
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
    def pair(self) -> DataInfo:
        """Kind, range and shape of the pictures that go with the samples, for `encode` and readers."""
        shape, mean, std = (self.pair_channels, *self.spatial), (0.0,) * self.pair_channels, (1.0,) * self.pair_channels
        return DataInfo(
            self.name, self.fingerprint, self.count, shape, self.pair_dtype, self.pair_low, self.pair_high, mean, std
        )

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        if not self.unclassed:  # files about data without the question are as they were before there was one
            del fields["unclassed"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> DataInfo:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)
