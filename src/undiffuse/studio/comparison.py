"""Runs side by side, as JSON: what `undiffuse compare` shows, without its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from undiffuse.reports.compared_evaluations import quality_tables
from undiffuse.reports.compared_figures import LossCurve
from undiffuse.reports.compared_likelihood import likelihood_tables
from undiffuse.reports.run_comparison import Lineup
from undiffuse.reports.table import Matrix


def comparison(runs: Sequence[Path], ids: Sequence[str]) -> dict[str, Any]:
    """The differences between runs, and their results."""
    lineup = Lineup.of(runs)
    apart, quality = quality_tables(lineup)
    names = lineup.names
    stories = dict(zip(names, lineup.stories, strict=True))
    curves = {name: LossCurve.of(story) for name, story in stories.items()}
    return {
        "names": list(names),
        "ids": dict(zip(names, ids, strict=True)),
        "colours": lineup.colors,
        "warnings": lineup.warnings(),
        "facts": _table(lineup.facts_matrix()),
        "settings": _table(lineup.settings_matrix()) if lineup.differing else {"head": ["setting", *names], "rows": []},
        "shared": lineup.shared,
        "quality": [{"title": one.title, "table": _table(one.matrix), "notes": list(one.notes)} for one in quality],
        "apart": apart,
        "likelihood": [
            {"title": one.title, "table": _table(one.matrix), "text": one.text} for one in likelihood_tables(lineup)
        ],
        "curves": {
            name: asdict(curve) | {"smoothed": curve.smoothed if curve.losses else []} for name, curve in curves.items()
        },
        "proxies": {
            name: {
                "steps": [line["step"] for line in story.proxies],
                "distance": [line["proxy"]["distance"] for line in story.proxies],
                "floor": story.proxies[-1]["proxy"]["floor"] if story.proxies else None,
            }
            for name, story in stories.items()
        },
        "same_noise": len({story.model.info.shape for story in lineup.stories}) == 1,
    }


def _table(matrix: Matrix) -> dict[str, Any]:
    best = sorted([row, column] for row, column in matrix.best)
    return {"head": list(matrix.head), "rows": [list(row) for row in matrix.rows], "best": best}
