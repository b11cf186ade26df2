"""What processes borrow of a network that they hold in parts, one unit after another."""

from __future__ import annotations

import pytest

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.files import override
from undiffuse.config.schema import ARCHITECTURES, TrainConfig
from undiffuse.factories.network import build_network
from undiffuse.training.parallel.batch_shards import Shardable


@pytest.mark.parametrize("architecture", ARCHITECTURES.classes)
def test_units_lie_side_by_side_and_hold_most_of_the_weights(architecture: str) -> None:
    config = override(TrainConfig(), base=8, multipliers=(1, 2), attention_levels=(), architecture=architecture)
    network = build_network(config, unknown_data("birds", (1, 8, 8)))
    assert isinstance(network, Shardable)
    units = network.shard_units()
    held = [id(parameter) for unit in units for parameter in unit.parameters()]
    assert len(held) == len(set(held))
    assert len(units) > 4
    count = sum(parameter.numel() for unit in units for parameter in unit.parameters())
    assert count > 0.5 * sum(parameter.numel() for parameter in network.parameters())
