from dataclasses import fields, replace

import pytest

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.samplers import DDIM, DDPM, SAMPLERS
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler
from undiffuse.model.sample_request import OF_SAMPLERS

PLAIN = Solver()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_of_default_settings_is_the_one_of_its_own_defaults(name):
    entry = SAMPLERS[name]
    assert set(entry.options) <= {field.name for field in fields(Solver)}
    assert make_sampler(replace(PLAIN, sampler=name)) == entry.make()


def test_settings_that_a_sampler_takes_reach_it():
    assert make_sampler(replace(PLAIN, sampler="ddim", eta=0.5)) == DDIM(0.5)
    assert make_sampler(replace(PLAIN, sampler="ddpm", variance="large")) == DDPM("large")
    assert make_sampler(replace(PLAIN, sampler="edm", churn=0.0, steps=7)).gamma == 0.0


def test_the_settings_of_one_sampler_are_those_that_it_takes():
    taken = {option: name for name, entry in SAMPLERS.items() for option in entry.options if option != "steps"}
    assert taken == OF_SAMPLERS


def test_an_unknown_sampler_is_one_sentence():
    with pytest.raises(UndiffuseError, match="There is no sampler 'dimm'"):
        make_sampler(replace(PLAIN, sampler="dimm"))
