"""The measures by one extractor: its rows of the table, their floors, and a line of values for every seed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from undiffuse.evaluation.features.extractor import Extractor, Identity, Outputs
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.quality.caveats import Case, warnings_for
from undiffuse.evaluation.quality.measurement import Measurement, RealBaseline, Spread
from undiffuse.evaluation.quality.reference import Reference, split
from undiffuse.evaluation.quality.registry import ROWS, Compared, Measure, Row
from undiffuse.runtime.standard_streams import hidden

Values = dict[str, Estimate]
"""By metric."""

LACKS = {"features": "features", "spatial": "spatial features", "logits": "classes"}


@dataclass(frozen=True)
class FeatureMetrics:
    """One extractor's view of the reference, ready for samples.

    Args:
        n: number of samples that will come.
        real: features of the reference.
        rows: that can be computed.
        floor: values between two sets of real images.
        floor_n: number of images in the first of them; the others are the second.
    """

    identity: Identity
    n: int
    real: Outputs
    rows: tuple[Row, ...]
    floor: Values
    floor_n: int

    @classmethod
    def of(
        cls,
        extractor: Extractor,
        reference: Reference,
        n: int,
        seed: int = 0,
        cache: Path | None = None,
        progress: bool = False,
    ) -> FeatureMetrics:
        """Features of the reference and the floor, both before any sample is drawn: what fails, fails early."""
        real = reference.features(extractor, cache, progress)
        rows = tuple(row for row in ROWS if row.possible(real) and min(n, len(real)) >= row.minimum)
        fake, others = split(real, n, seed)
        enough = [row for row in rows if len(fake) >= row.minimum]
        floor = measure(Compared(fake, others, seed), enough, f"{extractor.identity.name}: floor", progress)
        return cls(extractor.identity, n, real, rows, floor, len(fake))

    def values(self, fake: Outputs, seed: int = 0, progress: bool = False) -> Values:
        return measure(Compared(fake, self.real, seed), self.rows, f"{self.identity.name}: metrics", progress)

    def figures(self, by_seed: Sequence[Values]) -> Iterator[Measurement]:
        """A figure for every metric; the first seed's is its value."""
        for row in self.rows:
            for one in row.measures:
                yield self._figure(row, one, [values[one.metric] for values in by_seed])

    def _figure(self, row: Row, one: Measure, found: list[Estimate]) -> Measurement:
        floor, m, first = self.floor.get(one.metric), len(self.real), found[0]
        width = self.real.tensors()[row.needs].shape[1]
        baseline = None
        if floor is not None:
            baseline = RealBaseline(floor.value, floor.error, self.floor_n, m - self.floor_n, floor.points)
        case = Case(one.metric, first, one.better, self.n, m, width, floor, self.floor_n)
        return Measurement(
            one.metric,
            one.name(self.identity),
            self.identity.name,
            first.value,
            first.error,
            one.better,
            self.n,
            m,
            baseline,
            spread([value.value for value in found]),
            first.points,
            "; ".join(warnings_for(case)),
        )

    def left_out(self) -> Iterator[str]:
        """One sentence for every row that cannot be computed."""
        for row in ROWS:
            names = " and ".join(one.name(self.identity) for one in row.measures)
            if not row.possible(self.real):
                yield f"no {names}: the extractor '{self.identity.name}' gives no {LACKS[row.needs]}"
            elif row not in self.rows:
                yield f"no {names} below {row.minimum} images: there are {self.n:,} and {len(self.real):,}"


def measure(pair: Compared, rows: Sequence[Row], what: str, progress: bool = False) -> Values:
    found: Values = {}
    for row in tqdm(rows, desc=what, unit="metric", disable=hidden(progress), leave=False):
        found.update(zip((one.metric for one in row.measures), row.compute(pair), strict=True))
    return found


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation over seeds; None for one seed."""
    if len(values) < 2:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values), tuple(values))
