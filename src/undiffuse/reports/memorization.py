"""A page of the samples that are closest to the training data, each beside what it is close to."""

from __future__ import annotations

import numpy as np
from PIL import Image

from undiffuse.config.flags import in_flags
from undiffuse.data.info import DataInfo
from undiffuse.evaluation.memorization.evaluate import Memorization, Space
from undiffuse.evaluation.memorization.report import sentences, to_json, verdict
from undiffuse.reports.page import details, heading, html, page, plots, section, strip, table, tiles
from undiffuse.visualization.grid import default_scale, enlarge, to_image, viewable
from undiffuse.visualization.plot import Axis, Series, line_plot

PAIRS = 24
"""Samples that a space shows, the closest first."""
BESIDE = 5
"""Training images beside each."""


def memorization_page(found: Memorization) -> str:
    """The whole file: verdict, distances, and the closest pairs of every space, self-contained."""
    return page(
        "Memorisation", "".join([_head(found), *(_space(found, space) for space in found.spaces), _facts(found)])
    )


def _head(found: Memorization) -> str:
    exact = {"exact duplicates": f"{len(found.exact):,}", "copies": f"{len(found.copies):,}"}
    facts = {"samples": f"{len(found.samples):,}", "training images": f"{found.training.info.count:,}", **exact}
    said = "".join(f"<p>{html(in_flags(sentence))}</p>" for sentence in sentences(found))
    return (
        f"<header><h1>Memorisation</h1><p><strong>{html(in_flags(verdict(found)))}</strong></p>{tiles(facts)}</header>"
        + section("What was measured", "", said)
    )


def _space(found: Memorization, space: Space) -> str:
    text = (
        f"Each row begins with a sample; beside it stand its {BESIDE} nearest training images in this space, with "
        "their distances. Rows are sorted by the first one over the mean of the nearest: near 0 for a copy, 1 where "
        "all are equally near."
    )
    order = space.closeness.argsort(stable=True)[:PAIRS].tolist()
    rows = "".join(_row(found, space, sample) for sample in order)
    return section(f"Closest pairs by {space.identity.name}", text, plots([_distances(found, space)]) + rows)


def _row(found: Memorization, space: Space, sample: int) -> str:
    info, names = found.training.info, found.training.dataset.names()
    mark = "exact duplicate" if sample in found.exact else "copy" if sample in space.copies else ""
    columns = [(_picture(found.samples[sample], info), mark)]
    for number, distance in zip(
        space.neighbors[sample, :BESIDE].tolist(), space.distances[sample, :BESIDE].tolist(), strict=True
    ):
        caption = f"{distance:.4g}\n{names[number]}"
        columns.append((_picture(found.training.dataset.images[number], info), caption))
    ratio = float(space.closeness[sample])
    return heading(f"Sample {sample}: {ratio:.3f}{f', {mark}' if mark else ''}") + strip(columns)


def _picture(array: np.ndarray, info: DataInfo) -> Image.Image:
    image = viewable(to_image(np.asarray(array), info))
    return enlarge(image, default_scale(*image.size))


def _distances(found: Memorization, space: Space) -> str:
    """Shares of images below a distance: the samples' curve above the other one means nearer."""
    curves = []
    name = "training images" if found.yardstick.left_out else "held-out images"
    for label, values in (("samples", space.distances[:, 0]), (name, space.honest[:, 0])):
        rising = values.sort().values
        share = (np.arange(len(rising)) + 1) / len(rising)
        curves.append(Series(label, rising.tolist(), share.tolist()))
    title = "Share of images that are nearer than"
    return line_plot(curves, Axis("distance to the nearest training image"), Axis("", low=0, high=1), title)


def _facts(found: Memorization) -> str:
    plain = to_json(found)
    drawn = {name: value for name, value in plain["samples"].items() if name != "settings"}
    shown = table(drawn, "samples") + table(plain["samples"].get("settings", {}), "sampler")
    shown += table(plain["training"], "training") + table(plain["yardstick"], "yardstick")
    shown += "".join(table(space["extractor"], "extractor") for space in plain["spaces"])
    shown += table({"undiffuse": plain["undiffuse"], "seed of the bootstrap": found.seed}, "measured by")
    return section(
        "Everything it depends on", "", details("Settings and fingerprints", f'<div class="tables">{shown}</div>')
    )
