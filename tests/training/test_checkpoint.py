"""A checkpoint comes back whole or is refused, and a save that fails or dies harms none of the others."""

import errno
import json
import os
import stat
from dataclasses import replace

import pytest
import torch

from undiffuse.checkpoints import training_checkpoint as files
from undiffuse.checkpoints.training_checkpoint import (
    Checkpoint,
    State,
    checkpoints,
    clean_up,
    latest,
    load,
    save,
    set_aside,
    verify,
)
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.safe_tensors import check_tensors


@pytest.fixture
def content(data, settings):
    weights = {"conv.weight": torch.randn(2, 3, 1, 1), "count": torch.tensor(7)}
    return Checkpoint(
        config=settings(clip=None),
        info=data.info,
        state=State(step=5, total=12, images=20, seconds=1.5, skipped=1, window=(1.0, 0.1)),
        weights=weights,
        averages={0.99: {**weights, "conv.weight": torch.randn(2, 3, 1, 1)}, 0.9: weights},
        optimizer={"exp_avg/conv.weight": torch.randn(2, 3, 1, 1), "step/conv.weight": torch.tensor(5.0)},
    )


def at(content, step):
    return replace(content, state=replace(content.state, step=step))


def test_what_is_saved_is_what_is_loaded(content, tmp_path):
    path = save(content, tmp_path)
    assert path == tmp_path / "step-00000005"
    back = load(path)
    assert (back.config, back.info, back.state) == (content.config, content.info, content.state)
    groups = [(back.weights, content.weights), (back.optimizer, content.optimizer)]
    for found, expected in [*groups, *((back.averages[rate], content.averages[rate]) for rate in (0.99, 0.9))]:
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_layout_is_the_documented_one(content, tmp_path):
    path = save(content, tmp_path)
    names = ["config.json", "ema-0.9.safetensors", "ema-0.99.safetensors", "manifest.json", "model.safetensors"]
    assert sorted(p.name for p in path.iterdir()) == [*names, "optimizer.safetensors", "state.json"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest.keys() == {p.name for p in path.iterdir()} - {"manifest.json"}
    assert manifest["model.safetensors"]["size"] == (path / "model.safetensors").stat().st_size


def test_equal_states_make_equal_files(content, tmp_path):
    one, two = save(content, tmp_path / "a"), save(content, tmp_path / "b")
    assert all((two / p.name).read_bytes() == p.read_bytes() for p in one.iterdir())


def test_a_channels_last_tensor_is_saved_by_its_values(content, tmp_path):
    weight = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    path = save(replace(content, weights={"w": weight}), tmp_path)
    assert torch.equal(load(path).weights["w"], weight)


def test_permissions_follow_the_umask(content, tmp_path):
    before = os.umask(0o027)
    try:
        path = save(content, tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.iterdir()} == {0o640}


def test_rotation_keeps_the_newest(content, tmp_path):
    for step in (1, 2, 10, 20):
        save(at(content, step), tmp_path, keep=2)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000010", "step-00000020"]


def test_keep_zero_keeps_all_and_numbers_beyond_eight_digits_sort(content, tmp_path):
    for step in (99_999_999, 100_000_000, 1):
        save(at(content, step), tmp_path, keep=0)
    assert [int(p.name[5:]) for p in checkpoints(tmp_path)] == [1, 99_999_999, 100_000_000]


def torn_ways():
    return {
        "cut": lambda p: p.write_bytes(p.read_bytes()[:-1]),
        "longer": lambda p: p.write_bytes(p.read_bytes() + b"\0"),
        "one bit": lambda p: p.write_bytes(bytes([p.read_bytes()[0] ^ 1]) + p.read_bytes()[1:]),
        "last bit": lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
        "empty": lambda p: p.write_bytes(b""),
        "gone": lambda p: p.unlink(),
    }


@pytest.mark.parametrize("way", torn_ways())
@pytest.mark.parametrize(
    "name", ["model.safetensors", "ema-0.99.safetensors", "optimizer.safetensors", "state.json", "config.json"]
)
def test_any_damage_to_any_file_is_noticed_and_the_one_before_is_used(content, tmp_path, way, name):
    older, newer = save(at(content, 5), tmp_path), save(at(content, 9), tmp_path)
    torn_ways()[way](newer / name)
    with pytest.raises(UndiffuseError, match="torn") as caught:
        load(newer)
    assert name in str(caught.value)
    found, messages = latest(tmp_path)
    assert found == older
    assert len(messages) == 1
    assert "step-00000009" in messages[0]
    assert "\n" not in messages[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"a": 1, "a": 1}', "[" * 5000, '{"model.safetensors": {}}'])
def test_a_manifest_that_is_none_is_refused(content, tmp_path, text):
    path = save(content, tmp_path)
    (path / "manifest.json").write_text(text)
    with pytest.raises(UndiffuseError, match="torn"):
        verify(path)
    assert latest(tmp_path)[0] is None


def test_a_manifest_cannot_name_files_elsewhere(content, tmp_path):
    path = save(content, tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "../../secret": {}}))
    with pytest.raises(UndiffuseError, match="not valid"):
        verify(path)


def rewritten(path, name, data):
    """The checkpoint with other contents in one file, and a manifest that agrees with them."""
    (path / name).write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest[name] = files._fingerprint(data)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_a_newer_format_is_refused(content, tmp_path):
    path = save(content, tmp_path)
    header = json.loads((path / "config.json").read_text()) | {"format": files.FORMAT + 1}
    with pytest.raises(UndiffuseError, match="upgrade"):
        load(rewritten(path, "config.json", json.dumps(header).encode()))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data", None, "key: value"),
        ("data", {"name": "x"}, "missing"),
        ("config", {"version": 1, "lop": {}}, "perhaps you meant 'loop'"),
        ("config", None, "key: value"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(content, tmp_path, key, value, words):
    path = save(content, tmp_path)
    header = json.loads((path / "config.json").read_text()) | {key: value}
    with pytest.raises(UndiffuseError, match=words):
        load(rewritten(path, "config.json", json.dumps(header).encode()))


@pytest.mark.parametrize("change", [{"step": "five"}, {"step": True}, {"more": 1}, {"window": [1, "a"]}])
def test_a_state_that_does_not_fit_is_refused(content, tmp_path, change):
    path = save(content, tmp_path)
    state = json.loads((path / "state.json").read_text()) | change
    with pytest.raises(UndiffuseError, match=r"state\.json"):
        load(rewritten(path, "state.json", json.dumps(state).encode()))


@pytest.mark.parametrize("rubbish", [b"", b"\xff" * 8, b"PK\x03\x04" * 10, b"\x80\x02cos\nsystem\n"])
def test_a_file_that_is_no_safetensors_is_refused(content, tmp_path, rubbish):
    with pytest.raises(UndiffuseError, match="not a valid safetensors"):
        load(rewritten(save(content, tmp_path), "model.safetensors", rubbish))


def test_a_tensor_that_is_named_twice_is_refused(content, tmp_path):
    entry = b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = b"{" + entry + b"," + entry + b"}"
    data = len(header).to_bytes(8, "little") + header + b"\0" * 4
    with pytest.raises(UndiffuseError, match="not a valid safetensors"):
        load(rewritten(save(content, tmp_path), "model.safetensors", data))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "lacks 'w'"),
        ({"w": torch.zeros(2), "x": torch.zeros(1)}, "unknown 'x'"),
        ({"w": torch.zeros(3)}, r"shape \(3,\)"),
        ({"w": torch.zeros(2, dtype=torch.float64)}, "float64"),
    ],
)
def test_tensors_of_another_network_are_refused_by_name(found, words):
    with pytest.raises(UndiffuseError, match=words):
        check_tensors(found, {"w": torch.zeros(2)}, "model.safetensors")


@pytest.mark.parametrize("call", range(9))
def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_rest(content, tmp_path, monkeypatch, call):
    older = save(at(content, 1), tmp_path)
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UndiffuseError, match="No space left on device") as caught:
        save(at(content, 2), tmp_path, keep=1)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert older in checkpoints(tmp_path)
    verify(older)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("call", range(8))
def test_a_second_ctrl_c_inside_a_save_harms_no_checkpoint(content, tmp_path, monkeypatch, call):
    older, calls = save(at(content, 1), tmp_path), []

    def interrupted(descriptor):
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(at(content, 2), tmp_path, keep=1)
    assert latest(tmp_path) == (older, [])


def test_a_folder_that_cannot_be_made_is_one_sentence(content, tmp_path):
    (tmp_path / "checkpoints").write_text("a file is in the way")
    with pytest.raises(UndiffuseError, match="could not write the checkpoint"):
        save(content, tmp_path / "checkpoints")


def test_leftovers_of_killed_saves_are_no_checkpoints_and_are_cleaned_up(content, tmp_path):
    path = save(content, tmp_path)
    (tmp_path / ".partial-step-00000009").mkdir()
    (tmp_path / ".old-step-00000001").mkdir()
    assert latest(tmp_path) == (path, [])
    clean_up(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_torn_checkpoint_that_is_set_aside_cannot_push_out_a_whole_one(content, tmp_path):
    save(at(content, 10), tmp_path)
    torn = save(at(content, 20), tmp_path)
    (torn / "model.safetensors").write_bytes(b"")
    set_aside(tmp_path, 10)
    save(at(content, 15), tmp_path, keep=2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000010", "step-00000015"]
    assert (tmp_path / "torn-step-00000020").is_dir()
