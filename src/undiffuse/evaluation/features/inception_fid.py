"""The extractor of the original FID: published weights, and the input exactly as the reference makes it.

Two bilinear resizes have made published distances. Both read two neighbours a dimension however much they shrink (no
antialias). They differ in where output pixel i of n looks in an input of m pixels, and that moves a FID by more than
many papers' improvements (Parmar et al. 2022, https://arxiv.org/abs/2104.11222).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from undiffuse.errors import UndiffuseError, perhaps
from undiffuse.evaluation.features.extractor import Identity, Outputs, full_precision
from undiffuse.evaluation.features.inception import INPUT_SIZE, InceptionV3, Taps
from undiffuse.evaluation.features.inception_weights import PUBLISHED_SHA256, find_weights, read_network

LAYERS = (64, 192, 768, 2048)
"""Numbers of features that can be had; FID means the last. The others need fewer images for a full-rank covariance."""

_AT_ONCE = 32
"""Images that go through the network together: 0.6 GB of activations."""


@dataclass(frozen=True)
class InputRule:
    """A way from images in [0, 1] to the network's input in [-1, 1]."""

    words: str
    apply: Callable[[Float[Tensor, "batch 3 h w"]], Float[Tensor, "batch 3 299 299"]]


def resize_tensorflow(
    images: Float[Tensor, "batch channels h w"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Bilinear as ``tf.image.resize_bilinear`` of TensorFlow 1 did it: corner to corner without half-pixel centres.

    Output pixel i of n reads an input of m pixels at ``u = i m / n``, between floor(u) and the next pixel (the last one
    repeats): ``x[floor u] + (x[floor u + 1] - x[floor u]) (u - floor u)``. So the result is shifted by half an output
    pixel; an image of the wanted size returns unchanged.

    Positions are computed in float32, and columns before rows, as the reference does, so that results agree bit by bit.
    """
    left, right, fraction = _neighbors(images.shape[3], width, images)
    columns = _between(images[..., left], images[..., right], fraction)
    upper, lower, fraction = _neighbors(images.shape[2], height, images)
    return _between(columns[:, :, upper], columns[:, :, lower], fraction[:, None])


def resize_half_pixel(
    images: Float[Tensor, "batch channels h w"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Bilinear between pixel centres, ``u = (i + 1/2) m / n - 1/2`` clipped to the image: what pytorch-fid does."""
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)


def _neighbors(size: int, new_size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every output position the two input positions and its share of the way from the first to the second."""
    scale = torch.tensor(size / new_size, dtype=torch.float32)
    position = torch.arange(new_size, dtype=torch.float32) * scale
    first = position.long()
    second = (first + 1).clamp(max=size - 1)
    fraction = (position - first).to(like)
    return first.to(like.device), second.to(like.device), fraction


def _between(first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    """Not ``torch.lerp``, which rounds differently where the fraction is above a half."""
    return first + (second - first) * fraction


def tensorflow_input(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 299 299"]:
    """``(resize(255 x) - 128) / 128`` with TensorFlow 1's resize: the original, OpenAI's evaluator, torch-fidelity.

    Black is -1 and white 127/128. For 8-bit data 255 x is the integer again, exactly; other data are not rounded.
    """
    return (resize_tensorflow(images * 255, INPUT_SIZE, INPUT_SIZE) - 128) / 128


def pytorch_fid_input(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 299 299"]:
    """``2 resize(x) - 1`` with half-pixel centres: pytorch-fid, and the many papers that used it."""
    return 2 * resize_half_pixel(images, INPUT_SIZE, INPUT_SIZE) - 1


RULES = {
    "tensorflow": InputRule(
        "299x299 bilinear without antialias, TensorFlow 1 corners; (255 x - 128) / 128, unrounded; grey to 3 channels",
        tensorflow_input,
    ),
    "pytorch-fid": InputRule(
        "299x299 bilinear without antialias, half-pixel centres; 2 x - 1; grey to 3 channels",
        pytorch_fid_input,
    ),
}


@dataclass(frozen=True)
class InceptionExtractor:
    """Features, spatial features and logits of InceptionV3. Use `load_inception`.

    The logits are those without bias, on which the Inception Score has always been computed: its authors' code and
    OpenAI's evaluator multiply by the weights of the last layer only, and torch-fidelity follows them.
    """

    network: InceptionV3
    identity: Identity
    features: int
    rule: InputRule

    def __call__(self, images: Float[Tensor, "batch channels h w"]) -> Outputs:
        """The outputs for grey or RGB images of any height and width, on the network's device."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UndiffuseError(
                f"the FID network takes grey or RGB images of shape (batch, 1 or 3, height, width), "
                f"got {tuple(images.shape)}; choose another extractor for such data"
            )
        device = self.network.fc.weight.device
        with torch.inference_mode(), full_precision(device):
            parts = [self._outputs(part.to(device)) for part in images.split(_AT_ONCE)]
        return Outputs.join(parts)  # outside, so that callers may change them in place

    def _outputs(self, images: Tensor) -> Outputs:
        taps: Taps = self.network(self.rule.apply(images.expand(-1, 3, -1, -1)))
        return Outputs(getattr(taps, f"pool_{self.features}"), taps.spatial, taps.logits_without_bias)


def load_inception(
    path: Path | None = None,
    *,
    features: int = 2048,
    rule: str = "tensorflow",
    device: torch.device | str = "cpu",
    download: bool = False,
    allow_other: bool = False,
    progress: bool = True,
) -> InceptionExtractor:
    """The FID network with the published weights.

    Args:
        path: the file (pt_inception-2015-12-05-6726825d.pth of pytorch-fid or weights-inception-... of torch-fidelity:
            the same bytes); None looks at UNDIFFUSE_INCEPTION, then in the cache's folder 'weights'.
        features: 2048 for FID; 64, 192 and 768 are averages of earlier layers, with another name.
        rule: 'tensorflow' (the original) or 'pytorch-fid'; published figures exist by both.
        download: fetch the file (96 MB, verified) where there is none.
        allow_other: take weights of another hash, too; a distance in their features is not FID.

    Raises:
        UndiffuseError: no such layer or rule, no weights, weights of another hash, or a file that does not fit.
    """
    if features not in LAYERS:
        raise UndiffuseError(f"expected one of {', '.join(map(str, LAYERS))} features, got {features}")
    if rule not in RULES:
        raise UndiffuseError(f"unknown resize rule '{rule}'{perhaps(rule, RULES)}")
    file = find_weights(path, download=download, progress=progress)
    network, sha256 = read_network(file, allow_other=allow_other)
    identity = Identity(
        name="inception-v3" if features == LAYERS[-1] else f"inception-v3-{features}",
        sha256=sha256,
        resize=RULES[rule].words,
        standard=sha256 == PUBLISHED_SHA256 and features == LAYERS[-1],
    )
    network = network.to(device)
    if torch.device(device).type == "cpu":  # a fifth less work there, equal up to rounding
        convert_conv2d_weight_memory_format(network, torch.channels_last)
    return InceptionExtractor(network, identity, features, RULES[rule])
