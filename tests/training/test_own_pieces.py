"""A program's own network, loss, schedule, optimizer, sampler and guidance: trained, resumed, sampled, saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import undiffuse
from undiffuse.checkpoints.training_checkpoint import latest
from undiffuse.diffusion import DDIM, Guidance
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import q_sample
from undiffuse.diffusion.schedules import VP, cosine
from undiffuse.errors import UndiffuseError

HOW = {"batch": 4, "device": "cpu", "quiet": True, "sample_every": 0, "keep": 0, "decay": "constant"}


class FiLM(nn.Module):
    """A small network that is told classes, with dropout."""

    def __init__(self, channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.told = nn.Embedding(3, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x, time, label=None):
        hidden = self.first(x) + time[:, None, None, None] / 1000
        if label is not None:
            hidden = hidden * (1 + self.told(label))[:, :, None, None]
        return self.last(torch.dropout(hidden.relu(), 0.1, self.training))


@dataclass(frozen=True)
class Charbonnier:
    """The error of epsilon by sqrt(1 + e^2) - 1."""

    c: float = 1.0

    def __call__(self, denoiser, x0, t, eps, conditions=None, mask=None):
        seen = denoiser(q_sample(x0, eps, denoiser.schedule(t)), t, **(conditions or {}))
        return ((seen.eps - eps).square() + self.c**2).sqrt().flatten(1).mean(1) - self.c


@dataclass(frozen=True)
class HalfSteps:
    """Two of DDIM's steps for one."""

    order = 1

    def init(self):
        return None

    def step(self, denoiser, x, t, s, state, noise):
        middle = (t + s) / 2
        for a, b in ((t, middle), (middle, s)):
            x, _ = DDIM().step(denoiser, x, a, b, None, noise)
        return x, None


@dataclass(frozen=True)
class Squared:
    """A rule that goes the square of the way."""

    scale: float = 2.0

    def active(self, schedule, t):
        return self.scale != 1

    def mix(self, strong, weak, x_t, t, schedule):
        w = self.scale**2
        return Prediction(weak.x0 + w * (strong.x0 - weak.x0), weak.eps + w * (strong.eps - weak.eps))


class CountingSGD(torch.optim.SGD):
    """SGD that remembers a number of each parameter, and one of its group."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            for parameter in group["params"]:
                self.state[parameter]["seen"] = self.state[parameter].get("seen", 0) + 1
                with torch.no_grad():  # what it remembers decides what it does
                    parameter.mul_(1 - 1e-3 * self.state[parameter]["seen"] / group["steps"])


def descent(parameters):
    return CountingSGD(parameters, lr=0.05, momentum=0.9)


def pictures():
    dice = np.random.default_rng(0)
    return [(dice.integers(0, 256, (8, 8), dtype=np.uint8), "even" if k % 2 else "odd") for k in range(12)]


OWN = {"network": FiLM, "objective": Charbonnier(0.5), "schedule": cosine(64), "optimizer": descent}


@pytest.fixture
def train(own_cache, tmp_path):
    def train(name="own", **how):
        return undiffuse.train(pictures(), name=name, runs=tmp_path, condition=("class",), **{**HOW, **OWN, **how})

    return train


def test_own_pieces_are_learned_by_and_named_in_the_settings(train):
    model = train(steps=4)
    config = model.config
    assert (config.network.architecture, config.objective.loss) == ("FiLM", "Charbonnier(c=0.5)")
    assert (config.diffusion.schedule, config.diffusion.timesteps) == ("DiscreteSchedule", 64)
    assert (config.optimizer.optimizer, config.optimizer.lr) == ("descent", 0.05)
    assert isinstance(model.network, FiLM)
    assert torch.equal(model.schedule.alpha_bar, cosine(64).alpha_bar)
    assert model.sample(2, classes=("odd",), steps=2).array.shape == (2, 1, 8, 8)


def weights(folder):
    path, _ = latest(folder / "checkpoints")
    from safetensors.torch import load_file

    return {k: v for file in sorted(path.glob("*.safetensors")) for k, v in load_file(file).items()}


def test_a_run_goes_on_bit_for_bit_where_its_pieces_are_given_again(train, tmp_path):
    train("whole", steps=4)
    train("parts", steps=2)
    undiffuse.train(name="parts", runs=tmp_path, resume=True, steps=4, quiet=True, **OWN)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert any("momentum_buffer" in name for name in whole)
    assert any("seen:int" in name for name in whole)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_a_model_is_saved_to_the_bit_and_loaded_with_its_network(train, tmp_path):
    model = train(steps=2)
    path = model.save(tmp_path / "own.safetensors")
    again = undiffuse.load(path, network=FiLM)
    assert np.array_equal(model.sample(2, steps=2).array, again.sample(2, steps=2).array)
    with pytest.raises(UndiffuseError, match=r"own\.safetensors exists already"):
        model.save(path)
    with pytest.raises(UndiffuseError, match=r"saved as NAME\.safetensors, not as own\.pt"):
        model.save(tmp_path / "own.pt")


def test_an_instance_is_copied_with_its_weights(train):
    mine = FiLM(width=4)
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    model = train(steps=2, network=mine)
    assert all(torch.equal(before[name], tensor) for name, tensor in mine.state_dict().items())
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"network": 3}, "A network is given as a torch.nn.Module, a function that makes one, or the name"),
        ({"network": lambda: 3}, "should return a torch.nn.Module, and it returned a int"),
        ({"network": "unnet"}, "perhaps you meant 'unet'"),
        ({"network": FiLM, "architecture": "unet"}, "network= and `architecture` say the same"),
        ({"network": FiLM, "base": 64}, "has no `base`"),
        ({"schedule": 3}, "`schedule` is an `undiffuse.diffusion.Schedule`"),
        ({"schedule": "cosin"}, "perhaps you meant 'cosine'"),
        ({"schedule": VP(), "zero_terminal_snr": True}, "`zero_terminal_snr`.* leave them out"),
        ({"objective": Charbonnier}, "got the class Charbonnier"),
        ({"objective": "hybird"}, "perhaps you meant 'hybrid'"),
        ({"optimizer": descent([nn.Parameter(torch.zeros(1))])}, "a function of the parameters"),
        ({"optimizer": lambda parameters: 3}, "should make a torch.optim.Optimizer, and it made a int"),
        ({"optimizer": "admw"}, "perhaps you meant 'adam"),
    ],
)
def test_what_is_no_such_piece_is_refused_in_a_sentence(train, own, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        train(steps=1, **own)


def test_samplers_as_objects_draw_what_their_names_do(train):
    model = train(steps=2)
    named = model.sample(2, sampler="ddim", eta=0.5, steps=3)
    given = model.sample(2, sampler=DDIM(0.5), steps=3)
    assert np.array_equal(named.array, given.array)
    assert named.settings == given.settings
    halves = model.sample(2, sampler=HalfSteps(), steps=3)
    assert halves.settings.solver.sampler == "HalfSteps"
    assert np.array_equal(halves.array, model.plan(halves.settings).sample(2).array)
    assert halves.evaluations == 6
    for wrong, sentence in ((3.5, "cannot|must be"), (HalfSteps, "lacks one of them"), (object(), "lacks one of them")):
        with pytest.raises(UndiffuseError, match=sentence):
            model.sample(1, sampler=wrong)


def test_guidance_as_an_object(train):
    model = train(steps=2)
    asked = {"classes": ("odd",), "steps": 2}
    named = model.sample(2, guidance=2.0, guidance_rescale=0.5, guidance_interval=(0.1, 5.0), **asked)
    given = model.sample(2, guidance=Guidance(2.0, 0.5, (0.1, 5.0)), **asked)
    assert np.array_equal(named.array, given.array)
    assert named.settings == given.settings
    squared = model.sample(2, guidance=Squared(1.5), **asked)
    assert np.array_equal(squared.array, model.sample(2, guidance=2.25, **asked).array)
    assert squared.settings.guide.guidance_rule == "Squared(scale=1.5)"
    with pytest.raises(UndiffuseError, match="says `guidance_rescale` itself"):
        model.sample(1, guidance=Guidance(2.0), guidance_rescale=0.1, **asked)
    with pytest.raises(UndiffuseError, match="`guidance` is a number, an "):
        model.sample(1, guidance=object(), **asked)


def test_a_given_chain_is_exported_by_its_betas_and_distilled(train, tmp_path):
    model = train(
        steps=2, network="unet", base=8, multipliers=(1,), blocks=1, attention_levels=(), schedule=cosine(64, s=0.1)
    )
    from undiffuse.checkpoints.foreign.diffusers.scheduler import scheduler_values

    betas = scheduler_values(model.config.diffusion)["trained_betas"]
    assert torch.allclose(torch.tensor(betas, dtype=torch.float64), cosine(64, s=0.1).betas)
    fast = undiffuse.distill(
        tmp_path / "own", method="regression", steps=2, runs=tmp_path, name="fast", updates=1, quiet=True
    )
    assert fast.sample(1).evaluations == 2
    assert fast.config.objective.loss == "simple"


def test_a_given_continuous_process_is_trained_and_drawn(train):
    model = train(steps=2, schedule=VP(), parameterization="v")
    assert model.config.diffusion.schedule == "VP"
    assert model.sample(1, steps=2).array.shape == (1, 1, 8, 8)
