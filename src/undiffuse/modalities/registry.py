"""All kinds of samples."""

from __future__ import annotations

from undiffuse.data.info import DataInfo
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.modality import Modality
from undiffuse.modalities.signals import SIGNALS
from undiffuse.modalities.volumes import VOLUMES

MODALITIES: dict[int, Modality] = {1: SIGNALS, 2: IMAGES, 3: VOLUMES}
"""The kinds by the number of spatial axes."""


def modality_of(info: DataInfo) -> Modality:
    """The kind of these samples."""
    return MODALITIES[len(info.spatial)]
