"""The quality of images in figures that are never bare: each stands beside its floor, its counts and its warnings.

    subject = ModelSamples(model.plan(steps=50), count=5000)
    quality = evaluate(subject, Reference(dataset), [extractor])
    quality = quality.with_bits(measure_bits(model, held_out))
    print(table(quality))

The floor of a figure is the same metric between real images and other real images: what a perfect model would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.evaluation.features.extractor import Extractor, Identity
from undiffuse.evaluation.quality.bits import Bits
from undiffuse.evaluation.quality.feature_metrics import FeatureMetrics, Values
from undiffuse.evaluation.quality.feature_pass import shared_features
from undiffuse.evaluation.quality.image_source import ImageSource
from undiffuse.evaluation.quality.measurement import Measurement
from undiffuse.evaluation.quality.reference import Reference, check_comparable
from undiffuse.evaluation.quality.registry import MINIMUM
from undiffuse.evaluation.value_range import Extent
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.version import __version__

FORMAT = 1
"""Version of the JSON file."""


@dataclass(frozen=True)
class QualitySettings:
    seed: int = 0
    """Of the samples, the floor's halves and every subset that a metric draws."""
    repeat: int = 1
    """Seeds, from ``seed`` on, over which mean and standard deviation are given."""


@dataclass(frozen=True)
class Quality:
    """Figures, and everything that they depend on.

    Args:
        figures: in the order of the table.
        n: number of samples.
        subject, reference: facts of both, as plain values.
        notes: sentences about what was left out, and why.
    """

    figures: tuple[Measurement, ...]
    n: int
    subject: dict[str, Any]
    reference: dict[str, Any]
    extractors: tuple[Identity, ...]
    settings: QualitySettings
    notes: tuple[str, ...] = ()
    likelihood: dict[str, Any] | None = None
    """The images whose bits/dim are among the figures."""

    def with_bits(self, bits: Bits | None) -> Quality:
        """With bits/dim as the last figure, or, without any, with a note why not."""
        if bits is None:
            return replace(
                self,
                notes=(
                    *self.notes,
                    "no bits/dim: a continuous process, a cascade or a student has no variational bound",
                ),
            )
        return replace(self, figures=(*self.figures, bits.figure), likelihood=bits.facts)

    def figure(self, metric: str, extractor: str | None = None) -> Measurement:
        """The figure of a metric, by the first extractor that gave it unless one is named; a KeyError without any."""
        for one in self.figures:
            if one.metric == metric and extractor in (None, one.extractor):
                return one
        raise KeyError(metric)

    def to_json(self) -> dict[str, Any]:
        """The plain values of the file, without NaN."""
        return {
            "kind": "quality",
            "format": FORMAT,
            "undiffuse": __version__,
            "n": self.n,
            "subject": self.subject,
            "reference": self.reference,
            "extractors": [asdict(identity) for identity in self.extractors],
            "settings": asdict(self.settings),
            "likelihood": self.likelihood,
            "figures": [figure.to_json() for figure in self.figures],
            "notes": list(self.notes),
        }


@in_one_sentence
@own_modes()
def evaluate(
    subject: ImageSource,
    reference: Reference,
    extractors: Sequence[Extractor],
    settings: QualitySettings | None = None,
    *,
    cache: Path | None = None,
    progress: bool = False,
    group: Group = ALONE,
) -> Quality:
    """Measure a subject against a reference.

    Everything that can be refused is refused before the first image is drawn.

    Args:
        extractors: at least one; every metric is computed with each.
        cache: folder of the reference's features, see `Reference.features`.
        group: processes that share the drawing; each gets the figures of one process.

    Raises:
        UndiffuseError: images that do not agree with the reference, too few of either, or that an extractor refuses.
    """
    settings = settings or QualitySettings()
    check_comparable(subject.info, reference.info)
    check_counts(subject, reference)
    subjects = [subject, *(subject.with_seed(settings.seed + k) for k in range(1, settings.repeat))]
    for extractor in extractors:
        with group.main_first():  # the first computes, the others find it in the cache
            reference.features(extractor, cache, progress and group.is_main)
    sheets = [
        FeatureMetrics.of(extractor, reference, subject.count, settings.seed, cache, progress)
        for extractor in extractors
    ]
    by_seed: list[list[Values]] = [[] for _ in sheets]
    extent = Extent()
    for number, one in enumerate(subjects):
        drawn = shared_features(one, extractors, reference.info, None if number else extent, group, progress)
        for sheet, fake, lines in zip(sheets, drawn, by_seed, strict=True):
            lines.append(sheet.values(fake, settings.seed, progress))
    return Quality(
        figures=tuple(chain.from_iterable(sheet.figures(lines) for sheet, lines in zip(sheets, by_seed, strict=True))),
        n=subject.count,
        subject=subject.facts(),
        reference=reference.facts(),
        extractors=tuple(extractor.identity for extractor in extractors),
        settings=settings,
        notes=_notes(subject, reference, sheets, extent),
    )


def check_counts(subject: ImageSource, reference: Reference) -> None:
    """Refuse sets with fewer images than any metric needs."""
    for count, what in ((subject.count, "images to be measured"), (reference.info.count, "images of the reference")):
        if count < MINIMUM:
            raise UndiffuseError(f"An evaluation needs at least {MINIMUM} {what}, and there are {count}: give more")


def _notes(
    subject: ImageSource, reference: Reference, sheets: Sequence[FeatureMetrics], extent: Extent
) -> tuple[str, ...]:
    """Sentences about what was left out, once each, and about what nobody should be proud of."""
    notes = list(dict.fromkeys(chain.from_iterable(sheet.left_out() for sheet in sheets)))
    if words := extent.words(reference.info, str(subject.facts()["name"]), f"the reference {reference.info.name}"):
        notes.insert(0, words)
    if subject.facts().get("fingerprint") == reference.info.fingerprint:
        notes.append("these images are the reference's own: figures below their floors are no merit")
    return tuple(notes)
