"""Runs side by side: a table for the terminal, and one HTML file that stands alone.

    comparison = compare(["runs/A", "runs/B"])
    print(comparison.text())
    Path("compare.html").write_text(comparison.html())

Nothing is put side by side that cannot be compared, without a sentence that says so: see `lineup` for data and losses,
`compared_evaluations` for figures of quality, `compared_likelihood` for likelihoods.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from undiffuse.report.commands import train_command
from undiffuse.report.compared_figures import about_noise, how_drawn, loss_plots, samples_grid
from undiffuse.report.compared_likelihood import likelihood_tables, without_settings
from undiffuse.report.lineup import Lineup, listed
from undiffuse.report.matrix import STYLE as MATRIX_STYLE
from undiffuse.report.matrix import Matrix, marked
from undiffuse.report.page import code, details, figure, html, page, plots, section, table
from undiffuse.report.story import Story

SAMPLES, SEED = 16, 0
STYLE = f"""{MATRIX_STYLE}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 14px 0 0; padding: 0; list-style: none;
  font-weight: 600; overflow-wrap: anywhere; }}
.note {{ border-left: 3px solid #f2793a; background: var(--card); padding: 10px 14px; border-radius: 0 8px 8px 0;
  margin: 16px 0 0; max-width: none; color: var(--text); font-size: .95rem; }}
.row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 22px; align-items: start; }}
.row figure {{ max-width: 480px; }}
.row h3 {{ margin: 0 0 8px; color: var(--text); font-size: .9rem; overflow-wrap: anywhere; }}
"""


@dataclass(frozen=True)
class Comparison:
    """Runs, and what was drawn by each of them for this comparison.

    Args:
        lineup: the runs.
        n, seed: samples 0 .. n - 1 of this seed.
        grids: a picture of them for each run, and what made it.
    """

    lineup: Lineup
    n: int
    seed: int
    grids: tuple[tuple[Image.Image, str], ...]

    def text(self) -> str:
        """What a terminal can show, everything but pictures and plots."""
        lineup = self.lineup
        parts = [*lineup.warnings(), lineup.facts_matrix().text(), f"{_count_settings(lineup)}"]
        if lineup.differing:
            parts.append(lineup.settings_matrix().text())
        for found in likelihood_tables(lineup):
            parts += [f"Likelihood {found.title[0].lower()}{found.title[1:]}", found.matrix.text(), found.text]
        return "\n\n".join(parts) + "\n"

    def html(self, out: Path | None = None) -> str:
        """The page; ``out`` is where it goes, for the command that makes it again."""
        parts = [self._head(), self._facts(), self._samples(), self._likelihood()]
        parts += [self._curves(), self._settings(), self._commands(out)]
        return page(listed(self.lineup.names), "".join(parts), STYLE)

    def _matrix(self, matrix: Matrix) -> str:
        return matrix.html(self.lineup.colours)

    def _legend(self) -> str:
        items = "".join(f"<li>{marked(name, self.lineup.colours)}</li>" for name in self.lineup.names)
        return f'<ul class="legend">{items}</ul>'

    def _head(self) -> str:
        notes = "".join(f'<p class="note">{html(warning)}</p>' for warning in self.lineup.warnings())
        lead = "What differs between these runs, and what came of it."
        return f"<header><h1>Runs side by side</h1><p>{lead}</p>{self._legend()}{notes}</header>"

    def _facts(self) -> str:
        return section("At a glance", "", self._matrix(self.lineup.facts_matrix()))

    def _samples(self) -> str:
        shown = "".join(
            f"<div><h3>{marked(name, self.lineup.colours)}</h3>{figure(picture, caption)}</div>"
            for name, (picture, caption) in zip(self.lineup.names, self.grids, strict=True)
        )
        return section(
            "Samples from the same noise",
            about_noise(self.lineup, self.n, self.seed),
            f'<div class="row">{shown}</div>',
        )

    def _likelihood(self) -> str:
        found = likelihood_tables(self.lineup)
        left_out = without_settings(self.lineup)
        words = (
            f"{listed(map(str, left_out))} cannot be compared, as a .csv file does not say how it was measured: "
            "measure with --out RUN/likelihood/NAME.json."
            if left_out
            else ""
        )
        if not found and not left_out:
            return ""
        tables = "".join(
            f"<h3>{html(one.title)}</h3><p>{html(one.text)}</p>{self._matrix(one.matrix)}" for one in found
        )
        return section("Likelihood", words, tables)

    def _curves(self) -> str:
        text = "Training losses, smoothed. Minutes are those spent on steps, without grids and checkpoints."
        return section("Curves", text, self._legend() + plots(loss_plots(self.lineup)))

    def _settings(self) -> str:
        lineup = self.lineup
        differing = self._matrix(lineup.settings_matrix()) if lineup.differing else ""
        same = details("Those that are the same", f'<div class="tables">{table(lineup.shared, "all runs")}</div>')
        return section("Settings", _count_settings(lineup), differing + same)

    def _commands(self, out: Path | None) -> str:
        runs = "".join(
            f"<h3>{marked(name, self.lineup.colours)}</h3>{code(_commands(story, self.n, self.seed))}"
            for name, story in zip(self.lineup.names, self.lineup.stories, strict=True)
        )
        again = code([compare_command(self.lineup, self.n, self.seed, out)])
        return section(
            "Commands",
            "",
            f"<p>What made this page:</p>{again}<p>What made the runs, and draws their samples:</p>{runs}",
        )


def compare(
    runs: Sequence[Path | str], n: int = SAMPLES, seed: int = SEED, *, device: str = "cpu", progress: bool = False
) -> Comparison:
    """Load the newest checkpoints of some runs and draw the same samples by each of them.

    Args:
        runs: folders of two runs or more, finished or not.
        n, seed: samples 0 .. n - 1 of this seed, by the default sampler; what ``load(run).sample(n, seed)`` draws.
        device: where the models are.
        progress: show a progress bar for each run.

    Raises:
        UndiffuseError: fewer than two runs, one of them twice, or a path that is no run.
    """
    lineup = Lineup.of(runs, device)
    return Comparison(lineup, n, seed, tuple(samples_grid(story, n, seed, progress) for story in lineup.stories))


def default_file(runs: Sequence[Path | str]) -> Path:
    """Beside the first run: ``compare-A-B.html``."""
    names = [Path(run).resolve().name for run in runs]
    return Path(runs[0]).parent / f"compare-{'-'.join(names)}.html"


def compare_command(lineup: Lineup, n: int, seed: int, out: Path | None) -> str:
    """What makes the comparison again, in the place of the one that is there."""
    words = ["undiffuse", "compare", *(str(story.run) for story in lineup.stories), "-n", str(n), "--seed", str(seed)]
    return shlex.join([*words, *(["--out", str(out)] if out else []), "--overwrite"])


def _commands(story: Story, n: int, seed: int) -> list[str]:
    steps = how_drawn(story).steps
    draw = ["undiffuse", "sample", str(story.run), "-n", str(n), "--seed", str(seed), "--steps", str(steps)]
    return [train_command(story), shlex.join(draw)]


def _count_settings(lineup: Lineup) -> str:
    """How many settings differ, in words."""
    differ, same = len(lineup.differing), len(lineup.shared)
    if not differ:
        return f"All {same} settings are the same."
    return f"{differ} setting{'s differ' if differ > 1 else ' differs'}; {same} are the same."
