"""Models that none of diffusers' own classes can hold run there by the code that is written beside them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch

from undiffuse.checkpoints.foreign.diffusers import own_network_folder
from undiffuse.checkpoints.foreign.diffusers.folder import obstacles
from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.diffusion.trajectory import Noise
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.model import build_model, load

diffusers = pytest.importorskip("diffusers", reason="loads with diffusers, which is not installed")

SMALL = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "norm_groups": 4, "timesteps": 50}
CASES = {
    "patches": ({"patch": 2}, "patches of 2 x 2"),
    "groups": ({"norm_groups": None}, "`norm_groups=2`"),
    "edm": ({"parameterization": "edm"}, "predicts 'edm'"),
    "flow": ({"parameterization": "flow"}, "predicts 'flow'"),
    "log-snr": ({"time_input": "log-snr"}, "`time_input=index`"),
    "size": ({"multipliers": (1, 1, 1, 1, 1)}, "cannot be halved 4 times"),
    "wide first level": ({"multipliers": (2, 2)}, "first level"),
    "heads": ({"heads": 2, "attention_levels": (0, 1)}, "`head_width`"),
    "resampling": (
        {"attention_levels": (0, 1), "multipliers": (1, 1, 1), "residual_down_levels": (0,)},
        "`resample`",
    ),
    "much at once": (
        {
            "patch": 2,
            "scale_shift": True,
            "resample": "residual",
            "embedding": "adm",
            "attention_levels": (1,),
            "up_attention_levels": (0,),
            "middle_attention_norm": False,
            "center_input": True,
            "time_width": 12,
            "downsample_padding": "both",
            "norm_groups": None,
            "learn_variance": True,
            "parameterization": "flow",
            "condition": ("class",),
            "time_input": "scaled-index",
            "head_width": 4,
            "norm_eps": 1e-4,
        },
        "as many sinusoids",
    ),
    "no middle": ({"patch": 2, "middle": False}, "patches"),
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Where diffusers copies code that it is told to trust."""
    place = tmp_path / "modules"
    place.mkdir()
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(place))
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    yield
    for name in [name for name in sys.modules if name.startswith("diffusers_modules")]:
        del sys.modules[name]


def random_model(**settings):
    torch.manual_seed(0)
    info = unknown_data("x", (3, 10, 6), ("a", "b") if "condition" in settings else ())
    model = build_model(override(TrainConfig(), **{**SMALL, **settings}), info)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.network.eval()
    return model


def opened(folder: Path):
    return diffusers.DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("case", CASES)
def test_the_code_beside_a_model_computes_what_the_model_does(case, tmp_path):
    settings, words = CASES[case]
    model = random_model(**settings)
    said = convert(model, tmp_path / "out", "diffusers")
    assert words in "\n".join(said)
    pipeline = opened(tmp_path / "out")
    generator = torch.Generator().manual_seed(1)
    x, index = torch.randn(3, 3, 10, 6, generator=generator), torch.tensor([0, 20, 49])
    labels = torch.tensor([1, 0, 2]) if model.conditions else None
    told = {} if labels is None else {"label": labels}
    with torch.no_grad():
        wanted = model.denoiser(x, index + 1.0, **told)
        found = pipeline.unet(x, index, labels).sample
    kind = pipeline.scheduler.config.prediction_type
    mean = {"epsilon": wanted.eps, "sample": wanted.x0}[kind]
    torch.testing.assert_close(found[:, :3], mean, atol=2e-4, rtol=2e-4)
    if model.config.diffusion.learn_variance:
        torch.testing.assert_close((found[:, 3:] + 1) / 2, wanted.variance_fraction, atol=1e-4, rtol=1e-4)
    back = load(tmp_path / "out")
    assert back.config == model.config
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, back.network.state_dict()[name])


@pytest.mark.usefixtures("modules")
def test_the_shipped_digits_draw_the_same_digits_in_diffusers(tmp_path):
    model = load("digits")
    said = convert(model, tmp_path / "digits", "diffusers")
    assert "patches" in said[2]
    assert "groups" in said[2]  # all reasons at once
    pipeline = opened(tmp_path / "digits")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    drawn = model.sample(3, sampler="ddim", steps=10, classes=("seven", "one", "four"), guidance=2.0, micro_batch=3)
    noise = Noise(0, range(3)).normal(model.info.shape)
    found = pipeline(
        class_labels=[7, 1, 4], guidance_scale=2.0, latents=noise, num_inference_steps=10, output_type="pt"
    ).images
    assert (found * 255 - torch.from_numpy(drawn.array).float()).abs().max() < 1


def test_the_code_needs_nothing_but_torch_and_diffusers():
    for text in own_network_folder.code().values():
        names = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert names - set(sys.stdlib_module_names) <= {"torch", "diffusers"}


def test_a_folder_with_code_is_read_without_running_it(tmp_path):
    model = random_model(patch=2)
    convert(model, tmp_path / "out", "diffusers")
    for name in own_network_folder.CODE:
        (tmp_path / "out" / name).write_text("raise SystemExit('ran')")
    assert load(tmp_path / "out").config == model.config
    (tmp_path / "out" / "undiffuse.json").unlink()
    with pytest.raises(UndiffuseError, match=r"no undiffuse\.json"):
        load(tmp_path / "out")


def test_a_network_that_diffusers_has_needs_no_code(tmp_path):
    model = random_model()
    assert obstacles(model.config, unknown_data("x", (3, 8, 8))) == []
    model.info = unknown_data("x", (3, 8, 8))
    convert(model, tmp_path / "out", "diffusers")
    assert not list((tmp_path / "out").rglob("*.py"))
