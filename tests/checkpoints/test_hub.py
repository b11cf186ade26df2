"""Models by their names on the hub, against a hub on the loopback."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import undiffuse
from undiffuse.checkpoints.hub import hub_name
from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.cli import main
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.export.push import prepare, upload
from undiffuse.model import build_model

constants = pytest.importorskip(
    "huggingface_hub.constants", reason="talks to a hub by huggingface_hub, which is missing"
)

_spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub_server)
Hub, COMMIT = hub_server.Hub, hub_server.COMMIT

SMALL = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "norm_groups": 4}


def tiny():
    config = override(TrainConfig(), **SMALL, source="/home/somebody/birds", timesteps=50)
    return build_model(config, unknown_data("birds", (1, 8, 8)))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Everything of `huggingface_hub` pointed at the loopback and at a cache of the test's own."""
    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def offline(monkeypatch):
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def put(hub, repo, folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    hub.repos[repo] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_name_on_the_hub_loads_from_its_cache_at_its_commit(hub, tmp_path):
    model = tiny()
    convert(model, tmp_path / "out", "diffusers")
    (tmp_path / "out/unet/diffusion_pytorch_model.bin").write_bytes(b"pickled")
    (tmp_path / "out/run_me.py").write_text("raise SystemExit")
    put(hub, "birds/small", tmp_path / "out")
    found = undiffuse.load("birds/small")
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, found.network.state_dict()[name])
    assert found.provenance["checkpoint"] == f"birds/small@{COMMIT}"
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_symlink()}
    assert "diffusion_pytorch_model.safetensors" in fetched
    assert fetched.isdisjoint({"diffusion_pytorch_model.bin", "run_me.py"})
    again = undiffuse.load(found.provenance["checkpoint"])
    assert again.provenance == found.provenance
    assert undiffuse.load("birds/small", revision="main").provenance == found.provenance
    assert found.home == Path()


def test_a_model_of_somebody_else_has_the_repository_for_a_name(hub, tmp_path):
    convert(tiny(), tmp_path / "out", "diffusers")
    (tmp_path / "out/undiffuse.json").unlink()
    put(hub, "birds/small", tmp_path / "out")
    assert undiffuse.load("birds/small").info.name == "birds/small"


def test_what_was_fetched_loads_without_a_network(hub, tmp_path, offline):
    convert(tiny(), tmp_path / "out", "diffusers")
    put(hub, "birds/small", tmp_path / "out")
    first = undiffuse.load("birds/small")
    offline()
    before = list(hub.asked)
    assert undiffuse.load("birds/small").provenance == first.provenance
    assert hub.asked == before


def test_offline_and_not_in_the_cache_is_a_sentence(hub, offline):
    offline()
    with pytest.raises(UndiffuseError, match="cannot be reached"):
        undiffuse.load("birds/small")
    assert hub.asked == []


def test_a_hub_that_does_not_answer_is_a_sentence(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UndiffuseError, match="cannot be reached"):
        undiffuse.load("birds/small")


def test_repositories_that_are_not_there_gated_or_of_other_files_are_a_sentence_each(hub):
    with pytest.raises(UndiffuseError, match="There is no birds/none"):
        undiffuse.load("birds/none")
    hub.gated.add("birds/gated")
    with pytest.raises(UndiffuseError, match="accept them"):
        undiffuse.load("birds/gated")
    hub.repos["birds/pickled"] = {"config.json": b"{}", "diffusion_pytorch_model.bin": b"pickled"}
    with pytest.raises(UndiffuseError, match="no safetensors"):
        undiffuse.load("birds/pickled")
    with pytest.raises(UndiffuseError, match="no revision 'v2'"):
        undiffuse.load("birds/pickled@v2")


def test_without_the_package_a_name_of_the_hub_says_what_to_install(hub, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"pip install 'undiffuse\[hub\]'"):
        undiffuse.load("birds/small")


def test_paths_and_misspelt_paths_are_never_asked_of_the_hub(hub, tmp_path):
    (tmp_path / "photos").mkdir()
    names = ["photos/here", "runs/birds", "birds", "./birds/small", "/birds/small", "a/b/c", "../birds/small", "digits"]
    assert [name for name in names if hub_name(name)] == []
    for name in names[:-1]:
        with pytest.raises(UndiffuseError):
            undiffuse.load(name)
    undiffuse.load("digits")
    with pytest.raises(UndiffuseError, match="revision"):
        undiffuse.load("digits", revision="main")
    assert hub.asked == []


@pytest.mark.parametrize("to", ["file", "diffusers"])
def test_what_is_pushed_loads_again(hub, tmp_path, to):
    model = tiny()
    prepare(model, "birds/small", tmp_path / "out", to, samples=4)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert upload(tmp_path / "out", "birds/small").endswith(COMMIT)
    files = hub.repos["birds/small"]
    assert {"README.md", "samples.png"} < files.keys()
    assert "notes.txt" not in files
    assert not any(b"somebody" in data for data in files.values())
    assert files["README.md"].startswith(b"---\nlibrary_name: ")
    found = undiffuse.load("birds/small")
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor if to == "diffusers" else tensor.half().float(), found.network.state_dict()[name])


def test_a_dry_run_writes_the_folder_and_asks_nobody(hub, tmp_path, capsys):
    convert(tiny(), tmp_path / "tiny.safetensors", "file")
    assert main(["push", "tiny.safetensors", "birds/small", "--dry-run", "-n", "2", "--out", "look"]) == 0
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"README.md", "samples.png", "model.safetensors"}
    assert main(["push", "tiny.safetensors", "birds/small", "--dry-run", "-n", "2", "--out", "look"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["push", "tiny.safetensors", "small", "--dry-run"]) == 2
    assert "ORG/NAME" in capsys.readouterr().err
    assert hub.asked == []


def test_a_push_that_fails_says_where_the_folder_is(hub, tmp_path, monkeypatch):
    prepare(tiny(), "birds/small", tmp_path / "out", samples=0)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UndiffuseError, match="what was to be sent is in"):
        upload(tmp_path / "out", "birds/small")


def test_convert_pushes_a_folder_of_diffusers(hub, tmp_path, capsys):
    convert(tiny(), tmp_path / "tiny.safetensors", "file")
    assert main(["convert", "tiny.safetensors", "out", "--to", "diffusers", "--push", "birds/small"]) == 0
    assert {"README.md", "samples.png", "model_index.json", "undiffuse.json"} < hub.repos["birds/small"].keys()
    assert main(["convert", "tiny.safetensors", "out.pt2", "--to", "pt2", "--push", "birds/small"]) == 2
    assert "undiffuse push" in capsys.readouterr().err
