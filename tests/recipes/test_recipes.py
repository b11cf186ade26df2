"""What the recipes promise."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from undiffuse.checkpoints.foreign.original.flags import IMPROVED_32, process
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import UndiffuseError
from undiffuse.networks.unet import UNet
from undiffuse.recipes import RECIPES, advised_sampling, get_recipe

SHAPES = [
    (1, 28, 28),
    (3, 32, 32),
    (3, 64, 64),
    (3, 256, 256),
    (3, 48, 80),
    (4, 33, 17),
    (5, 8, 8),
    (1, 5, 5),
    (1, 1, 100),
    (1, 16),
    (2, 100),
    (1, 8000),
    (1, 12, 16, 20),
    (2, 32, 32, 32),
]


def info_of(shape: tuple[int, ...], count: int = 1000) -> DataInfo:
    return DataInfo(
        name="things",
        fingerprint="0" * 64,
        count=count,
        shape=shape,
        dtype="uint8",
        low=0.0,
        high=255.0,
        mean=(0.0,) * shape[0],
        std=(0.5,) * shape[0],
    )


def network_of(config: TrainConfig, info: DataInfo) -> UNet:
    with torch.device("meta"):
        outputs = 2 * info.channels if config.diffusion.learn_variance else info.channels
        return UNet(info.channels, outputs, len(info.spatial), config.network)


def parameters(network: UNet) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("ho2020-cifar10", (3, 32, 32), 35_746_307),
        ("ho2020-celebahq256", (3, 256, 256), 113_673_219),
        ("nichol2021-cifar10", (3, 32, 32), 52_546_438),
    ],
)
def test_a_papers_recipe_has_the_papers_number_of_parameters(name: str, shape: tuple[int, ...], count: int) -> None:
    info = info_of(shape)
    assert parameters(network_of(RECIPES[name].build(info), info)) == count


@pytest.mark.parametrize(
    ("name", "shape", "lr", "batch", "steps", "dropout"),
    [
        ("ho2020-cifar10", (3, 32, 32), 2e-4, 128, 800_000, 0.1),
        ("ho2020-celebahq256", (3, 256, 256), 2e-5, 64, 500_000, 0.0),
    ],
)
def test_ho2020_follows_appendix_b(
    name: str, shape: tuple[int, ...], lr: float, batch: int, steps: int, dropout: float
) -> None:
    config = RECIPES[name].build(info_of(shape))
    assert (config.optimizer.lr, config.loop.batch, config.loop.steps) == (lr, batch, steps)
    assert config.network.dropout == dropout
    assert config.ema.ema == (0.9999,)
    assert config.data.flip
    assert config.diffusion.parameterization == "epsilon"


def test_nichol2021_is_the_network_and_the_process_of_the_authors_code() -> None:
    """As a checkpoint of theirs is read: scaled index, epsilon 1e-5 in norms of 32 groups, padding on both sides."""
    config = RECIPES["nichol2021-cifar10"].build(info_of((3, 32, 32)))
    assert config.diffusion == process(IMPROVED_32, learn_variance=True)
    network = network_of(config, info_of((3, 32, 32)))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-5)}
    assert config.network.downsample_padding == "both"


def test_ho2020_samples_cifar10_with_the_large_variance_and_faces_with_the_small() -> None:
    assert RECIPES["ho2020-cifar10"].sampling.solver.variance == "large"
    assert RECIPES["ho2020-celebahq256"].sampling.solver.variance == "small"


@pytest.mark.parametrize("name", ["ho2020-cifar10", "ho2020-celebahq256"])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 28, 28), (3, 32)])
def test_ho2020_refuses_data_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UndiffuseError, match=rf"'{name}' is for data of the shape .* 'things' has .*`recipe=small`"):
        RECIPES[name].build(info_of(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("count", [1, 20, 100_000])
def test_small_gives_a_network_that_takes_the_data(shape: tuple[int, ...], count: int) -> None:
    info = info_of(shape, count)
    config = RECIPES["small"].build(info)
    x = torch.empty(2, *shape, device="meta")
    assert network_of(config, info)(x, torch.empty(2, device="meta")).shape == x.shape
    assert 1 <= config.loop.batch <= count


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_halves_the_shortest_side_to_between_4_and_8(shape: tuple[int, ...]) -> None:
    network = RECIPES["small"].build(info_of(shape)).network
    levels = len(network.multipliers)
    lowest = math.ceil(min(shape[1:]) / (network.patch * 2 ** (levels - 1)))
    assert lowest <= 8 or levels == 6
    assert lowest >= 4 or levels == 1


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((3, 32, 32), 2), ((1, 28, 28), 2), ((3, 256, 256), 2), ((1, 12, 16, 20), 2), ((5, 8, 8), 1), ((1, 8000), 1)],
    ids=str,
)
def test_small_folds_patches_where_positions_are_many(shape: tuple[int, ...], patch: int) -> None:
    assert RECIPES["small"].build(info_of(shape)).network.patch == patch


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_attends_over_at_most_32_by_32_positions(shape: tuple[int, ...]) -> None:
    network = RECIPES["small"].build(info_of(shape)).network
    coarsest = network.patch * 2 ** (len(network.multipliers) - 1)
    positions = math.prod(math.ceil(side / coarsest) for side in shape[1:])
    assert network.middle_attention == (positions <= 32**2)
    assert network.attention_levels == ()


def test_small_drops_out_only_where_images_are_few() -> None:
    build = RECIPES["small"].build
    assert build(info_of((1, 28, 28), 500)).network.dropout > 0
    assert build(info_of((1, 28, 28), 60_000)).network.dropout == 0


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_listed_with_what_it_needs_and_reached(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name
    for text in (recipe.description, recipe.needs, recipe.reached):
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("digits", (1, 28, 28)),
        ("small", (1, 28, 28)),
        ("ho2020-cifar10", (3, 32, 32)),
        ("ho2020-celebahq256", (3, 256, 256)),
    ],
)
def test_every_recipe_has_its_name_and_one_budget(name: str, shape: tuple[int, ...]) -> None:
    config = RECIPES[name].build(info_of(shape))
    assert config.recipe == name
    assert sum(budget is not None for budget in (config.loop.steps, config.loop.images, config.loop.minutes)) == 1


def test_the_demo_takes_at_most_four_minutes() -> None:
    minutes = RECIPES["digits"].build(info_of((1, 28, 28), 5000)).loop.minutes
    assert minutes is not None
    assert minutes <= 4


def test_the_demo_is_told_the_classes_where_there_are_any() -> None:
    data = info_of((1, 28, 28), 5000)
    assert RECIPES["digits"].build(replace(data, classes=("0", "1"))).conditions.condition == ("class",)
    assert RECIPES["digits"].build(replace(data, classes=())).conditions.condition == ()


@pytest.mark.parametrize(
    ("settings", "guidance"),
    [
        ({"condition": ("class",)}, 1.5),
        ({"condition": ()}, 1.0),
        ({"condition": ("class",), "condition_dropout": 0.0}, 1.0),
        ({"condition": ("class",), "recipe": "small"}, 1.0),
        ({"condition": ("class",), "recipe": "of yesterday"}, 1.0),
    ],
)
def test_only_what_has_learned_to_do_without_its_condition_is_led(settings: dict[str, Any], guidance: float) -> None:
    """A run of yesterday, without classes, has the demo's recipe as well."""
    assert advised_sampling(override(TrainConfig(recipe="digits"), **settings)).guide.guidance == guidance


def test_no_more_steps_are_advised_than_the_chain_has() -> None:
    assert advised_sampling(override(TrainConfig(recipe="ho2020-cifar10"), timesteps=40)).solver.steps == 40


def test_digits_refuses_data_of_another_shape() -> None:
    with pytest.raises(UndiffuseError, match="`recipe=small`"):
        RECIPES["digits"].build(info_of((3, 32, 32)))


def test_an_unknown_recipe_is_one_sentence_with_the_nearest_name() -> None:
    with pytest.raises(UndiffuseError, match=r"no recipe 'digit'; perhaps you meant 'digits'"):
        get_recipe("digit")


def test_recipes_do_not_import_torch() -> None:
    code = "import sys, undiffuse.recipes; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
