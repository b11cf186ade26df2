"""The samplers of ``undiffuse sample``: what each costs, and when to use it."""

from __future__ import annotations

from argparse import Namespace

from undiffuse.cli.parser import Parser


def configure(parser: Parser) -> None:
    """No options."""


def run(typed: Namespace) -> None:
    from undiffuse.diffusion.samplers import SAMPLERS

    rows = [("sampler", "order", "evals", "noise", "when to use it")]
    for info in SAMPLERS.values():
        evaluations = "any" if info.evaluations_per_step is None else str(info.evaluations_per_step)
        rows.append((info.name, str(info.order), evaluations, "yes" if info.stochastic else "no", info.note))
    width = max(len(row[0]) for row in rows)
    for name, order, evaluations, noise, note in rows:
        print(f"{name:<{width}}  {order:>5}  {evaluations:>5}  {noise:<5}  {note}")
    print(
        "\norder: of convergence in the step size; evals: network evaluations a step; noise: drawn on the way or not\n"
        "Use one with:   undiffuse sample RUN --sampler NAME --steps 20\n"
        "See them all:   undiffuse sample RUN --compare"
    )
