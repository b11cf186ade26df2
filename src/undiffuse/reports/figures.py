"""The figures of a report: grids, strips, curves."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image

from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import counted
from undiffuse.reports.run_history import Story
from undiffuse.visualization.forward import forward_frames, model_grid
from undiffuse.visualization.grid import grid, to_image
from undiffuse.visualization.plot import Axis, Series, line_plot, smooth
from undiffuse.visualization.strip import evenly

Column = tuple[Image.Image, str]
"""A picture and its caption."""
ROWS, COLUMNS = 4, 9
FEW = 16
"""Samples that are drawn where the training drew none."""


def final_grid(story: Story) -> tuple[Image.Image, str]:
    """The last grid that the training drew, or a new one, and what it is."""
    seed, solver = story.model.config.loop.seed, story.settings.solver
    how = f"averaged weights, seed {seed}, {solver.sampler} in {counted(solver.steps, 'step')}, not picked."
    if grids := story.grids(2):
        step, image = grids[-1]
        return image, f"Step {step:,}: {how}"
    samples = (story.plan or story.model.plan(story.settings)).sample(FEW, seed)
    return grid([to_image(array, samples.info) for array in samples.array]), f"Step {story.state['step']:,}: {how}"


def data_grid(story: Story) -> Image.Image | None:
    """As many of the data as the last grid has samples."""
    if story.dataset is None:
        return None
    count = story.grid_size if story.grid_files else FEW
    chosen = np.random.default_rng(story.model.config.loop.seed).permutation(len(story.dataset))[:count]
    return grid([to_image(story.dataset.images[k], story.dataset.info) for k in chosen.tolist()])


def forward_columns(story: Story) -> list[Column]:
    """A few of the data at even times from data to noise; empty where the data are gone."""
    if story.dataset is None:
        return []
    chosen = evenly(len(story.dataset), ROWS)
    x0 = story.model.codec.encode(story.dataset.images[chosen])
    frames = forward_frames(x0, story.model.schedule, story.model.info, COLUMNS, columns=1)
    return [(frame.image, frame.caption.replace("alpha-bar", "ᾱ")) for frame in frames]


def reverse_columns(story: Story) -> tuple[list[Column], list[Column]]:
    """The first few samples on their way from noise: x_t, and the x0 predicted from it.

    Both are empty where it is a stage of a cascade and the data are gone.
    """
    plan, info = story.plan, story.model.info
    if plan is None:
        return [], []
    wanted = evenly(plan.steps + 1, COLUMNS)
    walk = plan.iterate(range(ROWS), story.model.config.loop.seed)
    seen = [step for k, step in enumerate(walk) if k in wanted]
    noisy = [(model_grid(step.x, info, 1), f"t = {step.t:.4g}") for step in seen]
    clean = [(model_grid(step.x0, info, 1), "") for step in seen]
    return noisy, clean


def loss_plot(story: Story) -> str:
    """Loss over steps, and that of what was held out, if anything was: of the averaged weights, at even times."""
    steps = [line["step"] for line in story.metrics]
    window = max(1, len(steps) // 25)
    raw = Series("each line", steps, story.losses, faint=True)
    mean = Series(f"mean of {window}", steps, smooth(story.losses, window))
    looks = [(line["step"], line["validation"]["loss"]) for line in story.validations]
    held_out = [Series("held out", [step for step, _ in looks], [loss for _, loss in looks])] if looks else []
    return line_plot([raw, mean, *held_out], Axis("step"), Axis("loss", log=True), "Loss")


def quarter_plot(story: Story) -> str:
    """Loss in each quarter of the times, smoothed."""
    steps = [line["step"] for line in story.metrics]
    window = max(1, len(steps) // 25)
    series = []
    for quarter in range(4):
        values = [line["loss_by_quarter"][quarter] for line in story.metrics]
        pairs = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
        name = f"t/T {quarter / 4:g}-{(quarter + 1) / 4:g}"
        series.append(Series(name, [step for step, _ in pairs], smooth([value for _, value in pairs], window)))
    return line_plot(series, Axis("step"), Axis("loss", log=True), "By t")


def proxy_plot(story: Story) -> str:
    """Proxy distance of the grids over steps, and what data themselves have; '' where a run has none."""
    lines = story.proxies
    if not lines:
        return ""
    steps = [line["step"] for line in lines]
    series = [Series("samples", steps, [line["proxy"]["distance"] for line in lines])]
    if lines[-1]["proxy"]["floor"] is not None:
        series.append(Series("data (floor)", steps, [line["proxy"]["floor"] for line in lines]))
    return line_plot(series, Axis("step"), Axis("distance", log=True), "Proxy distance of samples from the data")


def training_plots(story: Story) -> list[str]:
    steps = [line["step"] for line in story.metrics]
    rate = Series("lr", steps, [line["lr"] for line in story.metrics])
    norm = Series("norm", steps, [line["grad_norm"] for line in story.metrics])
    return [
        line_plot([rate], Axis("step"), Axis("learning rate", low=0), "Learning rate"),
        line_plot([norm], Axis("step"), Axis("norm before clipping", log=True), "Gradient"),
    ]


def schedule_plot(schedule: Schedule) -> str:
    t = torch.linspace(0, schedule.t_max, 201, dtype=torch.float64)
    alpha, sigma = schedule(t)
    series = [Series("alpha", t.tolist(), alpha.tolist()), Series("sigma", t.tolist(), sigma.tolist())]
    return line_plot(series, Axis("t"), Axis("", low=0), "Signal and noise in x_t")


def snr_plot(schedule: Schedule) -> str:
    """Signal-to-noise ratio over t, in decibels."""
    t = torch.linspace(schedule.t_min, schedule.t_max, 201, dtype=torch.float64)
    decibels = 10 / math.log(10) * schedule.log_snr(t)
    return line_plot(
        [Series("SNR", t.tolist(), decibels.tolist())], Axis("t"), Axis("SNR in dB"), "Signal-to-noise ratio"
    )
