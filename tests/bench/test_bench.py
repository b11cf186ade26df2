"""What `undiffuse bench` measures and says."""

import json
from dataclasses import replace

import pytest
import torch

from undiffuse.bench.advice import advice
from undiffuse.bench.flops import forward_flops, step_flops
from undiffuse.bench.kinds import kind_of, shares
from undiffuse.bench.measure import bench, recipe_model
from undiffuse.cli import main
from undiffuse.config import UNetConfig
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet import UNet

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


def test_a_convolutions_operations_are_two_for_each_product():
    forward = 2 * 4 * 5 * 3 * 9 * 6 * 7
    assert forward_flops(Convolution(), (3, 6, 7), 4) == forward
    assert step_flops(Convolution(), (3, 6, 7), 4) == 2 * forward  # the data need no gradient


def test_operations_are_counted_as_done_directly_where_winograds_way_is_taken():
    """The count is the same for sizes at which the faster algorithm is used and those at which it is not."""
    network = UNet(
        3, 3, 2, UNetConfig(base=128, multipliers=(1,), blocks=1, attention_levels=(), middle_attention=False)
    )
    assert forward_flops(network, (3, 16, 16), 16) == pytest.approx(
        16 * forward_flops(network, (3, 16, 16), 1), rel=1e-9
    )


def test_measuring_leaves_the_weights_alone_and_figures_are_consistent(measured):
    model, found = measured
    assert found.parameters == sum(p.numel() for p in model.network.parameters())
    assert found.step_flops > 2 * found.evaluation_flops * found.batch / found.micro_batch
    assert sum(found.kinds.values()) == pytest.approx(1)
    assert found.seconds_per_image == pytest.approx(20 * found.evaluation_seconds / 16)
    assert found.step_share > 0
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


def test_a_slow_loader_is_named_first(measured):
    model, found = measured
    assert advice(replace(found, loading_share=0.2), model.config)[0].startswith("Loading takes 20%")
    assert not any("Loading" in text for text in advice(replace(found, loading_share=0.001), model.config))


def test_there_is_always_something_to_say(measured):
    model, found = measured
    quick = replace(found, loading_share=0.0, step_seconds=found.step_flops / found.ceiling, kinds={})
    assert len(advice(quick, model.config)) == 1


def test_a_recipe_is_tried_on_shapes_until_it_takes_one():
    assert recipe_model("ho2020-cifar10", None, "cpu", base=8).info.shape == (3, 32, 32)
    with pytest.raises(UndiffuseError, match="shape"):
        recipe_model("digits", (3, 32, 32), "cpu")


def test_the_command_writes_its_figures(tmp_path, capsys, monkeypatch):
    import undiffuse.bench.measure as measure

    made = recipe_model("small", (1, 8, 8), "cpu", **TINY)
    monkeypatch.setattr(measure, "recipe_model", lambda *arguments: made)
    out = tmp_path / "figures.json"
    assert main(["bench", "small", "--seconds", "0.1", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["name"] == "small"
    assert "images/s" in capsys.readouterr().out
    assert main(["bench", "small", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_name_that_is_neither_a_run_nor_a_recipe_is_one_sentence(capsys):
    assert main(["bench", "smal"]) == 2
    assert "small" in capsys.readouterr().err
