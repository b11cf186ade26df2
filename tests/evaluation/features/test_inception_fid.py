"""Finding, verifying and loading the weights; what a wrong or hostile file meets."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.inception import InceptionV3
from undiffuse.evaluation.features.inception_check import deviation, main, pictures, run_taps
from undiffuse.evaluation.features.inception_fid import load_inception
from undiffuse.evaluation.features.inception_weights import (
    FILE_NAMES,
    PUBLISHED_SHA256,
    fetch,
    find_weights,
    read_network,
)


def plain_state() -> dict[str, Tensor]:
    """Weights that keep means, of one number a tensor: their file is small, whatever their shapes."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in InceptionV3().state_dict().items()}
    values = {
        name: 1 / shape[1:].numel() if len(shape) > 1 else 0.1 if name.endswith(("bias", "mean")) else 1.0
        for name, shape in shapes.items()
    }
    return {name: torch.tensor(values[name]).expand(shape) for name, shape in shapes.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(plain_state(), path)
    return path


@pytest.fixture
def published(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that passes for the published one."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    for module in ("inception_weights", "inception_fid"):
        monkeypatch.setattr(f"undiffuse.evaluation.features.{module}.PUBLISHED_SHA256", sha256)
    return file


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no variable that names a file."""
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNDIFFUSE_INCEPTION", raising=False)
    return tmp_path / "cache" / "weights"


def test_the_published_file_is_standard(published: Path) -> None:
    identity = load_inception(published).identity
    assert identity.name == "inception-v3"
    assert identity.standard
    assert identity.sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert "TensorFlow 1" in identity.resize


def test_both_rules_are_standard_and_told_apart(published: Path) -> None:
    ours, other = (load_inception(published, rule=rule).identity for rule in ("tensorflow", "pytorch-fid"))
    assert ours.standard
    assert other.standard
    assert ours.resize != other.resize


def test_other_layers_have_other_names_and_are_not_fid(published: Path) -> None:
    identities = [load_inception(published, features=features).identity for features in (64, 192, 768, 2048)]
    assert len({identity.name for identity in identities}) == 4
    assert [identity.standard for identity in identities] == [False, False, False, True]


def test_a_wrong_hash_is_refused_with_both_hashes(file: Path) -> None:
    with pytest.raises(UndiffuseError, match=f"{PUBLISHED_SHA256}.*{hashlib.sha256(file.read_bytes()).hexdigest()}"):
        load_inception(file)


def test_other_weights_are_never_standard(file: Path) -> None:
    assert not load_inception(file, allow_other=True).identity.standard


def test_the_published_hash_begins_as_the_published_name_says() -> None:
    assert len(PUBLISHED_SHA256) == 64
    for name in FILE_NAMES:
        assert name.removesuffix(".pth").rpartition("-")[2] == PUBLISHED_SHA256[:8]


def counted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As networks with normalisation save themselves since PyTorch 0.4.1."""
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(0)
        for name in state
        if name.endswith("running_var")
    }
    return state | counters


@pytest.mark.parametrize("layout", [dict, counted])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_layout_of_the_file_loads(tmp_path: Path, layout: type[dict[str, Tensor]], zipped: bool) -> None:
    state = plain_state()
    torch.save(layout(state), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    network, _ = read_network(tmp_path / "w.pth", allow_other=True)
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


def test_safetensors_load_too(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in plain_state().items()}, path)
    network, _ = read_network(path, allow_other=True)
    assert float(network.fc.bias[0]) == pytest.approx(0.1)


def test_loading_draws_no_random_numbers(file: Path) -> None:
    before = torch.get_rng_state()
    load_inception(file, allow_other=True)
    assert torch.equal(torch.get_rng_state(), before)


DAMAGE = {
    "missing": ({"fc.bias": None}, r"expected the tensor 'fc\.bias'.*got none"),
    "unexpected": ({"AuxLogits.fc.weight": torch.zeros(2, 2)}, r"got 'AuxLogits\.fc\.weight', too"),
    "shape": ({"fc.bias": torch.zeros(1000)}, r"\(1008,\) for 'fc\.bias'.*float32 of shape \(1000,\)"),
    "type": ({"fc.bias": torch.zeros(1008, dtype=torch.float64)}, r"float32 .*for 'fc\.bias'.*got float64"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path, damage: str) -> None:
    changes, message = DAMAGE[damage]
    state = {name: tensor for name, tensor in (plain_state() | changes).items() if tensor is not None}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UndiffuseError, match=message):
        load_inception(tmp_path / "w.pth", allow_other=True)


class Bomb:
    """Pickled code: it writes a file when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.canary), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, zipped: bool) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    torch.save(plain_state() | {"fc.bias": Bomb(canary)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UndiffuseError, match="expected a PyTorch file with nothing but tensors"):
        load_inception(path, allow_other=True)
    assert not canary.exists()
    torch.load(path, weights_only=False)["fc.bias"].close()
    assert canary.exists(), "the bomb was live"


@pytest.mark.parametrize("contents", [b"", b"not weights", b"PK\x03\x04 not a zip", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path: Path, contents: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(contents)
    with pytest.raises(UndiffuseError, match=str(path)):
        load_inception(path, allow_other=True)


@pytest.mark.parametrize("kept", [0.2, 0.99])
def test_a_truncated_file_is_refused(file: Path, kept: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UndiffuseError, match="expected a PyTorch file"):
        load_inception(file, allow_other=True)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"fc.bias": 3}, torch.zeros(2)])
def test_a_file_of_other_things_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UndiffuseError, match="named tensors"):
        load_inception(tmp_path / "w.pth", allow_other=True)


def test_the_file_is_looked_for_where_it_may_be(nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, variable, cached = tmp_path / "given.pth", tmp_path / "variable.pth", nowhere / FILE_NAMES[1]
    nowhere.mkdir(parents=True)
    for path in (given, variable, cached):
        path.touch()
    assert find_weights(None) == cached
    monkeypatch.setenv("UNDIFFUSE_INCEPTION", str(variable))
    assert find_weights(None) == variable
    assert find_weights(given) == given
    variable.unlink()
    with pytest.raises(UndiffuseError, match=r"variable\.pth that UNDIFFUSE_INCEPTION names, got no such file"):
        find_weights(None)
    with pytest.raises(UndiffuseError, match=r"absent\.pth, got no such file"):
        find_weights(tmp_path / "absent.pth")


def test_without_the_file_the_sentence_says_what_to_type(nowhere: Path) -> None:
    with pytest.raises(UndiffuseError, match=r"got neither.*https://.*inception_check --download"):
        load_inception()
    assert not nowhere.exists(), "nothing is downloaded unasked"


def test_a_download_is_verified_before_it_has_its_name(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "new" / "weights.pth"
    source.write_bytes(b"weights" * 1000)
    with pytest.raises(UndiffuseError, match="nothing was kept"):
        fetch(source.as_uri(), place, "0" * 64, progress=False)
    assert list(place.parent.iterdir()) == []
    fetch(source.as_uri(), place, hashlib.sha256(source.read_bytes()).hexdigest(), progress=False)
    assert [path.read_bytes() for path in place.parent.iterdir()] == [source.read_bytes()]


def test_asking_for_a_download_fills_the_cache(nowhere: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undiffuse.evaluation.features.inception_weights.PUBLISHED_URL", published.as_uri())
    assert load_inception(download=True, progress=False).identity.standard
    assert [path.name for path in nowhere.iterdir()] == [FILE_NAMES[0]]
    published.unlink()
    assert load_inception(download=True, progress=False).identity.standard, "what is there is not fetched again"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/weights.pth", "file:///no/such/file"])
def test_no_connection_is_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(UndiffuseError, match=r"expected to download .*UNDIFFUSE_INCEPTION"):
        fetch(url, tmp_path / "w.pth", "0" * 64, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_unknown_layers_and_rules_are_refused(file: Path) -> None:
    with pytest.raises(UndiffuseError, match="expected one of 64, 192, 768, 2048 features, got 100"):
        load_inception(file, features=100)
    with pytest.raises(UndiffuseError, match="'tensorflw'; perhaps you meant 'tensorflow'"):
        load_inception(file, rule="tensorflw")


def fake_torch_fidelity(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    """A module in torch-fidelity's place that gives our taps, times 1 + error."""

    class FeatureExtractorInceptionV3:
        def __init__(self, _: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            self.names = features_list
            self.network, _ = read_network(Path(feature_extractor_weights_path))

        def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
            assert images.dtype == torch.uint8
            taps = run_taps(self.network, images)
            ours = {"logits_unbiased": taps.logits_without_bias, "logits": taps.logits}
            return tuple(
                (ours[name] if name in ours else getattr(taps, f"pool_{name}")) * (1 + error) for name in self.names
            )

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(("error", "status", "verdict"), [(1e-6, 0, "agrees"), (1e-3, 1, "DISAGREES")])
def test_the_check_compares_with_torch_fidelity(
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: float,
    status: int,
    verdict: str,
) -> None:
    fake_torch_fidelity(monkeypatch, error)
    assert main([str(published)]) == status
    assert f"torch-fidelity {verdict}:" in capsys.readouterr().out


def test_the_check_says_what_it_could_not_check(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert main([str(published)]) == 0
    said = capsys.readouterr().out
    assert "472 with 23,885,392 numbers" in said
    assert "not checked against other code" in said


def test_the_check_refuses_another_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("undiffuse: expected the published weights")
    assert captured.out == ""


def test_deviation_is_relative_to_the_largest_value() -> None:
    assert deviation(torch.tensor([[1.0, 8.0]]), torch.tensor([[2.0, -10.0]])) == pytest.approx(1.8)


def test_the_check_shows_different_pictures() -> None:
    images = pictures()
    assert images.shape == (2, 3, 48, 40)
    assert images.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in images}) == 2
    assert (int(images.min()), int(images.max())) == (0, 255)
