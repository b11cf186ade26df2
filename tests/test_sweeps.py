"""Sweeps: every combination is a run; what fails is told, what is done is not done again, and a page compares."""

from __future__ import annotations

import numpy as np
import pytest

import undiffuse
from undiffuse.cli import main
from undiffuse.config.files import read_config
from undiffuse.errors import UndiffuseError
from undiffuse.sweeps import checked_combinations

SMALL = {
    "multipliers": (1,),
    "blocks": 1,
    "attention_levels": (),
    "middle_attention": False,
    "batch": 4,
    "device": "cpu",
    "sample_every": 0,
    "steps": 2,
    "timesteps": 16,
}
WORDS = [
    *("--multipliers", "1", "--blocks", "1", "--attention-levels", "none", "--no-middle-attention", "--batch", "4"),
    *("--device", "cpu", "--sample-every", "0", "--steps", "2", "--timesteps", "16"),
]


@pytest.fixture
def data(own_cache, tmp_path):
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8))
    return tmp_path / "data.npy"


def test_every_combination_is_a_run_and_a_page_compares_them(data, tmp_path):
    vary = {"lr": [1e-3, 1e-4], "base": [8]}
    found = undiffuse.sweep(data, vary, name="s", runs=tmp_path, jobs=1, quiet=True, **SMALL)
    assert [folder.name for folder in found.runs] == ["lr-0.001-base-8", "lr-0.0001-base-8"]
    for folder, varied in found.runs.items():
        config = read_config(folder / "config.yaml")
        assert (config.optimizer.lr, config.network.base) == (varied["lr"], varied["base"])
    page = found.page.read_text()
    assert "lr-0.0001-base-8" in page
    assert not found.failed
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("model.safetensors")}
    again = undiffuse.sweep(data, vary, name="s", runs=tmp_path, jobs=1, quiet=True, **SMALL)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("model.safetensors")} == before


def test_objects_vary_in_one_process(data, tmp_path):
    from undiffuse.diffusion.schedules import cosine, linear

    vary = {"schedule": [cosine(16), linear(16)]}
    with pytest.raises(UndiffuseError, match="would be called alike"):
        undiffuse.sweep(data, vary, name="s", runs=tmp_path, jobs=1, quiet=True, base=8, **SMALL)
    found = undiffuse.sweep(
        data, {"schedule": ["cosine", "linear"]}, name="s", runs=tmp_path, jobs=1, quiet=True, base=8, **SMALL
    )
    assert [folder.name for folder in found.runs] == ["schedule-cosine", "schedule-linear"]


def test_a_word_varies_where_lists_do(data, tmp_path):
    vary = {"vectors": ["angle", ["angle", "width"], []]}
    assert [*checked_combinations(vary, {})] == ["vectors-angle", "vectors-angle_width", "vectors-none"]
    with pytest.raises(UndiffuseError, match=r"'condition' in the settings must be a list.* perhaps you meant 'class'"):
        undiffuse.train(data, condition="clas", runs=tmp_path, quiet=True)


def test_several_at_a_time_and_what_fails_of_them(data, tmp_path, capsys):
    command = ["sweep", str(data), "--vary", "base=8,-8", "--vary", "ema=0.5;0.5,0.9", "--jobs", "2", "--name", "two"]
    assert main([*command, "--runs", str(tmp_path), *WORDS]) == 0
    said = capsys.readouterr().err
    assert "4 runs in" in said
    assert "base--8-ema-0.5 failed: " in said
    assert (tmp_path / "two" / "compare.html").is_file()
    assert read_config(tmp_path / "two" / "base-8-ema-0.5_0.9" / "config.yaml").ema.ema == (0.5, 0.9)


@pytest.mark.parametrize(
    ("vary", "more", "sentence"),
    [
        ({}, {}, "A sweep has 1 to 1,000 runs, and these are 0"),
        ({"learning_rate": [1]}, {}, "There is no setting 'learning_rate' to vary; perhaps you meant 'lr'"),
        ({"lr": 1e-3}, {}, "varies over a list of values"),
        ({"lr": []}, {}, "varies over a list of values"),
        ({"lr": ["fast"]}, {}, "'lr' in the settings must be a number"),
        ({"lr": [1e-3]}, {"lr": 1e-4}, "`lr` varies and is given beside"),
        ({"lr": [1e-3, 1e-3]}, {}, "a value is given twice"),
        ({"schedule": ["cosin"]}, {}, "perhaps you meant 'cosine'"),
        ({"lr": [1e-3], "source": ["a"]}, {}, "There is no setting 'source' to vary"),
        ({"lr": [-1.0, -2.0]}, {}, "No run of the sweep ended well; the first one says: `lr` must be more than 0"),
        ({"lr": [1e-3]}, {"jobs": 0}, "one training at a time or more"),
    ],
)
def test_what_cannot_be_is_one_sentence(data, tmp_path, vary, more, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        undiffuse.sweep(data, vary, name="s", runs=tmp_path, quiet=True, base=8, **{"jobs": 1, **SMALL, **more})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "A sweep needs a setting that varies"),
        (["--vary", "lr"], "--vary takes a setting and its values"),
        (["--vary", "lr=fast"], "--vary lr cannot be 'fast'"),
        (["--vary", "rl=1"], "--vary: there is no setting 'rl'"),
        (["--vary", "lr=1", "--vary", "lr=2"], "each setting that varies once"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(data, capsys, words, sentence):
    assert main(["sweep", str(data), *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
