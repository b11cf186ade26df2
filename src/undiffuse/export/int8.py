"""An ONNX file whose large weights are stored in 8 bits: a quarter of their size, and no slower.

Every matrix and kernel W becomes whole numbers Q from -127 to 127 and a float32 scale for each output channel,

    W ~ s Q,    s_c = max |W_c| / 127,    Q = round(W / s)

and the file has Cast and Mul nodes that make s Q of them, which a runtime works out once, when it opens the file. What
is computed is float32, as before.

Notable choices:

* Rounding to the nearest with one scale a channel needs no data.
* Not onnxruntime's dynamic quantisation, which rounds activations, too: measured (docs/use/interop.md), its outputs
  were five times as far off, and it took nearly four times as long as float32 on a CPU.
* Not ``DequantizeLinear``, the operator for this: onnxruntime computes it anew in every call, half as long again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError
from undiffuse.export.onnx_file import runner, save
from undiffuse.export.program import difference, names
from undiffuse.model import Model

LARGEST = 127
MOST = 0.1
"""Of the outputs, root mean square: a network that 8 bits change more is not written."""


def write(model: Model, path: Path, overwrite: bool = False) -> list[str]:
    def shrink(data: bytes) -> tuple[bytes, str]:
        small, count = quantised(data)
        apart = difference(model, runner(small, names(model)))
        if not apart <= MOST:
            raise UndiffuseError(f"8 bits change this network's outputs by {apart:.0%}: use `to=onnx`")
        said = f"{count:,} weights, {len(data) / len(small):.1f} times smaller; outputs change by {apart:.1%} (rms)"
        return small, f"int8    {said}"

    return save(model, path, overwrite, shrink)


def quantised(data: bytes) -> tuple[bytes, int]:
    """The file with its matrices and kernels in 8 bits, and how many weights these are."""
    import onnx

    model: Any = onnx.ModelProto.FromString(data)
    graph = model.graph
    uses = Counter(name for node in graph.node for name in node.input)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made, count = [], 0
    for node in graph.node:
        axis = _output_axis(node)
        if axis is None:
            continue
        tensor = stored.get(node.input[1])
        if tensor is None or uses[tensor.name] != 1 or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        whole, scale = round_to_8_bits(values, axis)
        graph.initializer.remove(tensor)
        graph.initializer.append(onnx.numpy_helper.from_array(whole, f"{name}.int8"))
        graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}.scale"))
        made.append(onnx.helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float"], to=onnx.TensorProto.FLOAT))
        made.append(onnx.helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name]))
        count += values.size
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString(), count


def round_to_8_bits(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(Q, s), with s of the same number of axes and of one entry a channel of ``axis``."""
    others = tuple(k for k in range(values.ndim) if k != axis % values.ndim)
    scale = np.abs(values).max(others, keepdims=True) / np.float32(LARGEST)
    scale = np.where(scale > 0, scale, np.float32(1))  # a channel of zeros
    return np.rint(values / scale).astype(np.int8), scale.astype(np.float32)


def _output_axis(node: Any) -> int | None:
    """The output channels' axis of the weights, a node's second input; None for a node that has none."""
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return {"Conv": 0, "MatMul": -1}.get(node.op_type)
