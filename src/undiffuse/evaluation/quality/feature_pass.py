"""From image numbers to features: one pass over a subject, whatever the number of extractors.

Drawing an image costs far more than looking at it, so every block of images goes through all extractors and is let go.
A range of numbers can be split anywhere, and its parts computed by different processes: `join` puts them together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from undiffuse.data.info import DataInfo
from undiffuse.evaluation.features.extract import FeatureSet, extract, unit_range
from undiffuse.evaluation.features.extractor import Extractor
from undiffuse.evaluation.quality.image_source import ImageSource
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.standard_streams import hidden


def features_of(
    subject: ImageSource, extractors: Sequence[Extractor], indices: range, info: DataInfo, progress: bool = False
) -> list[FeatureSet]:
    """What each extractor makes of the images ``indices`` of a subject.

    Args:
        subject: whose images.
        extractors: at least one.
        indices: numbers of the images; the features of a range are those of its parts, joined.
        info: whose range maps to [0, 1]: the reference's, so that both sides are seen on one scale.
        progress: show a bar (on a terminal only).

    Raises:
        UndiffuseError: images that an extractor cannot take, or a model or features that are not finite.
    """
    parts: list[list[FeatureSet]] = [[] for _ in extractors]
    with tqdm(total=len(indices), desc="images", unit="image", disable=hidden(progress)) as bar:
        for block in subject.blocks(indices):
            images = unit_range(block, info)
            for extractor, found in zip(extractors, parts, strict=True):
                found.append(extract(extractor, [images], len(images)))
            bar.update(len(block))
    return [join(found) for found in parts]


def shared_features(
    subject: ImageSource, extractors: Sequence[Extractor], info: DataInfo, group: Group = ALONE, progress: bool = False
) -> list[FeatureSet]:
    """What each extractor makes of all images of a subject, drawn by many processes; the same bits in each of them."""
    mine = group.shard(range(0, subject.count, subject.together))
    if group.is_single:
        return features_of(subject, extractors, range(subject.count), info, progress)
    found: list[FeatureSet] = []
    if mine:
        indices = range(mine.start, min(mine.stop, subject.count))
        found = features_of(subject, extractors, indices, info, progress and group.is_main)
    names = json.loads(group.broadcast_text(lambda: json.dumps([list(one.tensors()) for one in found])))
    return [
        FeatureSet.from_tensors(
            {
                name: torch.from_numpy(group.gather_in_order(found[k].tensors()[name].cpu().numpy() if found else None))
                for name in kept
            }
        )
        for k, kept in enumerate(names)
    ]


def join(parts: Iterable[FeatureSet]) -> FeatureSet:
    """The features of several ranges, in their order."""
    rows: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, tensor in part.tensors().items():
            rows.setdefault(name, []).append(tensor)
    return FeatureSet.from_tensors({name: torch.cat(tensors) for name, tensors in rows.items()})
