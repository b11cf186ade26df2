"""A model in loops of other programs learns what it learns in ours."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_data

import undiffuse
from undiffuse.data.standardizer import Standardizer
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.training.batches import TrainData, order_of
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import training

SMALL = {
    "base": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "patch": 1,
    "dropout": 0.0,
    "timesteps": 8,
}


@dataclass(frozen=True)
class Told:
    info: Any
    images: Any
    labels: Any
    rows: Any

    def vectors(self):
        return self.rows


def module_of(shape=(1, 8, 8), **options):
    return undiffuse.TrainingModule(shape, **{**SMALL, **options})


def images(count=4, dtype=torch.uint8):
    values = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return values if dtype == torch.uint8 else values.to(dtype) / 255


KINDS = {
    "recipe": {},
    "epsilon": {"parameterization": "epsilon", "weighting": "uniform", "time_law": "uniform", "offset_noise": 0.1},
    "hybrid": {"learn_variance": True, "loss": "hybrid", "parameterization": "epsilon", "clipped_error": False},
    "stratified": {"time_law": "stratified", "schedule": "linear", "ema": (0.9,), "ema_warmup": False},
    "classes": {"classes": ("dark", "light", "other"), "condition_dropout": 0.5},
    "numbers": {"numbers": {"brightness": (100.0, 40.0), "grain": (0.0, 2.0)}, "condition_dropout": 0.5},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_losses_gradients_and_averages_are_those_of_our_training(options):
    module = module_of(**options)
    rows = np.random.default_rng(0).normal(100, 30, (40, 2)).astype(np.float32)
    data = Told(replace(module.model.info, count=40), tiny_data().images, np.arange(40) % 3, rows)
    loop = replace(module.config.loop, batch=4, steps=3, minutes=None)
    model = build_model(replace(module.config, loop=loop), data.info)
    state, step = make_train_state(model), make_train_step(model, data, 3)
    order = order_of(TrainData.of(data), model.config)
    for result in training(step, state):
        chosen = order(result.step - 1)
        told = {"label": data.labels[chosen]} if "classes" in options else {}
        told |= {"vector": rows[chosen]} if "numbers" in options else {}
        module.zero_grad()
        loss = module(torch.from_numpy(data.images[chosen]), **told)
        loss.backward()
        assert loss.item() == pytest.approx(result.loss, rel=1e-6)  # theirs is summed in float64
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), model.config.optimizer.clip)
        for ours, theirs in zip(module.network.parameters(), model.network.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)
        module.network.load_state_dict(model.network.state_dict())
        module.update()
    for ours, theirs in zip(module.average.parameters(), next(iter(state.ema.averages.values())), strict=True):
        assert torch.equal(ours, theirs)


def learn(module, steps, **told):
    optimizer = module.follow(torch.optim.Adam(module.parameters(), 1e-2))
    losses = []
    for _ in range(steps):
        loss = module(images(), **told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_what_was_learned_is_saved_loaded_and_drawn(tmp_path):
    module = module_of(classes=2)
    learn(module, 3, label=torch.tensor([0, 1, 2, 0]))
    model = module.averaged()
    assert all(map(torch.equal, model.network.parameters(), module.average.parameters()))
    again = undiffuse.load(model.save(tmp_path / "mine.safetensors"))
    assert (again.provenance["step"], again.provenance["weights"]) == (3, "0.999")
    drawn = again.sample(2, steps=2, classes=("1",), guidance=2.0)
    assert drawn.array.dtype == np.uint8
    assert np.array_equal(drawn.array, model.sample(2, steps=2, classes=("1",), guidance=2.0).array)
    learn(module, 1, label=torch.tensor([0, 1, 2, 0]))
    assert not all(map(torch.equal, model.network.parameters(), module.average.parameters()))
    assert "checkpoint" not in repr(model)


def test_it_learns():
    module = module_of()
    first, last = np.array_split(learn(module, 80), 2)
    assert last.mean() < 0.9 * first.mean()


def test_a_state_dict_goes_on_as_if_nothing_had_been():
    whole, first, second = module_of(), module_of(), module_of(seed=1)
    losses = learn(whole, 1) + [whole(images()).item() for _ in range(2)]
    learn(first, 1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.model.config = first.config  # of the same seed
    assert [second(images()).item() for _ in range(2)] == losses[1:]
    assert second.steps == 1


def test_evaluation_is_of_the_average_with_the_same_draws_at_every_look():
    module = module_of(classes=2, condition_dropout=0.9)
    with torch.no_grad():
        for weight in module.network.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 0, 1])
    looks = []
    for _ in range(2):
        module.eval()
        looks.append([module(images(), label=label).item() for _ in range(2)])
        module.train()
        module(images(), label=label)
    assert looks[0] == looks[1]
    assert looks[0][0] != looks[0][1]
    module.update()
    module.eval()
    assert module(images(), label=label).item() != looks[0][0]


def test_floats_from_0_to_1_are_8_bit_images():
    a, b = module_of(), module_of()
    assert a(images()).item() == pytest.approx(b(images(dtype=torch.float32)).item(), rel=1e-6)


def test_values_of_any_range_are_drawn_in_it():
    module = module_of((2, 8), values=(-3.0, 5.0))
    x = torch.rand(4, 2, 8) * 8 - 3
    module(x).backward()
    module.update()
    drawn = module.averaged().sample(2, steps=2).array
    assert drawn.dtype == np.float32
    assert drawn.min() >= -3
    assert drawn.max() <= 5


def test_a_network_and_a_loss_are_objects_too(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.layer = torch.nn.Conv2d(channels, channels, 1)

        def forward(self, x, time):
            return self.layer(x)

    def loss(denoiser, x0, t, eps, conditions=None, mask=None):
        return (denoiser(x0, t).x0 - x0).abs().flatten(1).mean(1)

    module = undiffuse.TrainingModule((1, 8, 8), network=Own, objective=loss, parameterization="v")
    learn(module, 2)
    path = module.averaged().save(tmp_path / "own.safetensors")
    assert undiffuse.load(path, network=Own).sample(1, steps=1).array.shape == (1, 1, 8, 8)


def test_an_average_that_never_moved_is_not_handed_out():
    module = module_of()
    module.averaged()  # nothing was learned
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(images()).backward()
    optimizer.step()
    with pytest.raises(UndiffuseError, match=r"never moved: .* module\.follow\(optimizer\)"):
        module.averaged()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lr": 1e-3}, "`lr` is a setting of undiffuse.train"),
        ({"size": 32}, "`size` is a setting of undiffuse.train"),
        ({"condition": ("class",)}, "`condition` is a setting of undiffuse.train"),
        ({"bas": 8}, "unknown setting 'bas'; perhaps you meant 'base'"),
        ({"ema": (0.9, 0.99)}, "keeps one average"),
        ({"time_law": "loss-second-moment"}, "learns from all losses"),
        ({"values": (1, 0)}, "the lower one first"),
        ({"shape": 28}, r"such as \(3, 64, 64\) of colour images; got 28"),
        ({"shape": (28,)}, r"such as \(3, 64, 64\) of colour images; got \(28,\)"),
        ({"numbers": {"angle": (0.0, 0.0)}}, "a mean and a standard deviation"),
        ({"numbers": ["angle"]}, r"as in \{'angle': \(0\.0, 30\.0\)\}; got \['angle'\]"),
        ({"numbers": {"angle": 3.0}}, r"as in \{'angle': \(0\.0, 30\.0\)\}"),
        ({"values": 1}, "two ends of the data's range, the lower one first; got 1"),
        ({"classes": "cat"}, "how many there are, or is a list of their names; got 'cat'"),
        ({"classes": -1}, "got -1"),
        ({"recipe": "smal"}, "perhaps"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(options, sentence):
    with pytest.raises(UndiffuseError, match=sentence) as caught:
        module_of(**options)
    assert "\n" not in str(caught.value)


def test_an_optimizers_class_is_no_optimizer():
    with pytest.raises(UndiffuseError, match=r"torch\.optim\.Adam\(module.* got Adam$"):
        module_of().follow(torch.optim.Adam)


TOLD = {"classes": 3, "numbers": {"angle": (0.0, 1.0)}}
GIVEN = {"label": [0, 1, 2, 3], "vector": torch.zeros(4, 1)}


@pytest.mark.parametrize(
    ("batch", "given", "sentence"),
    [
        (images()[:, 0], GIVEN, r"shape \(batch, 1, 8, 8\), .* these are of the shape \(4, 8, 8\)"),
        ([images()], GIVEN, r"these are a list; what else the batch holds goes beside them, as label=\.\.\."),
        (images(), {**GIVEN, "label": None}, "label= is a tensor, .* got None"),
        (images(), {**GIVEN, "label": ["a"] * 4}, "label= is a tensor, .* got .'a', 'a'"),
        (images(dtype=torch.float32) * 2 - 1, GIVEN, r"floats from 0 to 1, and this batch has values from -0.99"),
        (images().float(), GIVEN, r"floats from 0 to 1, .* to 255: .*values=\(-1, 1\)"),
        (images().float() * torch.nan, GIVEN, "values from nan"),
        (images(), {}, r"told label=\.\.\. and vector=\.\.\., and it got nothing"),
        (images(), {**GIVEN, "labels": 1}, "it got label=.* and labels="),
        (images(), {**GIVEN, "label": [0, 1, 2, 4]}, r"from 0 to 2 for each of the 4 images, or 3 for no class; got"),
        (images(), {**GIVEN, "label": torch.eye(3)}, r"got float32 of the shape \(3, 3\)"),
        (images(), {**GIVEN, "vector": torch.zeros(4)}, r"vector= is angle for each of the 4 images, \(4, 1\)"),
    ],
)
def test_a_batch_that_does_not_fit_is_one_sentence(batch, given, sentence):
    with pytest.raises(UndiffuseError, match=sentence) as caught:
        module_of(**TOLD)(batch, **given)
    assert "\n" not in str(caught.value)


def test_weights_in_half_precision_are_refused_and_mixed_precision_is_not():
    module = module_of()
    with torch.autocast("cpu", torch.bfloat16):
        assert module(images()).dtype == torch.float32
    with pytest.raises(UndiffuseError, match=r"learns in float32, .* use mixed precision"):
        module.bfloat16()(images())


def test_standardized_numbers_are_those_of_a_training():
    rows = np.random.default_rng(0).normal(3, 2, (4, 1)).astype(np.float32)
    told = module_of(numbers={"angle": (3.0, 2.0)})._told({"vector": torch.from_numpy(rows)}, 4, True)
    assert np.array_equal(told["vector"].numpy(), Standardizer(("angle",), (3.0,), (2.0,))(rows))
