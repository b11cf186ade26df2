"""The network of FID against numbers of the reference implementations, and its quirks one by one, by hand."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity
from undiffuse.evaluation.features.inception import (
    FrozenBatchNorm,
    InceptionV3,
    Mixed,
    Taps,
    average_inside,
    maximum_same,
)
from undiffuse.evaluation.features.inception_fid import RULES, InceptionExtractor, pytorch_fid_input, tensorflow_input
from undiffuse.evaluation.features.inception_weights import network_of


def random_state(seed: int) -> dict[str, Tensor]:
    """Uniform weights that keep activations in range, from numpy's frozen generator: the same numbers anywhere.

    Tensors are drawn in the order of their sorted names: running_var and the normalisation's weight in [0.5, 1.5],
    matrices and kernels within sqrt(4 / fan in), all else in [-0.1, 0.1].
    """
    random = np.random.RandomState(seed)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in InceptionV3().state_dict().items()}
    state = {}
    for name in sorted(shapes):
        low, high = (0.5, 1.5) if name.endswith(("bn.weight", "running_var")) else (-0.1, 0.1)
        if name.endswith(("conv.weight", "fc.weight")):
            high = math.sqrt(4 / np.prod(shapes[name][1:]))
            low = -high
        values = low + (high - low) * random.random_sample(shapes[name])
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def stripes(count: int, height: int, width: int) -> Tensor:
    """8-bit pictures over 255, by integer arithmetic."""
    n, c, i, j = np.ogrid[:count, :3, :height, :width]
    values = (i * i + 3 * j * j + 7 * i * j + 50 * c + 900 * n) // 8 % 256
    return torch.from_numpy(values.astype(np.uint8)).float() / 255


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    return network_of(random_state(20151205), Path("random"))


@pytest.fixture(scope="module")
def taps(network: InceptionV3) -> Taps:
    with torch.inference_mode():
        return network(tensorflow_input(stripes(2, 40, 37)))


def extractor(network: InceptionV3, rule: str = "tensorflow", features: int = 2048) -> InceptionExtractor:
    return InceptionExtractor(network, Identity("test", "0" * 64, rule), features, RULES[rule])


# Mean, standard deviation (over N), place of the first image's largest value, that value, and the second image's second
# value. Computed in float64 by the reference code with random_state(20151205) and stripes(2, 40, 37): by torch-fidelity
# 0.4.0 (FeatureExtractorInceptionV3 on the 8-bit values; spatial by a hook on Mixed_6d.branch1x1), and by pytorch-fid
# 0.3.0 (InceptionV3 with blocks 0 to 3, averaged over positions) with the blocks of torchvision 0.29.2.
TORCH_FIDELITY = {
    "pool_64": (0.2690286, 0.27444601, 4, 1.2052078, 0.2533479),
    "pool_192": (0.3308037, 0.37920136, 34, 1.7881124, 0.40986639),
    "pool_768": (0.081873559, 0.12388888, 588, 0.73250282, 0.05712723),
    "pool_2048": (0.076323414, 0.10885959, 1870, 0.76291782, 0.016622024),
    "logits_without_bias": (0.0074334452, 0.15114969, 21, 0.52421278, 0.3194184),
    "logits": (0.0087383523, 0.159604, 21, 0.4964872, 0.2549518),
    "spatial": (0.11256229, 0.14673785, 383, 0.53137024, 0.20543022),
}
PYTORCH_FID = {
    "pool_64": (0.26914564, 0.27554221, 4, 1.2084834, 0.25601143),
    "pool_192": (0.33109116, 0.38049082, 34, 1.7646715, 0.40250259),
    "pool_768": (0.082253895, 0.12438764, 588, 0.73238482, 0.055532295),
    "pool_2048": (0.07657071, 0.1091914, 1870, 0.76189044, 0.016278524),
}


def summary(values: Tensor) -> tuple[float, float, int, float, float]:
    values = values.double()
    place = int(values[0].argmax())
    return (
        float(values.mean()),
        float(values.std(correction=0)),
        place,
        float(values[0, place]),
        float(values[1, 1]),
    )


@pytest.mark.parametrize("tap", TORCH_FIDELITY)
def test_taps_are_those_of_torch_fidelity(taps: Taps, tap: str) -> None:
    assert summary(getattr(taps, tap)) == pytest.approx(TORCH_FIDELITY[tap], rel=2e-5)


def test_taps_by_the_other_rule_are_those_of_pytorch_fid(network: InceptionV3) -> None:
    with torch.inference_mode():
        taps = network(pytorch_fid_input(stripes(2, 40, 37)))
    for tap, expected in PYTORCH_FID.items():
        assert summary(getattr(taps, tap)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("features", [64, 192, 768, 2048])
def test_features_are_the_tap_of_their_number(network: InceptionV3, taps: Taps, features: int) -> None:
    found = extractor(network, features=features)(stripes(2, 40, 37)[:1]).features
    expected = getattr(taps, f"pool_{features}")[:1]
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_tensors_are_those_of_the_published_layout(network: InceptionV3) -> None:
    # the same digest comes from torch-fidelity 0.4.0's network without its counters of batches
    state = network.state_dict()
    lines = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == LAYOUT
    assert len(state) == 94 * 5 + 2
    assert sum(tensor.numel() for tensor in state.values()) == 23_885_392


LAYOUT = "d84f693f2abd7fea61cb31c87d3b2f268bf707c1bae1db219afdad3363959cb0"


def test_averages_divide_by_the_pixels_inside() -> None:
    dot = torch.zeros(1, 1, 3, 3)
    dot[..., 1, 1] = 36.0
    assert average_inside(dot)[0, 0].tolist() == [[9, 6, 9], [6, 4, 6], [9, 6, 9]]


def test_only_the_last_block_pools_by_maximum(network: InceptionV3) -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 9.0
    average, maximum, halving = 9 * 1.0, 9 * 9.0, 4 * 9.0  # sums: nine windows hold the dot, or four where every second
    sums = {name: float(block.pool(dot).sum()) for name, block in network.named_children() if isinstance(block, Mixed)}
    averaging = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b")
    assert sums == pytest.approx(
        dict.fromkeys(averaging, average) | {"Mixed_6a": halving, "Mixed_7a": halving, "Mixed_7c": maximum}
    )


def test_padding_never_wins_a_maximum() -> None:
    assert maximum_same(torch.full((1, 1, 2, 2), -3.0)).flatten().tolist() == [-3.0] * 4


def test_normalisation_adds_a_thousandth_to_the_variance() -> None:
    norm = FrozenBatchNorm(1)
    for name, value in (("weight", 2.0), ("bias", 0.5), ("running_mean", 1.0), ("running_var", 0.0)):
        getattr(norm, name).fill_(value)
    assert float(norm(torch.full((1, 1, 1, 1), 2.0))) == pytest.approx(2 / math.sqrt(1e-3) + 0.5, rel=1e-6)


def test_no_convolution_has_a_bias(network: InceptionV3) -> None:
    assert [name for name in network.state_dict() if name.endswith("conv.bias")] == []


def test_spatial_features_are_seven_channels_of_the_1x1_branch(network: InceptionV3) -> None:
    seen: list[Tensor] = []
    hook = network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.inference_mode():
        spatial = network(tensorflow_input(stripes(1, 20, 20))).spatial
    hook.remove()
    assert spatial.shape == (1, 7 * 17 * 17)
    assert torch.equal(spatial.reshape(1, 7, 17, 17), seen[0][:, :7])
    assert float(spatial.min()) == 0  # behind the ReLU


def test_the_score_gets_logits_without_bias(network: InceptionV3, taps: Taps) -> None:
    outputs = extractor(network)(stripes(2, 40, 37))
    assert torch.allclose(outputs.logits, taps.logits_without_bias, rtol=0, atol=1e-6)
    assert torch.allclose(taps.logits - taps.logits_without_bias, network.fc.bias.expand(2, -1), rtol=0, atol=1e-6)


def test_range_of_the_input() -> None:
    ends = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    assert tensorflow_input(ends).unique().tolist() == [-1.0, 127 / 128]
    low, high = pytorch_fid_input(ends)
    assert low.unique().tolist() == [-1.0]
    assert torch.allclose(high, torch.ones(()), rtol=0, atol=1e-6)


def test_eight_bit_values_arrive_as_integers() -> None:
    values = torch.arange(299) % 256
    image = (values.float() / 255).expand(1, 3, 1, 299)  # as wide as the network's input: nothing to resize
    assert torch.equal(tensorflow_input(image)[0, 0, 0] * 128 + 128, values.float())


def test_values_between_the_bits_are_not_rounded() -> None:
    image = torch.full((1, 3, 299, 299), 0.5)
    assert tensorflow_input(image).unique().tolist() == [-0.5 / 128]


def test_features_do_not_depend_on_the_batch(network: InceptionV3, monkeypatch: pytest.MonkeyPatch) -> None:
    images = stripes(3, 24, 31)
    together = extractor(network)(images)
    monkeypatch.setattr("undiffuse.evaluation.features.inception_fid._AT_ONCE", 2)
    apart = extractor(network)(images)
    for name, count in (("features", 2048), ("spatial", 2023), ("logits", 1008)):
        one, other = getattr(together, name), getattr(apart, name)
        assert one.shape == (3, count)
        assert one.dtype == torch.float32
        assert torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))


def test_grey_is_three_equal_channels(network: InceptionV3) -> None:
    gray = stripes(1, 24, 24)[:, :1]
    assert torch.equal(extractor(network)(gray).features, extractor(network)(gray.repeat(1, 3, 1, 1)).features)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 2, 8, 8), (2, 3, 8), (2, 3, 8, 8, 8)])
def test_other_data_is_refused(network: InceptionV3, shape: tuple[int, ...]) -> None:
    with pytest.raises(UndiffuseError, match=r"grey or RGB images.*\(2, "):
        extractor(network)(torch.zeros(shape))
