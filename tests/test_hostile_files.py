"""Files and settings that somebody made to do harm: one sentence each, nothing run, nothing large allocated."""

from __future__ import annotations

import copy
import json
import pickle
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse import load
from undiffuse.checkpoints.model_file import to_bytes
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.checkpoints.training_checkpoint import Checkpoint, State, save
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.files import from_dict, to_dict
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import CONFIG_VERSION, TrainConfig
from undiffuse.config.training import EMAConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model
from undiffuse.runtime.safe_tensors import from_bytes

INFO = DataInfo("things", "0" * 64, 10, (1, 8, 8), "uint8", 0.0, 255.0, (0.1,), (0.5,), ("cat", "dog"))
CONFIG = TrainConfig(
    network=UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(), middle=False), ema=EMAConfig(ema=(0.9,))
)
HOSTILE: tuple[Any, ...] = (
    *(0, 1, -1, 2, 7, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**9, 10**12, 10**400),
    *(0.0, -0.5, 1e-300, 1e308, float("inf"), float("-inf"), float("nan")),
    *(None, True, False, "", "0", "none", "../../etc/passwd", "\0", "é" * 300, "__class__", "1e9", "a\nb"),
    *([], [0], [1, 1], [10**9], [-1], [1] * 3000, [[1]], {}, {"": {}}, {"version": 1}, [None], ["x"], [float("nan")]),
)
ROOM = 1 << 30


@pytest.fixture
def little_memory() -> Iterator[None]:
    """An allocation of more than a gigabyte fails, and with it the test."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way from the root to a value."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def worse(tree: Any, rng: np.random.Generator) -> Any:
    """The tree with one to three values replaced, left out, or put under another name."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.integers(1, 4)):
        found = list(places(tree))
        if not found:
            break
        *way, last = found[rng.integers(len(found))]
        inside = tree
        for key in way:
            inside = inside[key]
        match rng.integers(4):
            case 0 if isinstance(inside, dict):
                del inside[last]
            case 1 if isinstance(inside, dict):
                inside[str(HOSTILE[rng.integers(len(HOSTILE))])[:40]] = inside.pop(last)
            case _:
                inside[last] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    return tree


def with_header(data: bytes, header: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors file whose header is another: bytes of it changed, or values of its JSON, or of our JSON in it."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.4:
        out = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(8)) if rng.random() < 0.2 else int(rng.integers(8 + length))
            out[at] = int(rng.integers(256)) if rng.random() < 0.5 else out[at] ^ (1 << int(rng.integers(8)))
        return bytes(out[: rng.integers(len(out))] if rng.random() < 0.1 else out)
    header = json.loads(data[8 : 8 + length])
    ours = header.get("__metadata__", {}).get("undiffuse")
    if ours is not None and rng.random() < 0.6:
        header["__metadata__"]["undiffuse"] = json.dumps(worse(json.loads(ours), rng))
    else:
        header = worse(header, rng)
    packed = json.dumps(header).encode()
    return with_header(data, packed + b" " * (-len(packed) % 8))


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_mutated_headers_are_a_model_or_one_sentence(count: int, tmp_path: Path, little_memory: None) -> None:
    rng = np.random.default_rng(count)
    tensors = build_model(CONFIG, INFO).network.state_dict()
    whole = to_bytes(SavedModel.of(CONFIG, INFO, tensors, 7, "raw"))
    file = tmp_path / "model.safetensors"
    refused = 0
    for _ in range(count):
        data = mutated(whole, rng)
        with suppress(UndiffuseError):
            from_bytes(data, file)
        file.write_bytes(data)
        try:
            load(file)
        except UndiffuseError:
            refused += 1
    assert count / 2 < refused < count


@pytest.mark.parametrize("count", [60, pytest.param(3_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_mutated_checkpoints_are_a_model_or_one_sentence(count: int, tmp_path: Path, little_memory: None) -> None:
    """With a manifest that agrees with them: whoever makes such a file can make that, too."""
    from undiffuse.checkpoints.training_checkpoint import _fingerprint

    rng = np.random.default_rng(count)
    tensors = dict(build_model(CONFIG, INFO).network.state_dict())
    folder = save(Checkpoint(CONFIG, INFO, State(7, 9, 70, 1.0), tensors, {0.9: tensors}, {}), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    before = {name: (folder / name).read_bytes() for name in manifest}
    for _ in range(count):
        name = sorted(before)[rng.integers(len(before))]
        data = before[name]
        data = json.dumps(worse(json.loads(data), rng)).encode() if name.endswith(".json") else mutated(data, rng)
        (folder / name).write_bytes(data)
        (folder / "manifest.json").write_text(json.dumps({**manifest, name: _fingerprint(data)}))
        for read in (load_checkpoint, load):
            with suppress(UndiffuseError):
                read(folder)
        (folder / name).write_bytes(before[name])


def test_a_thousand_random_settings_are_a_model_or_one_sentence(little_memory: None) -> None:
    rng = np.random.default_rng(0)
    plain = json.loads(json.dumps(to_dict(CONFIG)))
    built = 0
    for _ in range(1000):
        with suppress(UndiffuseError):
            build_model(from_dict(worse(plain, rng)), INFO)
            built += 1
    assert 0 < built < 1000


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"base": 10**9}, "too large"),
        ({"base": 10**9 + 2, "blocks": 1}, "too large"),
        ({"blocks": 10**9}, "too large"),
        ({"multipliers": (1, 10**9)}, "too large"),
        ({"multipliers": (1,) * 40}, "levels"),
        ({"patch": 10**6}, "too large"),
    ],
)
def test_a_network_beyond_all_memory_is_refused_before_it_is_made(
    network: dict[str, Any], words: str, little_memory: None
) -> None:
    with pytest.raises(UndiffuseError, match=words):
        build_model(replace(CONFIG, network=replace(CONFIG.network, **network)), INFO)


@pytest.mark.parametrize("shape", [(1, 10**9, 10**9), (10**9, 8, 8), (1, 0, 8), (), (1,), (-1, 8, 8)])
def test_images_of_an_impossible_shape_are_refused(shape: tuple[int, ...], little_memory: None) -> None:
    with pytest.raises(UndiffuseError, match="shape"):
        build_model(CONFIG, replace(INFO, shape=shape))


def test_a_chain_of_a_billion_timesteps_is_refused(little_memory: None) -> None:
    with pytest.raises(UndiffuseError, match="timesteps"):
        build_model(replace(CONFIG, diffusion=replace(CONFIG.diffusion, timesteps=10**9)), INFO)


class Canary:
    """A pickle that, when it is read, makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["model.pt", "model.bin", "model.safetensors", "pytorch_model.bin"])
def test_a_pickle_is_refused_and_never_run(name: str, tmp_path: Path) -> None:
    import torch

    target = tmp_path / "executed"
    for write in (
        lambda path: path.write_bytes(pickle.dumps(Canary(target))),
        lambda path: torch.save({"w": Canary(target)}, path),
    ):
        write(tmp_path / name)
        with pytest.raises(UndiffuseError):
            load(tmp_path / name)
        assert not target.exists()
    pickle.loads(pickle.dumps(Canary(target)))
    assert target.exists()  # the canary does sing


def test_a_version_beyond_is_refused_before_its_settings_are_read() -> None:
    with pytest.raises(UndiffuseError, match="upgrade"):
        from_dict({"version": CONFIG_VERSION + 1, "anything": {"at": "all"}})
