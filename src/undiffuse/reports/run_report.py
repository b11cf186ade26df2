"""The report of a run, in the order of reading: pictures, how they came to be, the settings."""

from __future__ import annotations

from pathlib import Path

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.find import is_model
from undiffuse.checkpoints.run_lock import has_begun
from undiffuse.config.distillation import student_of
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flatten, sections
from undiffuse.config.students import walking_student
from undiffuse.errors import UndiffuseError, in_one_sentence, quoted
from undiffuse.model import load_model
from undiffuse.model.student_words import in_words, spent_in_words
from undiffuse.provenance.png import check_free
from undiffuse.reports.commands import sample_commands, train_command
from undiffuse.reports.figures import (
    data_grid,
    final_grid,
    forward_columns,
    loss_plot,
    proxy_plot,
    quarter_plot,
    reverse_columns,
    schedule_plot,
    snr_plot,
    training_plots,
)
from undiffuse.reports.page import code, details, figure, heading, html, page, plots, section, strip, table, tiles
from undiffuse.reports.run_history import Story
from undiffuse.runtime.durable_files import ELSEWHERE, replace_file
from undiffuse.training.callbacks.progress_line import duration
from undiffuse.version import __version__

PROGRESS = 12
"""Grids of samples through training that are shown."""


@in_one_sentence
def write_report(run: Path | str, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Write the report of a run: ``report.html`` in its folder, or another file.

    It holds everything it shows: no script, no font, no picture comes from outside.

    Args:
        run: a run's folder with a whole checkpoint.
        out: the file; by default that in the run's folder, where it replaces an earlier one.

    Raises:
        UndiffuseError: no run, no whole checkpoint in it, or a place where nobody may write.
    """
    if cascade_folder.read(Path(run)) is not None:
        raise UndiffuseError(
            f"A report is of one training, and {run} is a cascade of several: report the runs that it was made of"
        )
    if is_model(run) and not _of_a_training(Path(run)):
        raise UndiffuseError(
            f"A report is of a run's folder, and {run} is a model alone; draw with undiffuse sample {quoted(run)}"
        )
    target = Path(run) / "report.html" if out is None else Path(out)
    story = Story(Path(run), load_model(run))
    check_free(target, overwrite or out is None)
    replace_file(target, page(story.run.resolve().name, _body(story)), ELSEWHERE)
    return target


def _of_a_training(path: Path) -> bool:
    """True for a run's folder, even without a checkpoint yet, and for one of its checkpoints."""
    return (path / "checkpoints").is_dir() or (path / "manifest.json").is_file() or has_begun(path)


def _body(story: Story) -> str:
    parts = [_head(story), _samples(story), _progress(story), _forward(story), _reverse(story), _curves(story)]
    return "".join([*parts, _schedule(story), _commands(story), _settings(story)])


def _head(story: Story) -> str:
    info = story.model.info
    facts = {
        "samples": f"{info.count:,}",
        "shape": " x ".join(map(str, info.shape)),
        "parameters": story.parameters,
        "steps": story.steps,
        "batch": f"{story.model.config.loop.batch:,}",
        "time": duration(story.state["seconds"]),
        "last loss": story.last_loss,
    }
    text = f"A denoising diffusion model that learned from {info.name}, by the recipe {story.model.config.recipe}."
    trained = story.model.trained_config
    if rank := trained.lora.lora_rank:
        text += f" What it learned is adapters of rank {rank} on {trained.start.start_from}."
    if student := student_of(story.model.config.distillation):
        facts["evaluations"] = spent_in_words(story.model.config, story.state["step"]).split()[0]
        text = f"A student of {info.name}: {in_words(student)}."
    return f"<header><h1>{html(story.run.resolve().name)}</h1><p>{html(text)}</p>{tiles(facts)}</header>"


def _samples(story: Story) -> str:
    drawn, real = figure(*final_grid(story)), data_grid(story)
    text = "Nobody made these pictures: each began as pure noise, and the model took the noise away step by step."
    if real is None:
        return section("Samples", text, drawn)
    beside = figure(real, "The data, for comparison: real samples, drawn at random.")
    return section("Samples", f"{text} Beside them are real data.", f'<div class="pair">{drawn}{beside}</div>')


def _progress(story: Story) -> str:
    grids = story.grids(PROGRESS)
    if len(grids) < 2:
        return ""
    text = "The same noise, seen by the averaged weights as the training went on."
    shown = "".join(figure(image, f"step {step:,}") for step, image in grids)
    return section("Through training", text, f'<div class="gallery">{shown}</div>')


def _forward(story: Story) -> str:
    columns = forward_columns(story)
    if not columns:
        return section("Into noise", story.missing_data, "")
    text = (
        "The forward process mixes data with noise, x_t = √ᾱ x0 + √(1 - ᾱ) ε, "
        "until nothing of the data is left. The signal-to-noise ratio (SNR) is ᾱ / (1 - ᾱ)."
    )
    return section("Into noise", text, strip(columns))


def _reverse(story: Story) -> str:
    noisy, clean = reverse_columns(story)
    if not noisy:
        return section("Out of noise", story.missing_data, "")
    means = (
        "where the walk of its teacher would end, which is no mean of pictures"
        if walking_student(story.model.config)
        else "the mean of all pictures that could have become this x_t, blurred as long as there are many"
    )
    text = (
        f"The model walks back. Below each x_t stands what it takes the picture to be at that moment: {means}. These "
        "are the first samples from above."
    )
    return section("Out of noise", text, heading("x_t") + strip(noisy) + heading("predicted x0") + strip(clean))


def _curves(story: Story) -> str:
    text = (
        "Training losses compare runs of equal settings and say little of how samples look. By t: the loss in each "
        "quarter of the times, from little noise to much."
    )
    drawn = [loss_plot(story), quarter_plot(story)]
    if proxy := proxy_plot(story):
        text += (
            " The proxy distance is between the grids' samples and the data in the features of a small random network: "
            "it follows how samples get better, down to the floor that data themselves have."
        )
        drawn.append(proxy)
    return section("Curves", text, plots([*drawn, *training_plots(story)]))


def _schedule(story: Story) -> str:
    process = story.model.config.diffusion
    text = f"{process.schedule} with T = {process.timesteps}; the network predicts {process.parameterization}."
    return section("Schedule", text, plots([schedule_plot(story.model.schedule), snr_plot(story.model.schedule)]))


def _commands(story: Story) -> str:
    made = code([train_command(story), f"undiffuse report {quoted(story.run)}"])
    more = code(sample_commands(story))
    return section("Commands", "", f"<p>What made this run and this page:</p>{made}<p>What to try next:</p>{more}")


def _settings(story: Story) -> str:
    flat, homes = flatten(story.model.trained_config), sections(TrainConfig)
    names = dict.fromkeys(homes.values())
    if student_of(story.model.config.distillation) is None:
        del names["distillation"]
    grouped = {home: {name: value for name, value in flat.items() if homes[name] == home} for home in names}
    settings = "".join(table(rows, home or "run") for home, rows in grouped.items())
    data = table(story.model.info.to_json(), "data set")
    origin = table({**story.model.provenance, **story.state}, "checkpoint")
    now = {"report written by": f"undiffuse {__version__}"}
    return section(
        "Everything it depends on",
        "",
        details("Settings", f'<div class="tables">{settings}</div>')
        + details("Data", data + table(story.statistics(), "samples against data, model space"))
        + details("Checkpoint, versions and machine", origin + table({**story.environment, **now}, "environment")),
    )
