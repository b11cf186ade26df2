"""Settings of a sampling: four parts, named flat outside."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from undiffuse.config.sampling import Compute, Guide, Prompt, SampleConfig, Solver
from undiffuse.config.schema import TrainConfig
from undiffuse.config.sections import flat_fields, flatten, from_plain, to_plain
from undiffuse.errors import UndiffuseError

ORDER = [
    "sampler",
    "steps",
    "spacing",
    "times",
    "eta",
    "variance",
    "churn",
    "tolerance",
    "morph_to",
    "morph",
    "classes",
    "text",
    "vector",
    "image",
    "guidance",
    "avoid",
    "weak",
    "classifier",
    "guidance_rescale",
    "guidance_rule",
    "guidance_interval",
    "augmentation",
    "threshold",
    "weights",
    "micro_batch",
    "precision",
    "compile",
]
"""Of the names in files."""


def test_flat_names_reach_their_parts() -> None:
    settings = SampleConfig.of(steps=50, classes=["seven"], guidance=2, compile=True)
    assert settings == SampleConfig(
        solver=Solver(steps=50),
        prompt=Prompt(classes=("seven",)),
        guide=Guide(guidance=2.0),
        compute=Compute(compile=True),
    )
    assert settings.changed(steps=20, guidance=1.0).changed(classes=(), compile=False) == SampleConfig()


def test_files_hold_flat_names_in_one_order() -> None:
    settings = SampleConfig.of(steps=50, times=(3.0, 1.0), avoid="one", micro_batch=4)
    assert list(settings.flat()) == ORDER
    assert to_plain(settings) == settings.flat()
    assert from_plain(SampleConfig, settings.flat(), "a file") == settings


@pytest.mark.parametrize("cls", [SampleConfig, TrainConfig])
def test_a_name_stands_in_one_part_alone(cls: type) -> None:
    parts = [part for part in vars(cls()).values() if hasattr(part, "__dataclass_fields__")]
    names = [field.name for part in parts for field in fields(part)]
    assert len(names) == len(set(names))
    assert set(names) <= set(flat_fields(cls))
    assert set(names) <= set(flatten(cls()))


@pytest.mark.parametrize(
    ("flat", "sentence"),
    [
        ({"stepps": 3}, "unknown setting 'stepps' in the sampling; perhaps you meant 'steps'"),
        ({"solver": Solver()}, "unknown setting 'solver' in the sampling"),
        ({"steps": "many"}, "'steps' in the sampling must be a whole number, got 'many'"),
    ],
)
def test_a_name_that_is_none_and_a_value_of_another_kind_are_refused(flat: dict[str, Any], sentence: str) -> None:
    for make in (SampleConfig.of, SampleConfig().changed):
        with pytest.raises(UndiffuseError, match=sentence):
            make(**flat)
