"""All kinds of samples."""

from __future__ import annotations

from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.modality import Modality
from undiffuse.modalities.signals import SIGNALS
from undiffuse.modalities.video import VIDEOS
from undiffuse.modalities.volumes import VOLUMES

MODALITIES: dict[int, Modality] = {1: SIGNALS, 2: IMAGES, 3: VOLUMES}
"""The kinds of samples by their number of spatial axes."""
NAMED: dict[tuple[str, int], Modality] = {("video", 3): VIDEOS}
"""The kinds that the axes alone do not tell, by `DataInfo.kind` and the number of axes."""


def modality_of(info: DataInfo) -> Modality:
    axes = len(info.spatial)
    return NAMED.get((info.kind, axes), MODALITIES[axes])


def register_modality(modality: Modality, axes: int, kind: str = "") -> None:
    """Make a kind of samples known: how they are written, read and looked at.

    Args:
        axes: spatial axes of its samples.
        kind: `DataInfo.kind`, which a format of data says of its samples; '' for all samples of so many axes that the
            library has no kind for.

    Raises:
        UndiffuseError: there is such a kind.
    """
    before = NAMED.get((kind, axes)) if kind else MODALITIES.get(axes)
    if before not in (None, modality):
        raise UndiffuseError(f"There is a kind of samples {kind!r} with {axes} axes already")
    if kind:
        NAMED[(kind, axes)] = modality
    else:
        MODALITIES[axes] = modality
