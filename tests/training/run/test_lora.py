"""Trainings of adapters, and models with some: to the bit what a training saw, alone, added, shared as files."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import undiffuse
from tests.training.tiny import TinyData, tiny_data, tiny_settings
from undiffuse.checkpoints import model_file
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.cli import distill as distill_command
from undiffuse.cli import main
from undiffuse.cli.parser import Parser
from undiffuse.config.files import override
from undiffuse.data.standardizer import Standardizer
from undiffuse.errors import UndiffuseError
from undiffuse.model import load
from undiffuse.networks.lora import learned_of
from undiffuse.provenance.adapter_names import AdapterName, adapters_in, short_name, without_folders
from undiffuse.reports.run_report import write_report
from undiffuse.training.api import resume_run, start_run
from undiffuse.training.run.finetune import started_from

DDIM = {"steps": 2, "sampler": "ddim", "threshold": "none"}
LORA = {"lora_rank": 2, "lr": 0.02, "sample_every": 0}


def labeled(classes=("dark", "light")):
    data = tiny_data()
    labels = (data.images.reshape(len(data.images), -1).mean(1) > 128).astype(np.int64)
    return TinyData(replace(data.info, classes=classes, fingerprint=str(classes)), data.images, labels)


def on_from(folder, **flat):
    start = override(tiny_settings(), start_from=str(folder)).start
    return override(started_from(tiny_settings(sample_every=0), start), **{**LORA, **flat})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model of two classes, one of none, and adapters on the first."""
    folder = tmp_path_factory.mktemp("runs")
    start_run(tiny_settings(steps=6, sample_every=0, condition=("class",)), labeled(), folder / "base")
    start_run(tiny_settings(steps=6, sample_every=0), tiny_data(), folder / "plain")
    start_run(on_from(folder / "base", steps=6, checkpoint_every=3, keep=0), labeled(), folder / "style")
    start_run(on_from(folder / "base", steps=6, seed=1), labeled(), folder / "other")
    return folder


def weights(model):
    return model.network.state_dict()


def same(one, two):
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_moves_adapters_alone(runs):
    base, last = load(runs / "base"), load_checkpoint(runs / "style" / "checkpoints" / "step-00000006")
    for tensors in (last.weights, *last.averages.values()):
        for name, tensor in weights(base).items():
            kept = name if name in tensors else f"{name.removesuffix('weight')}parametrizations.weight.original"
            assert torch.equal(tensors[kept], tensor)
        assert any(tensor.abs().max() > 0 for name, tensor in learned_of(tensors).items() if name.endswith("lora_B"))
    moved = {name.partition("/")[2] for name in last.optimizer}
    assert moved
    assert all(name.rpartition(".")[2] in ("lora_A", "lora_B", "delta") for name in moved)


def test_it_begins_as_the_model_that_it_starts_from_and_ends_as_another(runs):
    begun = load(runs / "style" / "checkpoints" / "step-00000000")
    np.testing.assert_array_equal(begun.sample(4, **DDIM).array, load(runs / "base").sample(4, **DDIM).array)
    assert same(begun, load(runs / "base"))
    assert not same(load(runs / "style"), load(runs / "base"))
    assert load(runs / "style").config.lora.lora_rank == 0  # a model like any other


def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(runs, tmp_path):
    shutil.copytree(runs / "style", tmp_path / "style")
    shutil.rmtree(tmp_path / "style" / "checkpoints" / "step-00000006")
    resume_run(tmp_path / "style", dataset=labeled())
    ends = [load_checkpoint(folder / "style" / "checkpoints" / "step-00000006") for folder in (runs, tmp_path)]
    for name, tensor in ends[0].weights.items():
        assert torch.equal(tensor, ends[1].weights[name])
    for name, tensor in ends[0].optimizer.items():
        assert torch.equal(tensor, ends[1].optimizer[name])


def test_a_model_with_adapters_has_a_name(runs, tmp_path):
    base, style, other = (str(runs / name) for name in ("base", "style", "other"))
    assert same(load(f"{base}+{style}"), load(style))
    assert same(load(f"{base}+{style}:0"), load(base))
    both = weights(load(f"{base}+{style}:0.5+{other}:-2"))
    for name, tensor in weights(load(base)).items():
        learned = [weights(load(run))[name] - tensor for run in (style, other)]
        torch.testing.assert_close(both[name], tensor + 0.5 * learned[0] - 2 * learned[1], atol=1e-6, rtol=1e-5)
    told = load(f"{base}+{style}:0.5").provenance
    assert told["checkpoint"].endswith("style/checkpoints/step-00000006:0.5")
    assert told["sha256"] not in (load(base).provenance["sha256"], load(style).provenance["sha256"])
    assert same(load(base).with_adapters(f"{style}:0.5"), load(f"{base}+{style}:0.5"))


def test_an_adapter_is_shared_as_one_file(runs, tmp_path):
    base, style = runs / "base", runs / "style"
    undiffuse.convert(load(style), tmp_path / "style.safetensors", "adapter")
    undiffuse.convert(load(base), tmp_path / "base.safetensors", "file")
    assert 2 * (tmp_path / "style.safetensors").stat().st_size < (tmp_path / "base.safetensors").stat().st_size
    found = load(f"{base}+{tmp_path / 'style.safetensors'}")
    for name, tensor in weights(load(style)).items():
        torch.testing.assert_close(weights(found)[name], tensor, atol=2e-3, rtol=2e-3)  # half precision
    with pytest.raises(UndiffuseError, match="is an adapter and no model, and what it goes on is not here"):
        load(tmp_path / "style.safetensors")  # it says a name, not a path on this machine
    with pytest.raises(UndiffuseError, match=r"holds no adapter of its own: those are in runs .* `lora_rank`"):
        undiffuse.convert(load(base), tmp_path / "none.safetensors", "adapter")


def test_an_adapter_goes_on_other_weights_of_the_same_network_with_a_warning(runs):
    start_run(tiny_settings(steps=3, sample_every=0, condition=("class",), seed=9), labeled(), runs / "twin")
    with pytest.warns(UserWarning, match="was learned on .*base, and .*twin.* has other weights; look at samples"):
        load(f"{runs / 'twin'}+{runs / 'style'}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(f"{runs / 'base'}+{runs / 'style'}+{runs / 'other'}")


def test_a_training_goes_on_from_a_model_with_adapters(runs, tmp_path):
    start = f"{runs / 'base'}+{runs / 'style'}"
    model = start_run(on_from(start, steps=2), labeled(), tmp_path / "more")
    assert same(load(tmp_path / "more" / "checkpoints" / "step-00000000"), load(start))
    assert same(load(f"{start}+{tmp_path / 'more'}"), model)


def test_classes_keep_their_rows_by_name(runs, tmp_path):
    """Wherever they stand now; a new one begins as none, and adapters with different ones go together."""
    base = weights(load(runs / "base"))["told.label.rows.weight"]
    renamed = labeled(("light", "new"))
    start_run(on_from(runs / "base", steps=4, lora_rank=0, keep=0), renamed, tmp_path / "whole")
    begun = weights(load(tmp_path / "whole" / "checkpoints" / "step-00000000"))["told.label.rows.weight"]
    assert torch.equal(begun, base[[1, 2, 2]])

    start_run(on_from(runs / "base", steps=4), renamed, tmp_path / "new")
    start_run(on_from(runs / "base", steps=4), labeled(("dark", "newer")), tmp_path / "newer")
    one = load(f"{runs / 'base'}+{tmp_path / 'new'}")
    assert one.info.classes == ("dark", "light", "new")
    both = load(f"{runs / 'base'}+{tmp_path / 'new'}+{tmp_path / 'newer'}")
    turned = load(f"{runs / 'base'}+{tmp_path / 'newer'}+{tmp_path / 'new'}")
    assert turned.info.classes == ("dark", "light", "newer", "new")
    asked = {"classes": ("new", "newer", "none"), **DDIM}
    np.testing.assert_allclose(both.sample(3, **asked).array, turned.sample(3, **asked).array, atol=1)
    assert both.info.classes == ("dark", "light", "new", "newer")
    table = weights(both)["told.label.rows.weight"]
    deltas = [
        weights(load(tmp_path / name))["told.label.rows.weight"] - base[rows]
        for name, rows in (("new", [1, 2, 2]), ("newer", [0, 2, 2]))
    ]
    torch.testing.assert_close(table[1], base[1] + deltas[0][0])  # light, which the first alone moved
    torch.testing.assert_close(table[2], base[2] + deltas[0][1])
    torch.testing.assert_close(table[3], base[2] + deltas[1][1])
    torch.testing.assert_close(table[4], base[2] + deltas[0][2] + deltas[1][2])  # no class
    assert both.sample(2, classes=("new", "newer"), **DDIM).array.shape == (2, 1, 8, 8)


def test_a_model_of_no_classes_learns_some_by_an_adapter(runs, tmp_path):
    start_run(on_from(runs / "plain", steps=4, condition=("class",)), labeled(), tmp_path / "told")
    whole, stacked = load(tmp_path / "told"), load(f"{runs / 'plain'}+{tmp_path / 'told'}")
    assert same(whole, stacked)
    assert stacked.info.classes == ("dark", "light")
    data = labeled()
    data = replace(data, info=replace(data.info, numbers=Standardizer(("a",), (0.0,), (1.0,))))
    with pytest.raises(UndiffuseError, match="`lora_rank` can teach new classes, and no 'vector'"):
        start_run(on_from(runs / "plain", condition=("vector",)), data, tmp_path / "numbers")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{base}+", "named as MODEL\\+ADAPTER"),
        ("+{style}", "named as MODEL\\+ADAPTER"),
        ("{base}+{style}:1.2.3", "The scale of an adapter is a number"),
        ("{base}+{style}:1e999", "The scale of an adapter is a number"),
        ("{base}+{plain}", "is no adapter: those are made by a training with `lora_rank`"),
        ("{base}+nowhere.safetensors", "nowhere.safetensors"),
        ("digits+{style}", "was learned on a network that predicts epsilon, and digits predicts v"),
    ],
)
def test_a_name_that_is_none_is_one_sentence(runs, name, sentence):
    paths = {one: runs / one for one in ("base", "style", "plain")}
    with pytest.raises(UndiffuseError, match=sentence):
        load(name.format(**paths))


def test_names_are_read_as_they_are_typed(tmp_path):
    assert adapters_in("digits") == ("digits", ())
    assert adapters_in("a+b.safetensors:-0.5+c") == ("a", (AdapterName("b.safetensors", -0.5), AdapterName("c")))
    assert str(AdapterName("b", 0.25)) == "b:0.25"
    (tmp_path / "a+b").mkdir()
    assert adapters_in(tmp_path / "a+b") == (tmp_path / "a+b", ())


def test_a_rank_without_weights_to_add_to_is_refused(tmp_path):
    with pytest.raises(UndiffuseError, match="`lora_rank` adds to the weights of a model: name it with `start_from`"):
        start_run(tiny_settings(lora_rank=4), tiny_data(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_distilled_adapter_makes_its_model_draw_in_few_steps(runs, tmp_path):
    data = labeled()
    images = [(image, data.info.classes[label]) for image, label in zip(data.images, data.labels, strict=True)]
    start_run(tiny_settings(steps=3, sample_every=0, parameterization="v"), data, tmp_path / "base")
    asked = {"method": "consistency", "steps": 2, "teacher_steps": 4, "updates": 3, "lora_rank": 2}
    few = {"device": "cpu", "batch": 4, "sample_every": 0, "quiet": True}
    made = undiffuse.distill(tmp_path / "base", images, name="quick", runs=tmp_path, **asked, **few)
    stacked = load(f"{tmp_path / 'base'}+{tmp_path / 'quick'}")
    assert same(made, stacked)
    np.testing.assert_array_equal(stacked.sample(2, 3).array, made.sample(2, 3).array)
    assert stacked.plan().steps == 2
    with pytest.raises(UndiffuseError, match="draws in few steps, and so does what it would go on: take one of them"):
        load(f"{tmp_path / 'quick'}+{tmp_path / 'quick'}")
    lines = [json.loads(line) for line in (tmp_path / "quick" / "metrics.jsonl").read_text().splitlines()]
    assert lines


class Perceptron(torch.nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(channels + 1, 8, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(8, outputs, 1)
        )

    def forward(self, x, time):
        return self.layers(torch.cat([x, (time / 1000).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1))


def test_a_network_of_ones_own_takes_adapters(tmp_path):
    images, few = (
        list(tiny_data().images),
        {"batch": 4, "sample_every": 0, "device": "cpu", "quiet": True, "runs": tmp_path},
    )
    undiffuse.train(images, network=Perceptron, name="own", steps=2, **few)
    own = str(tmp_path / "own")
    tuned = undiffuse.train(images, network=Perceptron, name="tuned", steps=3, start_from=own, lora_rank=2, **few)
    stacked = load(f"{own}+{tmp_path / 'tuned'}", network=Perceptron)
    assert same(tuned, stacked)
    assert not same(stacked, load(own, network=Perceptron))


def test_parts_of_names_that_are_there_go_before(tmp_path, monkeypatch):
    (tmp_path / "C++").mkdir()
    (tmp_path / "b+c:2").mkdir()
    monkeypatch.setenv("HOME", "/home/somebody")
    base, adapter = f"{tmp_path}/C++", f"{tmp_path}/b+c:2"
    assert adapters_in(f"{base}+a") == (base, (AdapterName("a"),))
    assert adapters_in(f"a+{adapter}:0.5+d") == ("a", (AdapterName(adapter, 0.5), AdapterName("d")))
    assert adapters_in("a+~/b:2") == ("a", (AdapterName("/home/somebody/b", 2.0),))


@pytest.mark.parametrize("scale", [1e30, 1e-7, 0.1 + 0.2, -3.0, 1.0, 0.0])
def test_a_scale_is_written_as_it_is_read_to_the_last_bit(scale):
    assert adapters_in(f"a+{AdapterName('b', scale)}") == ("a", (AdapterName("b", scale),))
    assert adapters_in(f"a+b:{scale:+}+c") == ("a", (AdapterName("b", scale), AdapterName("c")))


def test_short_names_are_without_folders():
    assert short_name("runs/lp/checkpoints/step-00000004") == "lp"
    assert short_name("digits+runs/lp/checkpoints/step-00000004:0.5+x/y.safetensors") == "digits+lp:0.5+y.safetensors"
    assert without_folders("runs/base+x/style.safetensors:0.5") == "base+style.safetensors:0.5"


def test_pictures_of_a_model_with_adapters_are_made_again(runs, tmp_path, capsys):
    name, out = f"{runs / 'base'}+{runs / 'style'}:0.123456789", tmp_path / "out"
    assert main(["sample", name, "-n", "1", "--steps", "2", "--out", str(out), "--device", "cpu"]) == 0
    assert main(["sample", "--from", str(out / "00000.png")]) == 0
    assert "made again: identical" in capsys.readouterr().out
    assert main(["info", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"].endswith(":0.123456789")


def test_results_of_a_model_with_adapters_do_not_lie_among_those_of_its_model(runs):
    assert load(f"{runs / 'base'}+{runs / 'style'}").home == Path()
    assert load(runs / "style").home == runs / "style"


def adapter_file(runs, path, **changes):
    """The adapter of a run in a file, with settings or tensors of somebody else's making."""
    undiffuse.convert(load(runs / "style"), path, "adapter")
    made = model_file.read(path)
    tensors = {**made.tensors, **changes.pop("tensors", {})}
    config = override(made.config, **changes)
    path.write_bytes(model_file.to_bytes(SavedModel.of(config, made.info, tensors, 1, "raw")))
    return made


def test_adapters_after_an_adapters_file_are_added_too(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs)
    adapter_file(runs, tmp_path / "style.safetensors")
    both = load(f"{tmp_path / 'style.safetensors'}+other")
    assert same(both, load(f"base+{tmp_path / 'style.safetensors'}+other"))
    assert not same(both, load(tmp_path / "style.safetensors"))


@pytest.mark.parametrize("base", ["own.safetensors", "/etc/passwd", "org/name", "", "own.safetensors+own.safetensors"])
def test_an_adapters_file_does_not_choose_what_is_read(runs, tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    adapter_file(runs, Path("own.safetensors"), start_from=base)
    with pytest.raises(UndiffuseError, match="is an adapter and no model, and what it goes on is not here"):
        load("own.safetensors")


@pytest.mark.parametrize("kind", [torch.int64, torch.bool])
def test_an_adapter_of_other_numbers_is_refused(runs, tmp_path, kind):
    made = adapter_file(runs, tmp_path / "a.safetensors")
    for part in ("lora_A", "delta"):
        name = next(name for name in made.tensors if name.endswith(part))
        adapter_file(runs, tmp_path / f"{part}.safetensors", tensors={name: made.tensors[name].to(kind)})
        with pytest.raises(UndiffuseError, match=f"is not valid: '{name}' is of the type {str(kind)[6:]}"):
            load(f"{runs / 'base'}+{tmp_path / part}.safetensors")


def test_a_report_says_what_learned_and_how_to_make_it_again(runs):
    page = write_report(runs / "style").read_text(encoding="utf-8")
    assert f"What it learned is adapters of rank 2 on {runs / 'base'}." in page
    command = next(line for line in page.splitlines() if "undiffuse train" in line)
    assert "--lora-rank 2" in command
    assert "--start-sha256" not in page  # no option
    card = (runs / "style" / "README.md").read_text(encoding="utf-8")
    base, whole = (sum(t.numel() for t in weights(load(runs / name)).values()) for name in ("base", "style"))
    learned = sum(
        tensor.numel()
        for tensor in learned_of(load_checkpoint(runs / "style" / "checkpoints" / "step-00000006").weights).values()
    )
    assert base == whole
    assert f"which stay as they are, and {learned:,} of adapters of rank 2, which learn" in card


def test_distill_takes_ranks_on_the_command_line():
    parser = Parser("undiffuse distill", "")
    distill_command.configure(parser)
    typed = vars(parser.parse_args(["digits", "--lora-rank", "4", "--lora-layers", "attention"]))
    assert (typed["lora_rank"], typed["lora_layers"]) == (4, ("attention",))


def test_info_says_that_adapters_learned(runs, capsys):
    main(["info", str(runs / "style")])
    assert "lora_rank             2" in capsys.readouterr().out
