"""The recipes of ``undiffuse train``: what each is for, what it needs and what it reached."""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    """No options."""


def run(typed: Namespace) -> None:
    from undiffuse.recipes import RECIPES

    for recipe in RECIPES.values():
        print(f"{recipe.name}\n    {recipe.description}\n    needs    {recipe.needs}\n    reached  {recipe.reached}\n")
    print("Use one with: undiffuse train DATA --recipe NAME")
