"""From image numbers to features: one pass over a subject, whatever the number of extractors.

Drawing an image costs far more than looking at it, so every block of images goes through all extractors and is let go.
A range of numbers can be split anywhere, and its parts computed by different processes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from tqdm import tqdm

from undiffuse.data.info import DataInfo
from undiffuse.evaluation.features.extract import extract, unit_range
from undiffuse.evaluation.features.extractor import Extractor, Outputs
from undiffuse.evaluation.quality.image_source import ImageSource
from undiffuse.evaluation.value_range import Extent
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.standard_streams import hidden


def features_of(
    subject: ImageSource,
    extractors: Sequence[Extractor],
    indices: range,
    info: DataInfo,
    extent: Extent | None = None,
    progress: bool = False,
) -> list[Outputs]:
    """The features of some images of a subject by each extractor.

    Args:
        indices: numbers of the images; the features of a range are those of its parts, joined.
        info: whose range maps to [0, 1]: the reference's, so that both sides are seen on one scale.
        extent: to be told of the images' values.
    """
    parts: list[list[Outputs]] = [[] for _ in extractors]
    with tqdm(total=len(indices), desc="images", unit="image", disable=hidden(progress)) as bar:
        for block in subject.blocks(indices):
            if extent is not None:
                extent.look(block, info)
            images = unit_range(block, info)
            for extractor, found in zip(extractors, parts, strict=True):
                found.append(extract(extractor, [images], len(images)))
            bar.update(len(block))
    return [Outputs.join(found) for found in parts]


def shared_features(
    subject: ImageSource,
    extractors: Sequence[Extractor],
    info: DataInfo,
    extent: Extent | None = None,
    group: Group = ALONE,
    progress: bool = False,
) -> list[Outputs]:
    """The features of all images of a subject, drawn by many processes; the same bits in each of them."""
    mine = group.shard(range(0, subject.count, subject.together))
    found: list[Outputs] = []
    if mine:
        indices = range(mine.start, min(mine.stop, subject.count))
        found = features_of(subject, extractors, indices, info, extent, progress and group.is_main)
    names = json.loads(group.broadcast_text(lambda: json.dumps([list(one.tensors()) for one in found])))
    return [
        Outputs(
            **{
                name: torch.from_numpy(group.gather_in_order(found[k].tensors()[name].cpu().numpy() if found else None))
                for name in kept
            }
        )
        for k, kept in enumerate(names)
    ]
