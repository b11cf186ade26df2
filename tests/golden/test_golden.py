"""What users hold loads, resumes, is drawn again to the same pixels, and tells the same of itself.

The files in fixtures/ were written by `make.py` on one day and are never changed. These tests know three doors alone,
the command line, `undiffuse.load` and the files themselves, so that modules may move without them. Pixels are compared
to the byte on a machine like that of machine.json, and within one level of 255 elsewhere, which a skipped test says.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
import yaml
from machine import BITS, machine
from PIL import Image
from safetensors.numpy import load_file

import undiffuse
from undiffuse.cli import main

FIXTURES = Path(__file__).with_name("fixtures")
THERE, HERE = json.loads((FIXTURES / "machine.json").read_text()), machine()
SAME_BITS = all(HERE[name] == THERE[name] for name in BITS)
SAME_LETTERS = SAME_BITS and HERE["pillow"] == THERE["pillow"]
"""Captions are drawn by Pillow."""
RUN, FIRST, LAST = Path("models/shapes"), "step-00000020", "step-00000040"
QUICK = ("ddpm", "ddim", "edm", "lms", "dpm++2m-sde", "unipc3")
"""Samplers that Python, too, is asked for in the quick tests."""
Say = Callable[..., str]


@pytest.fixture(autouse=True)
def in_fixtures(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Paths in the files are relative to the fixtures; one thread, as where they were made."""
    monkeypatch.chdir(FIXTURES)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.getbasetemp() / "golden-cache"))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # shapes are other tests' matter: half the time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """A command, which must succeed, and what it prints."""

    def run(*words: object) -> str:
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a sentence on standard error, as users see it
            status = main([str(word) for word in words])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out

    return run


def below(folder: str, pattern: str, slow: Callable[[str], bool] = lambda name: False) -> list[Any]:
    """Fixtures as parameters, called by their path; some of them for `make test-all` alone."""
    found = sorted(path.relative_to(FIXTURES) for path in (FIXTURES / folder).rglob(pattern))
    assert found, f"no fixture is in {folder}"
    marks = {path: [pytest.mark.slow] if slow(path.stem) else [] for path in found}
    return [pytest.param(path, id=path.relative_to(folder).as_posix(), marks=marks[path]) for path in found]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int64)


def chunk(path: Path, name: str = "undiffuse") -> dict[str, Any]:
    """What a picture says of its making."""
    with Image.open(path) as image:
        return dict(json.loads(image.text[name]))


def check_values(now: np.ndarray, then: np.ndarray, exact: bool = SAME_BITS) -> None:
    """Equal to the byte, or within a 255th of the range."""
    assert (now.shape, now.dtype) == (then.shape, then.dtype)
    apart = np.abs(now.astype(np.float64) - then.astype(np.float64)).max(initial=0)
    levels = {"uint8": 1.0, "uint16": 257.0}
    within = 0.0 if exact else levels.get(str(then.dtype), float(np.ptp(then)) / 255)
    assert apart <= within, f"{(now != then).sum()} of {then.size} values differ, by up to {apart:g}"


def check_pixels(now: Path, then: Path, exact: bool = SAME_BITS) -> None:
    with Image.open(now) as new, Image.open(then) as old:
        assert (new.mode, new.size) == (old.mode, old.size)
        kind = np.uint16 if old.mode.startswith("I") else np.uint8
        check_values(np.asarray(new).astype(kind), np.asarray(old).astype(kind), exact)


def check_says(now: Any, then: Any, where: str = "") -> None:
    """All that was said is said; a setting that came later may stand beside it."""
    if isinstance(then, dict):
        assert isinstance(now, dict), where
        for name, value in then.items():
            assert name in now, f"{where}.{name} is gone"
            check_says(now[name], value, f"{where}.{name}")
    else:
        assert now == then, where


# --- the fixtures -----------------------------------------------------------------------------------------------------


def test_no_fixture_was_changed() -> None:
    sums = json.loads(Path("sha256.json").read_text())
    files = sorted(path for path in Path().rglob("*") if path.is_file() and path.name != "sha256.json")
    assert {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == sums


def test_pixels_are_compared_to_the_byte_here() -> None:
    if not SAME_BITS:
        pytest.skip(f"pixels are compared within 1/255, and resumed weights loosely: made on {THERE}, here is {HERE}")
    if not SAME_LETTERS:
        pytest.skip(f"captions are not compared: drawn by Pillow {THERE['pillow']}, here is {HERE['pillow']}")


def test_every_sampler_has_its_picture(say: Say) -> None:
    names = {row.split()[0] for row in say("samplers").partition("\n\n")[0].splitlines()[1:]}
    frozen = {path.stem for path in Path("drawn/samplers").iterdir()}
    assert names - frozen == set(), "a new sampler gets a picture: python tests/golden/make.py"


# --- what was drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", below("drawn", "*.png", lambda name: name in ("ode", "tolerance")))
def test_a_picture_is_drawn_again(path: Path, say: Say, tmp_path: Path) -> None:
    said = say("sample", "--from", path, "--out", tmp_path)
    origin, sample = chunk(path), chunk(path)["sample"]
    exact = SAME_BITS and sample["sampler"] != "ode"
    view = path.stem in ("signal", "volume", "five-channels", "floats")
    if exact or not view:
        check_pixels(tmp_path / path.name, path, exact)
    if exact:
        assert "made again: identical" in said
    now = chunk(tmp_path / path.name)
    check_says({**now, "version": origin["version"]}, origin)


@pytest.mark.parametrize("path", below("drawn/samplers", "*.png", lambda name: name not in QUICK))
def test_python_draws_what_a_picture_says_by_flat_names(path: Path) -> None:
    origin = chunk(path)
    model = open_model(origin["checkpoint"], origin["sample"]["weights"])
    assert model.provenance["sha256"] == origin["weights_sha256"]
    samples = model.sample(1, origin["seed"], first=origin["index"], **origin["sample"])
    exact = SAME_BITS and origin["sample"]["sampler"] != "ode"
    check_values(np.asarray(samples.images()[0]), pixels(path).astype(np.uint8), exact)


@pytest.mark.parametrize("path", below("drawn/values", "*.npz"))
def test_values_are_drawn_again(path: Path, tmp_path: Path) -> None:
    origin = npz_origin(path)
    model = open_model(origin["checkpoint"], origin["sample"]["weights"])
    samples = model.sample(origin["count"], origin["seed"], first=origin["index"], **origin["sample"])
    with np.load(path) as frozen:
        assert list(frozen) == ["images"]
        check_values(samples.array, frozen["images"])
    samples.save(tmp_path, values=True)
    check_says({**npz_origin(tmp_path / "samples.npz"), "version": origin["version"]}, origin)


@lru_cache
def open_model(path: str, weights: str) -> undiffuse.Model:
    return undiffuse.load(path, weights)


def npz_origin(path: Path) -> dict[str, Any]:
    """What samples.npz says of its making, in the archive's comment."""
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        return dict(json.loads(archive.comment))


@pytest.mark.parametrize("path", below("strips", "*.png"))
def test_a_film_strip_is_drawn_again(path: Path, say: Say, tmp_path: Path) -> None:
    words = shlex.split(path.with_suffix(".txt").read_text())
    say(*words, "--out", tmp_path / "film.gif")
    if SAME_LETTERS:
        check_pixels(tmp_path / "film.png", path)


# --- edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.name for path in (FIXTURES / "edits").iterdir()))
def test_an_edit_is_made_again_by_the_command_in_its_file(name: str, say: Say, tmp_path: Path) -> None:
    files = sorted((Path("edits") / name).iterdir())
    told = {path: chunk(path, "undiffuse-edit") for path in files if path.suffix == ".png"}
    commands = {tuple(said["command"]) for said in told.values()}
    assert len(commands) == 1
    strips = [] if any(path.stem.endswith("-strip") for path in files) else ["--no-strips"]
    say(*commands.pop()[1:], "--out", tmp_path, *strips)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in files]
    for path in files:
        if path.suffix == ".npz":
            with np.load(tmp_path / path.name) as now, np.load(path) as then:
                check_values(now["latent"], then["latent"])
        elif SAME_LETTERS or not path.stem.endswith("-strip"):
            check_pixels(tmp_path / path.name, path)
    for path, said in told.items():
        check_says({**chunk(tmp_path / path.name, "undiffuse-edit"), "version": said["version"]}, said)


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", below("told", "*.txt"))
def test_info_tells_what_it_told(path: Path, say: Say) -> None:
    about = path.relative_to("told").with_suffix("")
    said, left = say("info", about).splitlines(), []
    for line in path.read_text().splitlines():
        while said and said[0] != line:
            left.append(said.pop(0))
        assert said, f"'{line}' is not told in its place; other lines: {left}"
        said.pop(0)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run and its data, to be changed."""
    shutil.copytree("models/shapes", tmp_path / RUN)
    shutil.copytree("data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return RUN


def test_a_run_goes_on_from_its_first_checkpoint_to_its_last(run: Path, say: Say) -> None:
    shutil.rmtree(run / "checkpoints" / LAST)
    say("train", "--resume", run)
    now, then = run / "checkpoints" / LAST, FIXTURES / RUN / "checkpoints" / LAST
    assert sorted(path.name for path in now.iterdir()) == sorted(path.name for path in then.iterdir())
    for path in then.glob("*.safetensors"):
        frozen, made = load_file(path), load_file(now / path.name)
        assert made.keys() == frozen.keys()
        for name, values in frozen.items():
            apart = np.abs(made[name] - values).max(initial=0)
            assert apart <= (0.0 if SAME_BITS else 0.02 * (1 + np.abs(values).max(initial=0))), f"{path.name}: {name}"
    for name in ("state.json", "config.json"):
        own, frozen = (json.loads((folder / name).read_text()) for folder in (now, then))
        clock = {key: frozen[key] for key in ("seconds", "spent", "window") if key in frozen}
        check_says({**own, **clock}, frozen)
    assert (run / "config.yaml").read_text() == (FIXTURES / RUN / "config.yaml").read_text()
    if SAME_BITS:
        assert metrics(run) == metrics(FIXTURES / RUN)
    for path in (FIXTURES / RUN / "samples").iterdir():
        if SAME_BITS:
            check_pixels(run / "samples" / path.name, path)


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def test_a_finished_run_goes_on_in_a_new_budget(run: Path, say: Say) -> None:
    before = yaml.safe_load((run / "config.yaml").read_text())
    say("train", "--resume", run, "--steps", 44, "--quiet")
    after = yaml.safe_load((run / "config.yaml").read_text())
    assert after["loop"]["steps"] == 44
    check_says(after, {**before, "loop": {**before["loop"], "steps": 44}})
    assert undiffuse.load(run).provenance["step"] == 44


def test_an_average_is_made_again_of_the_copies_of_a_run(run: Path, say: Say) -> None:
    say("ema", run, "--std", "0.15", "--overwrite")
    now, then = (load_file(home / RUN / "averages/std-0.15.safetensors") for home in (Path(), FIXTURES))
    assert now.keys() == then.keys()
    for name, values in then.items():
        assert np.array_equal(now[name], values) if SAME_BITS else np.allclose(now[name], values, atol=2e-3), name


@pytest.mark.parametrize("start", ["models/shapes", "models/classes/step-00000040", "models/everything.safetensors"])
def test_a_training_starts_from_a_model(start: str, say: Say, tmp_path: Path) -> None:
    data = tmp_path / "colour.npz"
    channels = 3 if "classes" in start else 1
    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, channels), np.uint8)
    np.savez(data, channels_last=images, y=np.arange(6) % 3, width=np.arange(6))
    vectors = ["--vectors", "width"] if "everything" in start else []
    told = ["--condition", "class,vector"] if vectors else ["--condition", "class"]
    words = ["--steps", 1, "--batch", 2, "--sample-every", 0, "--quiet", "--device", "cpu"]
    say("train", data, "--from", start, *vectors, *told, *words, "--runs", tmp_path, "--name", "on")
    now = yaml.safe_load((tmp_path / "on/config.yaml").read_text())
    with_it = json.loads(say("info", start, "--json"))["settings"]
    assert now["network"] == with_it["network"]
    assert now["diffusion"] == with_it["diffusion"]


def test_a_checkpoint_whose_exponent_has_its_old_name_loads(tmp_path: Path, say: Say) -> None:
    checkpoint = tmp_path / "step-00000040"
    shutil.copytree("models/classes/step-00000040", checkpoint)
    said = json.loads((checkpoint / "config.json").read_text())
    said["config"]["objective"]["gamma"] = said["config"]["objective"].pop("p2_gamma") + 0.25
    write_settings(checkpoint, said)
    assert json.loads(say("info", checkpoint, "--json"))["settings"]["objective"]["p2_gamma"] == 0.75


def write_settings(checkpoint: Path, said: dict[str, Any]) -> None:
    """Another config.json, and the manifest that goes with it."""
    packed = json.dumps(said).encode()
    (checkpoint / "config.json").write_bytes(packed)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["config.json"] = {"size": len(packed), "sha256": hashlib.sha256(packed).hexdigest()}
    for rate in said["config"]["ema"]["ema"]:
        if (name := f"ema-{rate}.safetensors") not in manifest:
            shutil.copy(checkpoint / "model.safetensors", checkpoint / name)
            manifest[name] = manifest["model.safetensors"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


# --- settings of recipes ----------------------------------------------------------------------------------------------

SIDES = {"small": (8, 1), "ho2020-cifar10": (32, 3), "ho2020-celebahq256": (256, 3), "nichol2021-cifar10": (32, 3)}


def write_data(settings: dict[str, Any]) -> None:
    """Data of the shape that a recipe's frozen settings are of, where they were."""
    if (source := settings["data"]["source"]) != "digits":
        side, channels = SIDES[settings["recipe"]]
        Path(source).parent.mkdir(exist_ok=True)
        count, dice = 24 if settings["recipe"] == "small" else 2, np.random.default_rng(1)
        np.savez_compressed(source, channels_last=dice.integers(0, 255, (count, side, side, channels), np.uint8))


@pytest.mark.parametrize("recipe", below("recipes", "*.yaml"))
def test_yaml_and_json_of_a_recipe_are_read_alike(recipe: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run goes by its checkpoint's settings, JSON, and says where its config.yaml is read as anything else."""
    text = (FIXTURES / recipe).read_text()
    settings = yaml.safe_load(text)
    write_data(settings)
    checkpoint = run / "checkpoints" / LAST
    data = json.loads((checkpoint / "config.json").read_text())["data"]
    write_settings(checkpoint, {"format": 1, "config": settings, "data": data})

    def told(config: str) -> str:
        (run / "config.yaml").write_text(config)
        assert main(["train", "--resume", str(run)]) == 2
        said = capsys.readouterr().err
        assert "are not those that the run learned from" in said  # read, and stopped before any training
        return said

    assert "says otherwise" not in told(text)
    lr = settings["optimizer"]["lr"]
    assert "says otherwise of lr " in told(
        yaml.safe_dump({**settings, "optimizer": {**settings["optimizer"], "lr": 2 * lr}})
    )


@pytest.mark.parametrize("recipe", below("recipes", "*.yaml"))
def test_a_recipe_chooses_what_it_chose(
    recipe: Path, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the size of the network and of the batch, which are made small here."""
    then = yaml.safe_load((FIXTURES / recipe).read_text())
    monkeypatch.chdir(tmp_path)
    write_data(then)
    small = "--base 4 --multipliers 1 --blocks 1 --attention-levels none --no-middle-attention --sample-every 0"
    words = [*small.split(), "--steps", 1, "--batch", 1, "--device", "cpu", "--quiet", "--runs", "runs", "--name", "a"]
    say("train", then["data"]["source"], "--recipe", then["recipe"], *words)
    now = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    own = {
        "network": ("base", "multipliers", "blocks", "attention_levels", "middle_attention"),
        "loop": ("steps", "images", "minutes", "batch", "sample_every", "device"),
    }
    for section, names in own.items():
        for name in names:
            now[section].pop(name), then[section].pop(name)
    check_says(now, then)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", below("recipes", "*.yaml"))
def test_a_recipe_writes_what_it_wrote(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting: a training of its own, ended as soon as its settings are there."""
    then = yaml.safe_load((FIXTURES / recipe).read_text())
    monkeypatch.chdir(tmp_path)
    write_data(then)
    words = ["train", then["data"]["source"], "--recipe", then["recipe"], "--name", "a", "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-m", "undiffuse", *words], stderr=subprocess.PIPE, text=True) as process:
        while not Path("runs/a/env.json").exists():  # written after config.yaml
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.kill()
    check_says(yaml.safe_load(Path("runs/a/config.yaml").read_text()), then)
