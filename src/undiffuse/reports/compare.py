"""Runs side by side: a table for the terminal, and one HTML file that stands alone.

    comparison = compare(["runs/A", "runs/B"])
    print(comparison.text())
    Path("compare.html").write_text(comparison.html())

Nothing is put side by side that cannot be compared, without a sentence that says so: see `run_comparison` for data
and losses, `compared_evaluations` for figures of quality, `compared_likelihood` for likelihoods.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from undiffuse.errors import in_one_sentence
from undiffuse.reports.commands import train_command
from undiffuse.reports.compared_evaluations import MARKED, evaluate_commands, quality_tables
from undiffuse.reports.compared_figures import about_noise, loss_plots, proxy_plot, samples_grid
from undiffuse.reports.compared_likelihood import likelihood_commands, likelihood_tables, without_settings
from undiffuse.reports.page import code, details, figure, heading, html, page, plots, section, table
from undiffuse.reports.run_comparison import ComparedFigures, Lineup, how_drawn, listed
from undiffuse.reports.run_history import Story
from undiffuse.reports.table import STYLE as MATRIX_STYLE
from undiffuse.reports.table import Matrix, marked, plain
from undiffuse.runtime.durable_files import shortened
from undiffuse.visualization.plot import COLORS

SAMPLES, SEED = 16, 0
STYLE = f"""{MATRIX_STYLE}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 14px 0 0; padding: 0; list-style: none;
  font-weight: 600; overflow-wrap: anywhere; }}
.note {{ border-left: 3px solid #f2793a; background: var(--card); padding: 10px 14px; border-radius: 0 8px 8px 0;
  margin: 16px 0 0; max-width: none; color: var(--text); font-size: .95rem; }}
section > h3 {{ color: var(--text); font-size: .9rem; margin-top: 22px; overflow-wrap: anywhere; }}
section .note {{ background: var(--ground); margin: 0 0 14px; }}
section ul:not(.legend) {{ margin: 0 0 18px; padding-left: 18px; color: var(--soft); font-size: .86rem; }}
.row {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 22px; align-items: start; }}
.row figure {{ max-width: 480px; }}
.row h3 {{ margin: 0 0 8px; color: var(--text); font-size: .9rem; overflow-wrap: anywhere; }}
"""


@dataclass(frozen=True)
class RunComparison:
    """Runs, and what was drawn by each of them for this comparison.

    Args:
        n, seed: samples 0 .. n - 1 of this seed.
        grids: a picture of them for each run, and what made it.
        quality, likelihood: tables of comparable figures.
        apart: why figures of different tables of quality cannot be compared; '' for a single table.
    """

    lineup: Lineup
    n: int
    seed: int
    grids: tuple[tuple[Image.Image, str], ...]
    quality: tuple[ComparedFigures, ...]
    likelihood: tuple[ComparedFigures, ...]
    apart: str

    def text(self) -> str:
        """Everything but pictures and plots."""
        lineup = self.lineup
        parts = [*lineup.warnings(), lineup.facts_matrix().text(), _count_settings(lineup)]
        if lineup.differing:
            parts.append(lineup.settings_matrix().text())
        for one in self.quality:
            parts += [f"Quality, {one.title}", one.matrix.text(), *one.notes]
        parts += [MARKED] if self.quality else []
        parts += [self.apart] if self.apart else []
        for one in self.likelihood:
            parts += [f"Likelihood, {one.title}", one.matrix.text(), one.text]
        return plain("\n\n".join(parts)) + "\n"

    def html(self, out: Path | None = None) -> str:
        """The page; ``out`` is where it goes, for the command that makes it again."""
        glance = section("At a glance", "", self._matrix(self.lineup.facts_matrix()))
        parts = [self._head(), glance, self._samples(), self._quality(), self._likelihood()]
        parts += [self._curves(), self._settings(), self._commands(out)]
        return page(listed(self.lineup.names), "".join(parts), STYLE)

    def _matrix(self, matrix: Matrix) -> str:
        return matrix.html(self.lineup.colors)

    def _legend(self) -> str:
        items = "".join(f"<li>{marked(name, self.lineup.colors)}</li>" for name in self.lineup.names)
        return f'<ul class="legend">{items}</ul>'

    def _head(self) -> str:
        notes = "".join(f'<p class="note">{html(warning)}</p>' for warning in self.lineup.warnings())
        lead = "What differs between these runs, and what came of it."
        return f"<header><h1>Runs side by side</h1><p>{lead}</p>{self._legend()}{notes}</header>"

    def _samples(self) -> str:
        shown = "".join(
            f"<div><h3>{marked(name, self.lineup.colors)}</h3>{figure(picture, caption)}</div>"
            for name, (picture, caption) in zip(self.lineup.names, self.grids, strict=True)
        )
        text = about_noise(self.lineup, self.n, self.seed)
        return section("Samples from the same noise", text, f'<div class="row">{shown}</div>')

    def _quality(self) -> str:
        if not self.quality:
            words = [shlex.join(["undiffuse", "evaluate", str(story.run)]) for story in self.lineup.stories]
            return section("Quality", "None of these runs was measured yet. This does it:", code(words))
        warning = f'<p class="note">{html(self.apart)}</p>' if self.apart else ""
        return section("Quality", MARKED, warning + "".join(map(self._figures, self.quality)))

    def _figures(self, one: ComparedFigures) -> str:
        text, notes = html(one.text), "".join(f"<li>{html(note)}</li>" for note in one.notes)
        return "".join(
            [
                heading(one.title),
                f"<p>{text}</p>" if text else "",
                self._matrix(one.matrix),
                f"<ul>{notes}</ul>" if notes else "",
            ]
        )

    def _likelihood(self) -> str:
        left_out = without_settings(self.lineup)
        words = (
            f"{listed(map(str, left_out))} cannot be compared, as a .csv file does not say how it was measured: "
            "measure with --out RUN/likelihood/NAME.json."
            if left_out
            else ""
        )
        if not self.likelihood and not left_out:
            return ""
        return section("Likelihood", words, "".join(map(self._figures, self.likelihood)))

    def _curves(self) -> str:
        text = "Training losses, smoothed. Minutes are those spent on steps, without grids and checkpoints."
        drawn = loss_plots(self.lineup)
        if proxy := proxy_plot(self.lineup):
            text += (
                " The proxy distance is between each training's grids and its data, in the features of a small random "
                "network: it compares runs of the same data, roughly."
            )
            drawn.append(proxy)
        if len(self.lineup.names) > len(COLORS):
            text += f" There are {len(COLORS)} colours: after so many runs they begin again."
        return section("Curves", text, self._legend() + plots(drawn))

    def _settings(self) -> str:
        lineup = self.lineup
        differing = self._matrix(lineup.settings_matrix()) if lineup.differing else ""
        same = details("Those that are the same", f'<div class="tables">{table(lineup.shared, "all runs")}</div>')
        return section("Settings", _count_settings(lineup), differing + same)

    def _commands(self, out: Path | None) -> str:
        runs = "".join(
            f"<h3>{marked(name, self.lineup.colors)}</h3>{code(_commands(story, self.n, self.seed))}"
            for name, story in zip(self.lineup.names, self.lineup.stories, strict=True)
        )
        again = code([compare_command(self.lineup, self.n, self.seed, out)])
        made = f"<p>What made this page:</p>{again}<p>What made the runs, their samples and their figures:</p>{runs}"
        return section("Commands", "", made)


@in_one_sentence
def compare(
    runs: Sequence[Path | str], n: int = SAMPLES, seed: int = SEED, *, device: str = "cpu", progress: bool = False
) -> RunComparison:
    """Load the newest checkpoints of some runs and draw the same samples by each of them.

    Args:
        runs: folders of two runs or more, finished or not.
        n, seed: samples 0 .. n - 1 of this seed, by the default sampler; what ``load(run).sample(n, seed)`` draws.

    Raises:
        UndiffuseError: fewer than two runs, one of them twice, or a path that is no run.
    """
    lineup = Lineup.of(runs, device)
    apart, quality = quality_tables(lineup)
    likelihood = likelihood_tables(lineup)
    grids = tuple(samples_grid(story, n, seed, progress) for story in lineup.stories)
    return RunComparison(lineup, n, seed, grids, tuple(quality), tuple(likelihood), apart)


def default_file(runs: Sequence[Path | str]) -> Path:
    """Beside the first run: ``compare-A-B.html``."""
    names = [Path(run).resolve().name for run in runs]
    return Path(runs[0]).parent / f"{shortened('-'.join(['compare', *names]))}.html"


def compare_command(lineup: Lineup, n: int, seed: int, out: Path | None) -> str:
    """The command that makes the comparison again, in the place of the one that is there."""
    words = ["undiffuse", "compare", *(str(story.run) for story in lineup.stories), "-n", str(n), "--seed", str(seed)]
    return shlex.join([*words, *(["--out", str(out)] if out else []), "--overwrite"])


def _commands(story: Story, n: int, seed: int) -> list[str]:
    steps = how_drawn(story).solver.steps
    draw = ["undiffuse", "sample", str(story.run), "-n", str(n), "--seed", str(seed), "--steps", str(steps)]
    return [train_command(story), shlex.join(draw), *evaluate_commands(story), *likelihood_commands(story)]


def _count_settings(lineup: Lineup) -> str:
    differ, same = len(lineup.differing), len(lineup.shared)
    if not differ:
        return f"All {same} settings are the same."
    return f"{differ} setting{'s differ' if differ > 1 else ' differs'}; {same} are the same."
