"""Registered pieces: what a program or a package adds to undiffuse, by name.

    from undiffuse import register

    @register.sampler("leap", evaluations_per_step=2, note="a step in two halves")
    @dataclass(frozen=True)
    class Leap:
        strength: float = 1.0
        ...

From then on ``leap``, or ``leap(strength=0.5)``, is a sampler like the library's own: in Python, in files, in pictures'
records, on the command line and in the studio. The last two know what installed packages register in a module that an
entry point of theirs names:

    [project.entry-points.undiffuse]
    leap = "leap.pieces"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from undiffuse.conditioning.request import register_guidance
from undiffuse.config.network import NetworkConfig
from undiffuse.data.formats.registry import register_format
from undiffuse.errors import in_one_sentence
from undiffuse.evaluation.quality.registry import Better, Needs, register_metric
from undiffuse.factories.loss import register_loss
from undiffuse.factories.network import register as register_network
from undiffuse.factories.sampler import register_sampler
from undiffuse.factories.schedule import register_schedule
from undiffuse.modalities.modality import Modality
from undiffuse.modalities.registry import register_modality
from undiffuse.training.optim.given import register_optimizer

Made = TypeVar("Made", bound=Callable[..., Any])


def sampler(
    name: str, *, evaluations_per_step: int | None = 1, stochastic: bool = False, note: str = ""
) -> Callable[[Made], Made]:
    """Register a class or function that makes a `undiffuse.diffusion.Sampler` of its options.

    Args:
        name: for ``--sampler``.
        evaluations_per_step: network evaluations that a step takes; None where the sampler decides as it goes.
        stochastic: whether it draws noise on the way.
        note: when to use it.
    """
    return _adding(lambda make: register_sampler(name, make, evaluations_per_step, stochastic, note))


def loss(name: str, *, note: str = "") -> Callable[[Made], Made]:
    """Register a class or function that makes a `undiffuse.diffusion.Loss` of its options, for ``--loss``."""
    return _adding(lambda make: register_loss(name, make, note))


def schedule(name: str, *, note: str = "") -> Callable[[Made], Made]:
    """Register a class or function that makes a `undiffuse.diffusion.Schedule` of its options, for ``--schedule``.

    An option ``timesteps`` is that of the settings.
    """
    return _adding(lambda make: register_schedule(name, make, note))


def optimizer(name: str, *, note: str = "") -> Callable[[Made], Made]:
    """Register a class or function of the parameters and options, as those of `torch.optim`, for ``--optimizer``.

    Options ``lr``, ``weight_decay``, ``beta1`` and ``beta2`` are those of the settings.
    """
    return _adding(lambda make: register_optimizer(name, make, note))


def guidance(name: str, *, note: str = "") -> Callable[[Made], Made]:
    """Register a class or function that makes a `undiffuse.diffusion.guidance.GuidanceRule`, for ``--guidance-rule``.

    An option ``scale`` is the `guidance` of the settings.
    """
    return _adding(lambda make: register_guidance(name, make, note))


def data_format(name: str, *, suffixes: Sequence[str]) -> Callable[[Made], Made]:
    """Register ``read(path)`` of files with these endings: images (N, channels, *sides), or a pair with N labels.

    Args:
        name: of the format; part of the fingerprints of such data, so it never changes.
        suffixes: such as ``(".blob",)``.
    """
    return _adding(lambda read: register_format(name, suffixes, read))


def metric(
    name: str, *, better: Better = "lower", needs: Needs = "features", minimum: int = 10
) -> Callable[[Made], Made]:
    """Register ``compute(samples, real)`` of an extractor's features as a measure of `undiffuse evaluate`.

    Args:
        name: in tables and files.
        better: which way.
        needs: the output of the extractor: 'features', 'spatial' or 'logits'.
        minimum: images on each side below which it is left out.
    """
    return _adding(lambda compute: register_metric(name, compute, better, needs, minimum))


@in_one_sentence
def modality(kind: Modality, *, axes: int, name: str = "") -> None:
    """Register a kind of samples: how they are written, read and looked at; see `register_modality`."""
    register_modality(kind, axes, name)


def network(options: type[NetworkConfig]) -> Callable[[Made], Made]:
    """Register a network whose options are a dataclass, each field with its help below it, for ``--architecture``.

    Args:
        options: see `undiffuse.config.network.NetworkConfig`.
    """
    return _adding(lambda build: register_network(options, build))


def _adding(register_piece: Callable[[Any], object]) -> Callable[[Made], Made]:
    @in_one_sentence
    def add(make: Made) -> Made:
        register_piece(make)
        return make

    return add
