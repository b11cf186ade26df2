"""A table with a heading over every column, as text for a terminal and as HTML for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from undiffuse.reports.page import html

STYLE = """
.wide { overflow-x: auto; margin: 10px 0 16px; background:
  linear-gradient(to left, var(--card) 40%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to left, var(--line), transparent) right / 16px 100% no-repeat scroll; }
.matrix { table-layout: auto; border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
.matrix th { text-align: left; vertical-align: bottom; font-weight: 600; padding: 4px 14px 6px 0; min-width: 106px;
  max-width: 190px; border-bottom: 1px solid var(--soft); overflow-wrap: anywhere; }
.matrix td { padding: 5px 14px 5px 0; min-width: 106px; overflow-wrap: break-word; }
.matrix th:first-child, .matrix td:first-child { position: sticky; left: 0; background: var(--card); width: 22%;
  min-width: 104px; overflow-wrap: break-word; }
.matrix tbody tr:last-child td { border-bottom: 0; }
.matrix .same td { color: var(--soft); }
.matrix .best { font-weight: 700; color: var(--accent); }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; }
"""


@dataclass(frozen=True)
class Matrix:
    """Rows of words, the first of which names the row, below the heads; ``best`` (row, column) are marked."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()

    def text(self) -> str:
        """Columns between bars, as Markdown has them; a star after the best."""
        starred = [
            tuple(plain(f"{word} *" if (j, k) in self.best else word) for k, word in enumerate(row))
            for j, row in enumerate(self.rows)
        ]
        widths = [max(len(row[k]) for row in (self.head, *starred)) for k in range(len(self.head))]
        lines = [_line(row, widths) for row in (self.head, *starred)]
        return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])

    def html(self, colors: Mapping[str, str]) -> str:
        """The same as an element; names of columns that have a colour get a dot of it, and what is the same in all
        columns steps back."""
        head = "".join(f"<th>{marked(word, colors)}</th>" for word in self.head)
        rows = "".join(f"<tr{self._class(j)}>{self._cells(j)}</tr>" for j in range(len(self.rows)))
        table = f'<table class="matrix"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        return f'<div class="wide">{table}</div>'

    def _class(self, j: int) -> str:
        values = self.rows[j][1:]
        return ' class="same"' if len(values) > 1 and len(set(values)) == 1 else ""

    def _cells(self, j: int) -> str:
        return "".join(
            f'<td class="best">{html(word)} ★</td>' if (j, k) in self.best else f"<td>{html(word)}</td>"
            for k, word in enumerate(self.rows[j])
        )


def plain(text: str) -> str:
    """The text with signs that every terminal has."""
    return text.replace("±", "+-").replace("↓", "(less)").replace("↑", "(more)")


def marked(name: str, colors: Mapping[str, str]) -> str:
    """The name behind a dot of its colour, if it has one; 'A (file)' has that of A."""
    color = colors.get(name) or colors.get(name.rpartition(" (")[0])
    dot = f'<span class="dot" style="background: {color}"></span>' if color else ""
    return dot + html(name)


def _line(words: tuple[str, ...], widths: list[int]) -> str:
    return "| " + " | ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + " |"
