"""The figures of a comparison: curves with one series a run, and grids from the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from PIL import Image

from undiffuse.errors import counted
from undiffuse.reports.run_comparison import Lineup, how_drawn, listed, weights_in_words
from undiffuse.reports.run_history import Story
from undiffuse.visualization.grid import grid, to_image
from undiffuse.visualization.plot import Axis, Series, line_plot, smooth

SMOOTHED = 25
"""The losses are averaged over one part in so many of the lines of a log."""


@dataclass(frozen=True)
class LossCurve:
    """The loss of a run as its log has it: at which step, after how many minutes on steps, and how large."""

    steps: tuple[int, ...]
    minutes: tuple[float, ...]
    losses: tuple[float, ...]

    @classmethod
    def of(cls, story: Story) -> LossCurve:
        """Lines of steps that were all skipped have no loss, but took their time."""
        lines = story.lines(lambda line: "loss" in line)
        minutes = accumulate(line["time"]["seconds"] / 60 for line in lines)
        points = [(line["step"], at, line["loss"]) for line, at in zip(lines, minutes, strict=True)]
        points = [point for point in points if point[2] is not None]
        return cls(*(tuple(column) for column in zip(*points, strict=True))) if points else cls((), (), ())

    @property
    def smoothed(self) -> list[float]:
        return smooth(self.losses, max(1, len(self.losses) // SMOOTHED))


def loss_plots(lineup: Lineup) -> list[str]:
    curves = [LossCurve.of(story) for story in lineup.stories]
    pairs = list(zip(lineup.names, curves, strict=True))
    loss = Axis("loss", log=True)
    over_steps = [Series(name, curve.steps, curve.smoothed) for name, curve in pairs]
    over_minutes = [Series(name, curve.minutes, curve.smoothed) for name, curve in pairs]
    return [
        _plot(over_steps, Axis("step"), loss, "Loss over steps"),
        _plot(over_minutes, Axis("minutes"), loss, "Loss over minutes"),
    ]


def proxy_plot(lineup: Lineup) -> str:
    """Proxy distance of the trainings' grids over steps; '' where no run has one."""
    series = [
        Series(name, [line["step"] for line in story.proxies], [line["proxy"]["distance"] for line in story.proxies])
        for name, story in zip(lineup.names, lineup.stories, strict=True)
    ]
    if not any(one.x for one in series):
        return ""
    return _plot(series, Axis("step"), Axis("distance", log=True), "Proxy distance of the grids")


def _plot(series: list[Series], x: Axis, y: Axis, title: str) -> str:
    """Small enough to be read on a telephone; the page has the legend."""
    return line_plot(series, x, y, title, width=440, height=280, legend=False)


def samples_grid(story: Story, n: int, seed: int, progress: bool = False) -> tuple[Image.Image, str]:
    """Samples 0 .. n - 1 of a seed in one picture, and what made them."""
    settings = how_drawn(story)
    samples = story.model.sample(n, seed, settings=settings, progress=progress)
    picture = grid([to_image(array, samples.info) for array in samples.array])
    sampler = f"{settings.solver.sampler} in {counted(settings.solver.steps, 'step')}"
    return picture, f"step {story.state['step']:,}, {weights_in_words(story)}, {sampler}"


def about_noise(lineup: Lineup, n: int, seed: int) -> str:
    """A sentence about the pictures that may be held against each other."""
    which = f"Numbers 0 to {n - 1} of seed {seed}, drawn now and not picked."
    groups = lineup.by(lambda story: " x ".join(map(str, story.model.info.shape)))
    if len(groups) == 1:
        return f"{which} Picture k began from the same noise in every grid, so that only the models differ."
    shapes = "; ".join(f"{listed(names)}: {shape}" for shape, names in groups.items())
    return (
        f"{which} Noise has the shape of the data, and these shapes differ ({shapes}): picture k began from the same "
        "noise only in runs of one shape."
    )
