"""Options of networks: a class for each architecture, told by that setting, and open to new ones."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, make_dataclass
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest

from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.cli.parse_values import OptionReader
from undiffuse.config.fields import Variants, fields_of
from undiffuse.config.files import from_dict, from_yaml, override, spelled_out, to_dict, to_yaml
from undiffuse.config.network import (
    NetworkConfig,
    RMSUNetConfig,
    ScoreUNetConfig,
    UNetConfig,
)
from undiffuse.config.schema import ARCHITECTURES, CLASSIFIER, TrainConfig
from undiffuse.config.sections import flatten, sections
from undiffuse.errors import UndiffuseError
from undiffuse.factories import network as factory
from undiffuse.factories.network import build_network, register
from undiffuse.training.api import train


@dataclass(frozen=True)
class TokenConfig(NetworkConfig):
    """What a plug-in brings."""

    SIZES: ClassVar = ("tokens",)

    tokens: int = 16
    """How many tokens."""
    dropout: float = 0.0
    """As elsewhere."""
    architecture: Literal["token-net"] = "token-net"
    """'token-net' of the plug-in."""

    @property
    def width(self) -> int:
        return self.tokens

    @property
    def draws_in_training(self) -> bool:
        return False

    def activations(self, spatial: Sequence[int]) -> float:
        return float(self.tokens)

    def count_weights(self, channels: int, dims: int) -> int:
        return self.tokens


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`TokenConfig` among the others, for the length of a test."""
    before = dict(ARCHITECTURES.classes), ARCHITECTURES.fields
    monkeypatch.setattr(factory, "NETWORKS", dict(factory.NETWORKS))
    register(TokenConfig, lambda *given: given)
    yield
    ARCHITECTURES.classes, ARCHITECTURES.fields = before


def of(architecture: str, **settings: Any) -> TrainConfig:
    return override(TrainConfig(), architecture=architecture, **settings)


@pytest.mark.parametrize(
    ("architecture", "cls"),
    [("unet", UNetConfig), ("rms-unet", RMSUNetConfig), ("ddpm++", ScoreUNetConfig), ("ncsn++", ScoreUNetConfig)],
)
def test_an_architecture_has_its_own_class_which_files_bring_back(architecture: str, cls: type) -> None:
    config = of(architecture, base=24)
    assert type(config.network) is cls
    assert (config.network.architecture, config.network.width) == (architecture, 24)
    assert from_yaml(to_yaml(config)) == config
    assert set(to_dict(config)["network"]) == {field.name for field in fields(cls)}


def test_another_architecture_takes_over_what_both_have() -> None:
    config = of("unet", base=24, blocks=3, patch=2, heads=4)
    assert override(config, architecture="ddpm++").network == ScoreUNetConfig(base=24, blocks=3)
    assert override(config, architecture="rms-unet", base=8).network == RMSUNetConfig(base=8, heads=4)
    assert override(config, architecture="unet") == config


def test_files_of_yesterday_hold_the_fields_of_all_architectures() -> None:
    tree = to_dict(TrainConfig())
    tree["network"] |= {"architecture": "ncsn++", "base": 24}
    assert from_dict(tree).network == ScoreUNetConfig(base=24, architecture="ncsn++")


@pytest.mark.parametrize(("name", "value"), [("patch", 2), ("heads", 4), ("residual_up_levels", [1])])
def test_what_an_architecture_lacks_is_refused_and_its_default_is_not(name: str, value: Any) -> None:
    sentence = rf"`architecture=ddpm\+\+` has no `{name}`: leave it out, or where a recipe sets it"
    with pytest.raises(UndiffuseError, match=sentence):
        of("ddpm++", **{name: value})
    with pytest.raises(UndiffuseError, match=sentence):
        override(of("ddpm++"), **{name: value})
    with pytest.raises(UndiffuseError, match=sentence):
        from_dict({"version": 1, "network": {"architecture": "ddpm++", name: value}})
    assert of("ddpm++", **{name: getattr(UNetConfig(), name)}) == of("ddpm++")


def test_a_value_of_another_architecture_is_of_its_type_all_the_same() -> None:
    with pytest.raises(UndiffuseError, match=r"'network.patch' in the settings must be a whole number, got 'two'"):
        from_dict({"version": 1, "network": {"architecture": "ddpm++", "patch": "two"}})


@pytest.mark.parametrize("architecture", ["resnet", 3])
def test_an_architecture_that_is_not_there_is_a_sentence_that_names_those_that_are(architecture: object) -> None:
    sentence = "must be one of 'unet', 'rms-unet', 'ddpm\\+\\+', 'ncsn\\+\\+', got"
    with pytest.raises(UndiffuseError, match=sentence):
        from_dict({"version": 1, "network": {"architecture": architecture, "base": 64}})
    with pytest.raises(UndiffuseError, match=sentence):
        override(TrainConfig(), architecture=architecture)


def test_a_classifiers_network_is_a_u_net_whatever_its_run_was() -> None:
    network = {**to_dict(TrainConfig())["network"], "architecture": "rms-unet", "blocks": 1}
    config = from_dict({"version": 1, "recipe": CLASSIFIER, "network": network})
    assert config.network == UNetConfig(blocks=1)


def test_flat_names_are_those_of_all_architectures() -> None:
    assert {name for name, section in sections(TrainConfig).items() if section == "network"} == {
        field.name for cls in ARCHITECTURES.classes.values() for field in fields(cls)
    }
    flat = flatten(of("rms-unet", base=24))
    assert (flat["base"], flat["patch"], flat["blocks"]) == (24, 1, 2)
    assert list(fields_of(NetworkConfig)) == [field.name for field in fields(UNetConfig)]
    assert spelled_out(TrainConfig()) == to_dict(TrainConfig())
    assert spelled_out(of("rms-unet"))["network"] == {**to_dict(TrainConfig())["network"], "architecture": "rms-unet"}


def test_help_says_whose_a_setting_is() -> None:
    every = fields_of(NetworkConfig)
    assert every["patch"].text.endswith("at the end. (architecture unet)")
    assert every["blocks"].text.endswith("(architecture unet, ddpm++, ncsn++)")
    assert every["base"].text == "Channels at full resolution."
    assert every["architecture"].text.startswith("'unet' of Ho et al. 2020")
    assert every["architecture"].text.endswith("'ddpm++' or 'ncsn++' of score-based models, as EDM has them.")


def test_a_plug_ins_network_is_read_typed_and_built(registered: None) -> None:
    assert sections(TrainConfig)["tokens"] == "network"
    config = of("token-net", tokens=8)
    assert config.network == TokenConfig(8)
    assert from_yaml(to_yaml(config)) == config
    assert OptionReader("--architecture", fields_of(NetworkConfig)["architecture"].kind)("token-net") == "token-net"
    assert fields_of(NetworkConfig)["tokens"].text == "How many tokens. (architecture token-net)"
    with pytest.raises(UndiffuseError, match="`architecture=unet` has no `tokens`"):
        override(TrainConfig(), tokens=8)
    assert factory.NETWORKS[TokenConfig](1, 2) == (1, 2)


def test_too_large_a_plug_in_is_refused_by_its_own_settings(registered: None) -> None:
    with pytest.raises(UndiffuseError, match=r"over 17,179,869,184 weights: lower `tokens`$"):
        build_network(of("token-net", tokens=1 << 40), unknown_data("birds", (1, 8, 8)))


def test_names_that_are_taken_are_refused(registered: None) -> None:
    with pytest.raises(UndiffuseError, match="the architecture 'token-net' is there already"):
        register(TokenConfig, TokenConfig)

    @dataclass(frozen=True)
    class Wide(TokenConfig):
        lr: int = 3
        architecture: Literal["wide"] = "wide"  # type: ignore[assignment]

    with pytest.raises(UndiffuseError, match="'lr' is a setting already"):
        register(Wide, Wide)
    with pytest.raises(UndiffuseError, match="'quiet' is a setting already"):
        register(of_fields(quiet=(bool, False)), Wide)
    assert set(inspect.signature(train).parameters) - {"overrides"} <= set(factory.ARGUMENTS)

    class Either:
        """The parent of two."""

    @dataclass(frozen=True)
    class Other:
        kind: Literal["a"] = "a"
        size: int = 3

    @dataclass(frozen=True)
    class Another:
        kind: Literal["b"] = "b"
        size: int = 4

    union = Variants(Either, "kind")
    union.add(Other)
    with pytest.raises(UndiffuseError, match="'size' of Another should be a whole number, by default 3, as in Other"):
        union.add(Another)


def of_fields(**named: tuple[Any, Any]) -> type[NetworkConfig]:
    """A plug-in's options beside its name."""
    own = [(name, hint, default) for name, (hint, default) in named.items()]
    return make_dataclass("Own", own, bases=(TokenConfig,), frozen=True)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"architecture": (str, "own")}, "Own should be a frozen dataclass with a field `architecture`, a Literal of"),
        ({"architecture": (Literal["own"], "other")}, "with one of them as its default"),
        ({"architecture": (Literal["own"], "own"), "sides": (dict[str, int], None)}, "None beside one; dict"),
        ({"architecture": (Literal["own"], "own"), "tokens": (int, MISSING)}, "'tokens' of Own needs a default"),
    ],
)
def test_options_that_no_file_could_hold_are_refused(
    registered: None, named: dict[str, tuple[Any, Any]], sentence: str
) -> None:
    known = dict(ARCHITECTURES.classes)
    with pytest.raises(UndiffuseError, match=sentence):
        register(of_fields(**named), lambda *given: given)
    assert ARCHITECTURES.classes == known


def test_options_that_were_typed_at_a_console_have_no_help_and_are_read_all_the_same(registered: None) -> None:
    typed = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
from undiffuse.config.network import UNetConfig

@dataclass(frozen=True)
class Typed(UNetConfig):
    sides: int = 3
    'Lost.'
    architecture: Literal["typed"] = "typed"
"""
    console = ModuleType("console")
    sys.modules[console.__name__] = console
    try:
        exec(typed, vars(console))
        register(console.Typed, lambda *given: given)
        assert of("typed", sides=4).network == console.Typed(sides=4)
        assert fields_of(NetworkConfig)["sides"].text == "(architecture typed)"
    finally:
        del sys.modules[console.__name__]


@pytest.mark.parametrize("kind", ARCHITECTURES.classes)
def test_weights_are_counted_without_building_them_to_a_factor_of_three(kind: str) -> None:
    config = of(kind, base=32, multipliers=(1, 2, 2), attention_levels=())
    network = build_network(config, unknown_data("birds", (3, 8, 8)))
    built = sum(parameter.numel() for parameter in network.parameters())
    assert 1 / 3 < config.network.count_weights(3, 2) / built < 3
