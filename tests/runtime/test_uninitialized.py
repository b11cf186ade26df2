"""Networks for weights from files: outlined or undrawn, without a draw and without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from undiffuse.config.files import override
from undiffuse.config.schema import ARCHITECTURES, TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.factories.network import build_network, outline
from undiffuse.runtime.uninitialized import outlined, undrawn

INFO = DataInfo("things", "0" * 64, 40, (3, 8, 8), "uint8", 0.0, 255.0, (0.0,), (0.5,))
COMPILER = ("torch._dynamo", "torch._inductor", "sympy")


def imported_by(code: str) -> list[str]:
    """Packages that a new process has imported after it ran this."""
    found = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('modules:', *sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return found.stdout.rpartition("modules:")[2].split()


def test_drawing_a_picture_imports_no_compiler_and_no_reader_of_data_sets(tmp_path: Path) -> None:
    words = ["sample", "digits", "-n", "1", "--steps", "1", "--out", str(tmp_path / "out")]
    found = imported_by(f"from undiffuse.cli import main\nassert main({words!r}) == 0")
    assert (tmp_path / "out" / "00000.png").exists()
    assert "torch" in found
    others = (
        "torch.utils.tensorboard",
        "tensorboard",
        "scipy",
        "pandas",
        "matplotlib",
        "undiffuse.data.preparation.prepare",
    )
    assert not set(found) & {*COMPILER, *others}


def test_no_outline_of_a_network_imports_the_compiler() -> None:
    found = imported_by(
        "from undiffuse.runtime.uninitialized import outlined\n"
        "from undiffuse.factories.network import NETWORKS\n"
        "from undiffuse.config.schema import ARCHITECTURES, UNetConfig\n"
        "from undiffuse.evaluation.features.classifier_network import SmallClassifier\n"
        "from undiffuse.evaluation.features.efficientnet import EfficientNetLite0\n"
        "from undiffuse.evaluation.features.inception import InceptionV3\n"
        "from undiffuse.networks.conditions import Condition\n"
        "from undiffuse.networks.unet import UNet\n"
        "from undiffuse.networks.unet_classifier import UNetClassifier\n"
        "from undiffuse.conditioning.text.bert import Bert\n"
        "settings = {'base': 16, 'multipliers': (1, 2), 'attention_levels': (1,)}\n"
        "small = UNetConfig(**settings)\n"
        "with outlined():\n"
        "    for options, kind in NETWORKS.items(): kind(3, 3, 2, options(**settings))\n"
        "    UNet(3, 3, 2, small, (Condition('class', 'class', 10), Condition('text', 'tokens', 384)))\n"
        "    UNetClassifier(3, 10, 2, small), InceptionV3(), EfficientNetLite0(), Bert(100)\n"
        "    SmallClassifier((1, 8, 8), 10)\n"
    )
    assert "undiffuse.conditioning.text.bert" in found
    assert not set(found) & set(COMPILER)


@pytest.mark.parametrize("architecture", ARCHITECTURES.classes)
def test_an_outline_has_the_names_shapes_and_types_of_the_network_and_no_memory(architecture: str) -> None:
    config = override(TrainConfig(), architecture=architecture, base=16, multipliers=(1, 2))
    whole, found = build_network(config, INFO).state_dict(), outline(config, INFO)
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {n: (t.shape, t.dtype) for n, t in whole.items()}
    assert all(tensor.is_meta for tensor in found.values())


def test_undrawn_layers_keep_what_is_computed_and_the_stream_of_random_numbers() -> None:
    before = torch.get_rng_state()
    with undrawn():
        nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.Embedding(3, 4)
        nn.init.xavier_uniform_(torch.empty(3, 4))
        nn.init.trunc_normal_(torch.empty(3, 4))
        nn.Parameter(torch.randn(3, 4))
        norm = nn.GroupNorm(1, 4)
        given = torch.randn(3, generator=torch.Generator().manual_seed(0))
        zero = nn.init.zeros_(torch.full((3,), 7.0))
    assert torch.get_rng_state().equal(before)
    assert norm.weight.eq(1).all()
    assert norm.bias.eq(0).all()
    assert zero.eq(0).all()
    assert given.equal(torch.randn(3, generator=torch.Generator().manual_seed(0)))
    nn.Linear(3, 4)
    assert not torch.get_rng_state().equal(before)


def test_layers_are_drawn_again_after_an_outline_even_one_that_failed() -> None:
    with pytest.raises(ZeroDivisionError), outlined():
        raise ZeroDivisionError
    torch.manual_seed(0)
    first = nn.Linear(3, 4).weight
    torch.manual_seed(0)
    assert first.equal(nn.Linear(3, 4).weight)
    assert first.count_nonzero()
