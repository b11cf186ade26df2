"""The interface's description as a page, made here: nothing is loaded from anywhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e6e9ef); --soft: light-dark(#5b6472, #9aa4b2);
  --line: light-dark(#e2e5ea, #2c333d); --card: light-dark(#fff, #181d24); --ground: light-dark(#f6f7f9, #11151a);
  --accent: light-dark(#0b6bcb, #6cb2ff); }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 40px 20px 80px; }
h1 { font-size: 1.7rem; margin: 0 0 6px; } h2 { font-size: 1.15rem; margin: 40px 0 10px; }
p { color: var(--soft); margin: 0 0 12px; } a { color: var(--accent); }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 8px 0; }
summary { cursor: pointer; padding: 10px 14px; overflow-wrap: anywhere; }
summary:focus-visible { outline: 2px solid var(--accent); border-radius: 10px; }
.verb { font: 600 .8rem ui-monospace, monospace; color: var(--accent); display: inline-block; min-width: 4.2em; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; } .inside { padding: 0 14px 12px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } td, th { text-align: left; padding: 4px 10px 4px 0;
  vertical-align: top; border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 600; }
td:first-child { white-space: nowrap; } .wide { overflow-x: auto; }
"""


def documentation(schema: dict[str, Any]) -> str:
    """Every call by its part of the interface, with what it takes."""
    by_tag: dict[str, list[str]] = {}
    for path, verbs in schema["paths"].items():
        for verb, call in verbs.items():
            tag = call.get("tags", ["Other"])[0]
            by_tag.setdefault(tag, []).append(_call(verb, path, call, schema))
    parts = "".join(f"<h2>{escape(tag)}</h2>{''.join(calls)}" for tag, calls in by_tag.items())
    info = schema["info"]
    head = (
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])} <a href='openapi.json'>openapi.json</a></p>"
    )
    title = escape(info["title"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{head}{parts}</main></body></html>"
    )


def _call(verb: str, path: str, call: dict[str, Any], schema: dict[str, Any]) -> str:
    text = call.get("description") or call.get("summary", "")
    rows = [
        (one["name"], one["in"], _kind(one["schema"], schema), one["schema"].get("default"), one.get("description", ""))
        for one in call.get("parameters", [])
    ]
    body = call.get("requestBody", {}).get("content", {})
    kinds = ", ".join(body)
    for content in body.values():
        fields = _resolved(content["schema"], schema).get("properties", {})
        rows += [
            (name, "body", _kind(one, schema), one.get("default"), one.get("description", ""))
            for name, one in fields.items()
        ]
    answers = ", ".join(code for code in call.get("responses", {}) if code not in ("default", "422"))
    more = f"<p>Body: {escape(kinds)}</p>" if kinds else ""
    return (
        f"<details><summary><span class='verb'>{verb.upper()}</span> <code>{escape(path)}</code></summary>"
        f"<div class='inside'><p>{escape(text)}</p>{more}{_table(rows)}<p>Answers {escape(answers)}; refusals are "
        "<code>{&quot;error&quot;: &quot;one sentence&quot;}</code>.</p></div></details>"
    )


def _table(rows: list[tuple[str, str, str, Any, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{place}</td><td>{escape(kind)}</td>"
        f"<td>{'' if default is None else escape(json.dumps(default))}</td><td>{escape(text)}</td></tr>"
        for name, place, kind, default, text in rows
    )
    head = "<tr><th>name</th><th>in</th><th>type</th><th>default</th><th></th></tr>"
    return f"<div class='wide'><table>{head}{cells}</table></div>"


def _kind(one: dict[str, Any], schema: dict[str, Any]) -> str:
    """A type in a word or two."""
    one = _resolved(one, schema)
    if "anyOf" in one:
        return " or ".join(_kind(option, schema) for option in one["anyOf"])
    if "enum" in one:
        return " | ".join(map(str, one["enum"]))
    if one.get("type") == "array":
        return f"list of {_kind(one.get('items', {}), schema)}"
    return "file" if one.get("format") == "binary" else str(one.get("type", one.get("const", "any")))


def _resolved(one: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in one:
        return one
    found: dict[str, Any] = schema["components"]["schemas"][one["$ref"].rpartition("/")[2]]
    return found
