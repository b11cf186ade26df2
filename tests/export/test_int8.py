"""ONNX files whose weights are of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert, onnx_file
from undiffuse.model import Model, build_model

onnx = pytest.importorskip("onnx", reason="ONNX is an extra")
pytest.importorskip("onnxscript", reason="ONNX is an extra")

from undiffuse.export.int8 import quantised, round_to_8_bits  # noqa: E402 - after what it needs


def tiny(scale: float = 0.3) -> Model:
    network = UNetConfig(base=8, multipliers=(1,), blocks=1, attention_levels=(0,), middle=False)
    config = TrainConfig(network=network, conditions=ConditionConfig(condition=("class",)))
    model = build_model(config, unknown_data("things", (1, 6, 6), ("cat", "dog")))
    dice = torch.Generator().manual_seed(1)
    for tensor in model.network.parameters():
        tensor.data = scale * torch.randn(tensor.shape, generator=dice)
    model.network.eval()
    return model


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_weight_is_off_by_half_a_step_of_its_channel_at_most(axis: int) -> None:
    values = np.random.default_rng(0).standard_normal((5, 7, 3)).astype(np.float32)
    whole, scale = round_to_8_bits(values, axis)
    largest = np.moveaxis(np.abs(values), axis, 0).reshape(values.shape[axis], -1).max(1)
    assert np.allclose(scale.ravel(), largest / 127)
    assert np.abs(whole).max() == 127
    assert np.all(np.abs(whole * scale - values) <= scale / 2 * (1 + 1e-5))


def test_whole_numbers_and_zeros_are_kept_to_the_bit() -> None:
    values = np.array([[127.0, -3.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    whole, scale = round_to_8_bits(values, 0)
    assert np.array_equal(whole * scale, values)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, bytes, list[str]]]:
    """A file, the one of 8 bits, and what was said of the latter; the network is exported once, which takes seconds."""
    path, whole = tmp_path_factory.mktemp("onnx") / "small.onnx", onnx_file.to_bytes(tiny())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "to_bytes", lambda model: whole)
        said = convert(tiny(), path, "onnx-int8")
        yield whole, path.read_bytes(), said


def weights_of(file: Any) -> dict[str, int]:
    """Stored inputs of layers, and their axis of output channels; torch.onnx writes linear layers as Gemm(transB)."""
    axes = {"Conv": 0, "Gemm": 0, "MatMul": 1}
    stored = {tensor.name for tensor in file.graph.initializer}
    nodes = [node for node in file.graph.node if node.op_type in axes and node.input[1] in stored]
    return {node.input[1]: axes[node.op_type] for node in nodes}


def test_the_file_is_the_network_of_the_rounded_weights(exported: tuple[bytes, bytes, list[str]]) -> None:
    import onnxruntime

    whole, small, said = exported
    assert "parity" in said[1]
    assert "outputs change by" in said[2]
    file = onnx.ModelProto.FromString(whole)
    axes = weights_of(file)
    for tensor in file.graph.initializer:
        if tensor.name in axes:
            rows = np.moveaxis(onnx.numpy_helper.to_array(tensor).astype(np.float64), axes[tensor.name], 0)
            rounded = [row if not row.any() else np.rint(127 * row / np.abs(row).max()) for row in rows]
            back = np.stack([q * np.abs(row).max() / 127 for q, row in zip(rounded, rows, strict=True)])
            values = np.moveaxis(back, 0, axes[tensor.name]).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    inputs = {
        "x": np.random.default_rng(0).standard_normal((3, 1, 6, 6)).astype(np.float32),
        "time": np.array([0.0, 500.0, 999.0], np.float32),
        "label": np.array([0, 1, 2]),
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    first, by_hand, ours = (
        onnxruntime.InferenceSession(data, options).run(None, inputs)[0]
        for data in (whole, file.SerializeToString(), small)
    )
    assert np.abs(ours - by_hand).max() < 1e-4 * np.abs(first).max()
    assert np.abs(ours - first).max() > 1e-3 * np.abs(first).max()


def test_every_matrix_and_kernel_is_quantised_once(exported: tuple[bytes, bytes, list[str]]) -> None:
    whole, small, said = exported
    stored = {tensor.name: tensor for tensor in onnx.ModelProto.FromString(small).graph.initializer}
    large = sum(p.numel() for name, p in tiny().network.named_parameters() if p.ndim > 1 and "told" not in name)
    whole_numbers = [tensor for tensor in stored.values() if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.raw_data) for tensor in whole_numbers) == large
    assert f" {large:,} weights" in said[2]
    assert quantised(whole) == (small, large)
    assert quantised(small)[1] == 0


def test_a_network_that_8_bits_change_too_much_is_not_written(
    exported: tuple[bytes, bytes, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undiffuse.export.int8.MOST", 1e-4)
    with pytest.raises(UndiffuseError, match="8 bits change this network's outputs by"):
        convert(tiny(), tmp_path / "m.onnx", "onnx-int8")
    assert not list(tmp_path.iterdir())
