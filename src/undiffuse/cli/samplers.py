"""The samplers of ``undiffuse sample``."""

from __future__ import annotations

import inspect
from argparse import Namespace

from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    """No options."""


def run(typed: Namespace) -> None:
    from undiffuse.config import SampleConfig
    from undiffuse.samplers import SAMPLERS, make_sampler

    width = max(map(len, SAMPLERS)) + 2
    for name in SAMPLERS:
        sampler = make_sampler(SampleConfig(sampler=name))
        idea = (inspect.getdoc(type(sampler)) or "").partition("\n\n")[0]
        print(f"{name:<{width}}{' '.join(idea.split())}")
    print("\nUse one with: undiffuse sample RUN --sampler NAME --steps 50")
