"""An ONNX file as an extractor: tiny ones, built by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: the tests build their files with it")

from undiffuse.errors import UndiffuseError  # noqa: E402  (after the skips)
from undiffuse.evaluation.features.onnx_file import load_onnx  # noqa: E402

Shape = tuple[int | str, ...]
WEIGHT = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
IMAGES = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def write(
    path: Path,
    shape: Shape = ("n", 3, 2, 2),
    outputs: tuple[str, ...] = ("features",),
    weight: np.ndarray[Any, Any] = WEIGHT,
    external: bool = False,
    rank: int = 2,
) -> Path:
    """flatten(x) W, and softmax-free logits 2 flatten(x) W where two outputs are wanted."""
    helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Unsqueeze", ["product", "axis"], ["cube"])
        if rank == 3
        else helper.make_node("Identity", ["product"], ["features"]),
    ]
    nodes += [helper.make_node("Add", ["product", "product"], [name]) for name in outputs[1:]]
    first = "cube" if rank == 3 else "features"
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, FLOAT, ("n",) + ("d",) * (rank - 1)) for name in (first, *outputs[1:])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(np.array([2]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


def test_one_output_is_features(tmp_path: Path) -> None:
    found = load_onnx(write(tmp_path / "tiny.onnx"))
    outputs = found(IMAGES)
    assert torch.allclose(outputs.features, IMAGES.flatten(1) @ torch.from_numpy(WEIGHT), atol=1e-6)
    assert outputs.logits is None
    assert found.identity.name == "onnx:tiny.onnx"
    assert "bilinear with antialias to 2 x 2" in found.identity.resize
    assert not found.identity.standard


def test_the_second_output_is_logits(tmp_path: Path) -> None:
    outputs = load_onnx(write(tmp_path / "tiny.onnx", outputs=("features", "logits")))(IMAGES)
    assert outputs.logits is not None
    assert torch.allclose(outputs.logits, 2 * outputs.features)


def test_grey_is_repeated_and_other_sizes_are_resized(tmp_path: Path) -> None:
    found = load_onnx(write(tmp_path / "tiny.onnx"))
    gray = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(gray, size=(2, 2), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    assert torch.allclose(found(gray).features, found(small).features, atol=1e-6)


def test_an_open_size_is_left_alone(tmp_path: Path) -> None:
    found = load_onnx(write(tmp_path / "tiny.onnx", ("n", "c", "h", "w")))
    assert found(torch.rand(2, 1, 3, 4)).features.shape == (2, 5)
    assert found.identity.resize == "the data's own size; values in [0, 1]"


def test_a_fixed_batch_of_one_is_run_image_by_image(tmp_path: Path) -> None:
    one = load_onnx(write(tmp_path / "one.onnx", (1, 3, 2, 2)))
    any_batch = load_onnx(write(tmp_path / "any.onnx"))
    assert torch.allclose(one(IMAGES).features, any_batch(IMAGES).features, atol=1e-6)


@pytest.mark.parametrize("external", [False, True])
def test_the_identity_changes_with_the_weights(tmp_path: Path, external: bool) -> None:
    first = load_onnx(write(tmp_path / "tiny.onnx", external=external)).identity.sha256
    assert (tmp_path / "weights.bin").exists() == external
    (tmp_path / "weights.bin").unlink(missing_ok=True)
    second = load_onnx(write(tmp_path / "tiny.onnx", weight=WEIGHT + 1, external=external)).identity.sha256
    assert first != second


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.onnx", external=True)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UndiffuseError, match=r"got 'No such file or directory' for .*weights.bin"):
        load_onnx(path)


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(UndiffuseError, match=r"expected an ONNX file, got .*text.onnx"):
        load_onnx(path)
    with pytest.raises(UndiffuseError, match="got 'No such file or directory' for"):
        load_onnx(tmp_path / "nothing.onnx")


def test_outputs_that_are_no_matrices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match=r"to give features \(batch, D\) and at most logits .* got cube"):
        load_onnx(write(tmp_path / "cube.onnx", rank=3))


def test_three_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="at most logits"):
        load_onnx(write(tmp_path / "three.onnx", outputs=("features", "logits", "more")))


def test_inputs_of_another_rank_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="expected one float32 input"):
        load_onnx(write(tmp_path / "flat.onnx", ("n", 12)))


def test_a_fixed_batch_of_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UndiffuseError, match="batches of any size, or of 1, got 4"):
        load_onnx(write(tmp_path / "four.onnx", (4, 3, 2, 2)))


def test_images_with_other_channels_are_refused(tmp_path: Path) -> None:
    found = load_onnx(write(tmp_path / "tiny.onnx"))
    with pytest.raises(UndiffuseError, match=r"takes 2-D images with 3 channels, got the shape \(4, 2, 2\)"):
        found(torch.rand(1, 4, 2, 2))


def test_images_of_a_size_that_the_weights_do_not_fit_are_refused(tmp_path: Path) -> None:
    found = load_onnx(write(tmp_path / "open.onnx", ("n", "c", "h", "w")))
    with pytest.raises(UndiffuseError, match=r"'onnx:open.onnx' failed on images of the shape \(1, 3, 5, 5\)"):
        found(torch.rand(1, 3, 5, 5))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tiny.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UndiffuseError, match=r"pip install 'undiffuse\[onnx\]'"):
        load_onnx(path)
