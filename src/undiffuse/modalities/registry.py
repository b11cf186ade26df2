"""All kinds of samples."""

from __future__ import annotations

from undiffuse.data.info import DataInfo
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
