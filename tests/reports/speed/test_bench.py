"""What `undiffuse bench` measures and says."""

import json
import math
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from undiffuse.cli import main
from undiffuse.cli.bench import _model, rows
from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.data.standardizer import Standardizer
from undiffuse.errors import UndiffuseError
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet import UNet
from undiffuse.reports.speed import clock, measure
from undiffuse.reports.speed.advice import advice
from undiffuse.reports.speed.flops import flops
from undiffuse.reports.speed.measure import Compilation, bench, compilation, recipe_model
from undiffuse.reports.speed.operator_kinds import kind_of, shares

TINY = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False, "batch": 2}


class Convolution(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x, time):
        return self.layer(x)


@pytest.fixture(scope="module")
def measured():
    model = recipe_model("small", (1, 8, 8), "cpu", **TINY)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    found = bench(model, "small", seconds=0.2)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
    return model, found


@pytest.mark.parametrize("condition", ["vector", "image"])
def test_a_model_that_is_told_numbers_or_pictures_is_measured_on_made_ones(condition):
    """They were an AssertionError."""
    numbers = Standardizer(("size", "age"), (0.0, 0.0), (1.0, 1.0))
    info = replace(measure.made_info((1, 8, 8)), numbers=numbers).with_pair(2, "uint8", 0.0, 255.0)
    config = override(recipe_model("small", (1, 8, 8), "cpu", **TINY).config, condition=(condition,))
    steps = measure._steps(measure.build_model(config, info), 0)
    assert math.isfinite(next(steps).loss)


def test_a_convolutions_operations_are_two_for_each_product():
    forward = 2 * 4 * 5 * 3 * 9 * 6 * 7
    assert flops(Convolution(), (3, 6, 7), 4) == forward
    assert flops(Convolution(), (3, 6, 7), 4, backward=True) == 2 * forward  # the data need no gradient


def test_operations_are_counted_as_done_directly_where_winograds_way_is_taken():
    """The count is the same for sizes at which the faster algorithm is used and those at which it is not."""
    settings = UNetConfig(base=128, multipliers=(1,), blocks=1, attention_levels=(), middle_attention=False)
    network = accelerate_cpu(UNet(3, 3, 2, settings))
    assert flops(network, (3, 16, 16), 16) == pytest.approx(16 * flops(network, (3, 16, 16), 1), rel=1e-9)


def test_measuring_leaves_the_weights_alone_and_figures_are_consistent(measured):
    model, found = measured
    assert found.parameters == sum(p.numel() for p in model.network.parameters())
    assert found.step_flops > 2 * found.evaluation_flops * found.batch / found.micro_batch
    assert sum(found.kinds.values()) == pytest.approx(1)
    assert found.seconds_per_image == pytest.approx(20 * found.evaluation_seconds / 16)
    assert found.precision == found.sampling_precision == "float32"
    assert found.step_share == found.step_flops / found.step_seconds / found.ceilings["float32"]
    assert found.evaluation_share > 0
    assert found.peak_memory > 0


def test_operators_are_sorted_into_kinds():
    names = {
        "aten::mkldnn_convolution": "convolution",
        "aten::convolution_backward": "convolution",
        "aten::native_group_norm_backward": "normalisation",
        "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
        "aten::addmm": "matrix product",
        "aten::silu_backward": "activation",
        "aten::_fused_adam_": "optimiser and averages",
        "aten::copy_": "copies and layout",
        "aten::normal_": "random numbers",
        "aten::add": "other",
    }
    assert {name: kind_of(name) for name in names} == names


def test_a_matrix_product_is_found_to_be_one():
    a = torch.ones(300, 300)
    assert next(iter(shares(lambda: a @ a, torch.device("cpu")))) == "matrix product"


def test_images_in_memory_give_no_advice_about_disks(measured):
    model, found = measured
    slow = replace(found, loading_share=0.2)
    assert advice(slow, model.config) == advice(replace(found, loading_share=0.0), model.config)
    assert ("", "20.0% of the step makes the next batch, of images in memory") in rows(slow)


def test_there_is_always_something_to_say(measured):
    model, found = measured
    quick = replace(found, loading_share=0.0, step_seconds=found.step_flops / found.ceilings["float32"], kinds={})
    assert len(advice(quick, model.config)) == 1


def on_formats(measured, gain, base=64, **formats):
    """What is said of number formats where products in bfloat16 are ``gain`` times as fast."""
    model, found = measured
    config = override(model.config, base=base)
    made = replace(found, ceilings={"float32": 100e9, "bfloat16": gain * 100e9}, **formats)
    return [sentence for sentence in advice(made, config) if "bfloat16" in sentence]


def test_bfloat16_is_advised_where_products_gain_from_it_and_the_network_is_wide(measured):
    said = on_formats(measured, 1.9)
    assert len(said) == 1
    assert "1.9 times as fast in bfloat16" in said[0]
    assert "try undiffuse train and undiffuse sample with --precision bfloat16" in said[0]
    assert on_formats(measured, 1.5)
    assert not on_formats(measured, 1.49)
    assert not on_formats(measured, 1.9, base=63)
    (only_samples,) = on_formats(measured, 6.0, precision="bfloat16", device="NVIDIA X")
    assert "try undiffuse sample with --precision bfloat16" in only_samples


def test_float32_is_advised_where_bfloat16_gains_nothing(measured):
    (said,) = on_formats(measured, 0.04, precision="bfloat16", sampling_precision="bfloat16")
    assert "has 0.04 times the speed" in said
    assert "try undiffuse train and undiffuse sample with --precision float32" in said
    assert "--precision float32" in on_formats(measured, 1.2, precision="bfloat16")[0]
    both = {"precision": "bfloat16", "sampling_precision": "bfloat16"}
    assert not on_formats(measured, 1.9, **both)
    assert "At a width of 32" in on_formats(measured, 1.9, base=32, **both)[0]
    assert not on_formats(measured, 1.9, base=32, device="NVIDIA X", **both), "measured on CPUs alone"


def test_what_compiling_costs_and_saves_says_from_where_on_it_pays():
    found = Compilation(first=10.0, eager=0.5, compiled=0.25)
    assert found.gain == 2
    n = found.pays_from
    assert [10 + (k - 1) * 0.25 <= k * 0.5 for k in (n - 1, n)] == [False, True]
    assert Compilation(first=0.1, eager=0.5, compiled=0.25).pays_from == 1
    assert Compilation(first=10.0, eager=0.25, compiled=0.25).pays_from == math.inf


def test_the_compiled_way_and_the_eager_one_take_turns():
    calls = []
    found = compilation(lambda: calls.append("eager"), lambda: calls.append("compiled"), torch.device("cpu"), 0.0)
    assert calls == ["compiled", *["eager", "compiled"] * 5]
    assert min(found.first, found.eager, found.compiled) > 0


def test_compiling_is_advised_by_what_was_measured(measured):
    model, found = measured
    gpu = replace(found, device="NVIDIA X")
    said = [text for text in advice(gpu, model.config) if "--compile" in text]
    assert said == [
        "--compile fuses the small operators: undiffuse bench --compile measures from what length on it pays."
    ]
    assert not any("--compile" in text for text in advice(found, model.config))

    pays, never = Compilation(10.0, 0.5, 0.25), Compilation(10.0, 0.25, 0.5)
    both = replace(gpu, compiled_step=pays, compiled_evaluation=pays)  # 39 calls; 20 draw 16 images
    words = "undiffuse train --compile pays from 39 steps on; undiffuse sample --compile pays from 32 images on."
    assert words in advice(both, model.config)
    one = replace(gpu, compiled_step=never, compiled_evaluation=pays)
    words = "undiffuse sample --compile pays from 32 images on; --compile never pays for undiffuse train here."
    assert words in advice(one, model.config)
    none = replace(gpu, compiled_step=never, compiled_evaluation=never)
    assert "--compile never pays for undiffuse train and sample here." in advice(none, model.config)


def test_steps_and_evaluations_are_compiled_where_asked(monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiled.append(options["mode"]) or network)
    model = recipe_model("small", (1, 8, 8), "cpu", **TINY)
    found = bench(model, "small", seconds=0.1, compiles=True)
    assert compiled == ["reduce-overhead", None]
    assert found.compiled_step
    assert found.compiled_evaluation
    printed = [value for name, value in rows(found) if name == "compiled" or "for the first" in value]
    assert [" a step" in printed[0], " an evaluation" in printed[1]] == [True, True]


def test_an_evaluation_is_made_as_samples_are_drawn(monkeypatch):
    """By the denoiser of `Model.plan`, in the format that was asked for, as training is."""
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 0.6)
    model = recipe_model("small", (1, 8, 8), "cpu", **TINY)
    planned, seen = [], set()
    plan = model.plan

    def spied(*arguments, **named):
        planned.append(plan(*arguments, **named).settings)
        return plan(*arguments, **named)

    monkeypatch.setattr(model, "plan", spied)
    first = next(module for module in model.network.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    found = bench(model, "small", seconds=0.1, precision="bfloat16")
    assert (found.precision, found.sampling_precision) == ("bfloat16", "bfloat16")
    assert [settings.compute.precision for settings in planned] == ["bfloat16"]
    assert torch.bfloat16 in seen
    assert found.evaluation_share == (found.evaluation_flops / found.evaluation_seconds / found.ceilings["bfloat16"])


def test_a_ceiling_is_measured_within_its_budget(monkeypatch):
    """Where a product of full size would take four times the budget, smaller ones are taken."""
    sides = []
    monkeypatch.setattr(clock, "_rate", lambda device, dtype, side, budget: sides.append(side) or 1e9)
    cpu, seconds = torch.device("cpu"), 2 * 2048**3 / 1e9
    clock.ceiling(cpu, torch.float32, 5 * seconds)
    assert sides == [256, 2048]
    clock.ceiling(cpu, torch.float32, seconds)
    assert sides[2:] == [256, 1024]
    clock.ceiling(cpu, torch.float32, 0.0)
    assert sides[4:] == [256, 256]


def test_a_recipe_is_tried_on_shapes_until_it_takes_one():
    assert recipe_model("ho2020-cifar10", None, "cpu", base=8).info.shape == (3, 32, 32)
    with pytest.raises(UndiffuseError, match="shape"):
        recipe_model("digits", (3, 32, 32), "cpu")


def test_the_command_writes_its_figures(tmp_path, capsys, monkeypatch):
    import undiffuse.reports.speed.measure as measure

    made = recipe_model("small", (1, 8, 8), "cpu", **TINY)
    monkeypatch.setattr(measure, "recipe_model", lambda *arguments: made)
    out = tmp_path / "figures.json"
    assert main(["bench", "small", "--seconds", "0.1", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["name"] == "small"
    assert "images/s" in capsys.readouterr().out
    assert main(["bench", "small", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "said"), [("digits", "builtin:digits"), ("small", "not the recipe")])
def test_a_run_here_goes_before_a_recipe_of_its_name(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "recipe_model", lambda *words: words)
    assert _model({"RUN": "digits"})[0] == "digits"
    assert "digits is the recipe; the model of that name" in capsys.readouterr().err
    (tmp_path / name / "checkpoints").mkdir(parents=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(UndiffuseError, match="holds no whole checkpoint"):
            _model({"RUN": name})
    assert said in capsys.readouterr().err + "".join(str(one.message) for one in warned)


def test_a_name_that_is_neither_a_run_nor_a_recipe_is_one_sentence(capsys):
    assert main(["bench", "smal"]) == 2
    assert "small" in capsys.readouterr().err
    assert main(["bench", "runs/nix"]) == 2
    assert "runs/nix is not there" in capsys.readouterr().err


def test_a_ceiling_is_the_best_of_before_and_after_the_work(monkeypatch):
    """A machine that was busy at one of the two gives no share of several hundred per cent."""
    rates = iter([9e9, 8e9, 1e9, 9.5e9])
    monkeypatch.setattr(measure, "ceiling", lambda device, dtype, budget: next(rates))
    found = bench(recipe_model("small", (1, 8, 8), "cpu", **TINY), "small", seconds=0.05)
    assert found.ceilings == {"float32": 9e9, "bfloat16": 9.5e9}


def test_a_ceiling_is_of_the_quickest_product(monkeypatch):
    seconds = iter([5.0, 1.0, 4.0])
    monkeypatch.setattr(clock, "seconds_of", lambda work, device: next(seconds))
    assert clock._rate(torch.device("cpu"), torch.float32, 8, 0.0) == 2 * 8**3 / 1.0


def test_what_is_above_the_ceiling_is_no_share_of_it():
    from undiffuse.cli.bench import _of_ceiling

    assert _of_ceiling(0.42) == "42% of the ceiling"
    assert "%" not in _of_ceiling(5.57)
    assert "run this again" in _of_ceiling(5.57)


def test_a_network_too_narrow_is_told_its_own_setting(measured):
    """Not another architecture's `base`."""

    @dataclass(frozen=True)
    class Tokens(UNetConfig):
        SIZES: ClassVar = ("token_width", "depth")

    model, found = measured
    config = replace(model.config, network=Tokens())
    thin = replace(found, step_seconds=1e3, device="cpu")
    assert any("a larger --token-width costs less" in sentence for sentence in advice(thin, config))
    assert not any("--base" in sentence for sentence in advice(thin, config))
    assert any("a larger --base costs less" in sentence for sentence in advice(thin, model.config))
