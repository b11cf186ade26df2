"""The HTML of a report. Everything that comes from a run is escaped here; pictures become data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

MAX_SIDE = 1200
"""Larger pictures are scaled down and packed as WebP: a page is to be mailed."""

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #ffffff; --text: #1d2430; --soft: #5c6778; --line: #e1e5eb;
  --accent: #2f6bd8; --code: #f1f3f6; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151a; --card: #1a1f27; --text: #e6e9ee; --soft: #98a3b3;
  --line: #2b323d; --accent: #7aa7ff; --code: #11151b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 60px; }
h1 { font-size: 2.3rem; line-height: 1.1; margin: 0 0 8px; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 6px; letter-spacing: -0.01em; }
h3 { font-size: .8rem; margin: 18px 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 0 0 14px; max-width: 72ch; color: var(--soft); }
header p { font-size: 1.1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 24px 26px;
  margin-top: 22px; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 6px; }
.pixels img { image-rendering: pixelated; }
figcaption { font-size: .82rem; color: var(--soft); margin-top: 6px; white-space: pre-line; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 12px; margin: 22px 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px; }
.tiles dt { font-size: .8rem; color: var(--soft); }
.tiles dd { margin: 2px 0 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 22px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 18px; }
.strip { display: flex; gap: 5px; overflow-x: auto; margin-top: 8px; }
.strip figure { flex: 1 1 0; min-width: 64px; }
.strip figcaption { font-size: .68rem; line-height: 1.35; text-align: center; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr)); gap: 18px; }
.plots svg { display: block; width: 100%; height: auto; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; margin: 0 0 16px;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: .86rem/1.7 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
summary { cursor: pointer; font-weight: 600; }
summary:hover { color: var(--accent); }
.tables { columns: 2; column-gap: 34px; }
.tables > div { break-inside: avoid; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; table-layout: fixed; }
td { padding: 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { color: var(--soft); width: 46%; padding-right: 12px; }
footer { color: var(--soft); font-size: .82rem; margin-top: 26px; text-align: center; }
@media (max-width: 700px) { .tables { columns: 1; } section { padding: 18px 16px; } }
@media print { section { break-inside: avoid; } }
"""


def html(text: object) -> str:
    """Any text, so that it shows as it is."""
    return escape(str(text))


def page(title: str, body: str, style: str = "") -> str:
    """The whole file; ``style`` is CSS after that of all pages."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html(title)} - undiffuse</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def section(title: str, text: str, body: str) -> str:
    """A card with a heading, a paragraph if there is text, and ready HTML."""
    paragraph = f"<p>{html(text)}</p>" if text else ""
    return f"<section><h2>{html(title)}</h2>{paragraph}{body}</section>"


def heading(text: str) -> str:
    return f"<h3>{html(text)}</h3>"


def tiles(facts: Mapping[str, str]) -> str:
    """Short facts beside each other."""
    shown = "".join(f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="tiles">{shown}</dl>'


def figure(image: Image.Image, caption: str = "") -> str:
    """A picture and the words below it."""
    words = f"<figcaption>{html(caption)}</figcaption>" if caption else ""
    return f'<figure class="pixels"><img src="{data_uri(image)}" alt="{html(caption)}">{words}</figure>'


def data_uri(image: Image.Image) -> str:
    packed = io.BytesIO()
    if max(image.size) > MAX_SIDE:
        image = image.convert("RGBA" if image.mode.endswith("A") else "RGB")
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        image.save(packed, "WEBP", quality=88)
        return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
    image.save(packed, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"


def strip(columns: Sequence[tuple[Image.Image, str]]) -> str:
    """Pictures in a row, to be read from left to right."""
    return f'<div class="strip">{"".join(figure(image, caption) for image, caption in columns)}</div>'


def plots(drawn: Sequence[str]) -> str:
    """SVG elements beside each other."""
    return f'<div class="plots">{"".join(drawn)}</div>'


def code(lines: Sequence[str]) -> str:
    """Lines to be copied into a shell."""
    return f"<pre>{html(chr(10).join(lines))}</pre>"


def details(title: str, body: str) -> str:
    """Ready HTML behind a line to be clicked."""
    return f"<details><summary>{html(title)}</summary>{body}</details>"


def table(rows: Mapping[str, Any], title: str) -> str:
    """Names and values."""
    shown = "".join(f"<tr><td>{html(name)}</td><td>{html(_value(value))}</td></tr>" for name, value in rows.items())
    return f"<div>{heading(title)}<table>{shown}</table></div>" if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
