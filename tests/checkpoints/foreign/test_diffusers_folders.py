"""Folders of diffusers: their layouts, the processes they describe, and what is refused."""

from __future__ import annotations

import importlib.util
import inspect
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from undiffuse.checkpoints.foreign.diffusers import scheduler
from undiffuse.checkpoints.foreign.diffusers.folder import read_folder
from undiffuse.checkpoints.foreign.diffusers.scheduler import process, scheduler_values
from undiffuse.checkpoints.foreign.settings import Settings
from undiffuse.checkpoints.saved_model import unknown_data
from undiffuse.config.diffusion import DiffusionConfig
from undiffuse.config.files import override
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import UndiffuseError
from undiffuse.export import convert
from undiffuse.factories.schedule import make_schedule
from undiffuse.model import build_model, load

_spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("folders.py"))
folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(folders)
GOOGLE, random_unet, saved, diffusers = folders.GOOGLE, folders.random_unet, folders.saved, folders.diffusers
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A saved pipeline; tests work on a copy."""
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_large", clip_sample=False)
    return saved(tmp_path_factory.mktemp("pristine") / "pipeline", random_unet(**GOOGLE), scheduler)


@pytest.fixture
def pipeline(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "pipeline"))


def edit(file, **changes):
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps(values))


def weights_of(path):
    return load(path).network.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_the_flat_layout_of_the_google_repositories_is_read(pipeline):
    expected = weights_of(pipeline)
    for file in (*(pipeline / "unet").iterdir(), pipeline / "scheduler" / "scheduler_config.json"):
        shutil.move(file, pipeline / file.name)
    shutil.rmtree(pipeline / "unet")
    shutil.rmtree(pipeline / "scheduler")
    assert same(weights_of(pipeline), expected)
    (pipeline / "model_index.json").unlink()
    assert same(weights_of(pipeline), expected)


def test_names_of_attention_from_before_diffusers_0_15_are_read(pipeline):
    expected, file = weights_of(pipeline), pipeline / "unet" / WEIGHTS
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(file).items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        tensors[name] = tensor
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, file)
    assert same(weights_of(pipeline), expected)


def test_pickled_weights_are_read_as_tensors_alone(pipeline):
    expected, file = weights_of(pipeline), pipeline / "unet" / WEIGHTS
    torch.save(load_file(file), pipeline / "unet" / "diffusion_pytorch_model.bin")
    file.unlink()
    assert same(weights_of(pipeline), expected)


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(pipeline, tmp_path, new):
    file = pipeline / "unet" / WEIGHTS
    tensors = {**load_file(file), "bomb": Canary(tmp_path / "canary")}
    torch.save(tensors, file.with_suffix(".bin"), _use_new_zipfile_serialization=new)
    file.unlink()
    with pytest.raises(UndiffuseError, match=r"safetensors\.torch\.save_file"):
        load(pipeline)
    assert not (tmp_path / "canary").exists()


def test_half_precision_is_read_as_float32(pipeline):
    file = pipeline / "unet" / WEIGHTS
    halves = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(halves, file)
    found = weights_of(pipeline)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert torch.equal(found["stem.weight"], halves["conv_in.weight"].float())


def test_a_model_knows_where_it_is_from_and_how_its_scheduler_samples(pipeline):
    model = load(pipeline)
    assert model.provenance["checkpoint"] == str(pipeline)
    assert model.provenance["sampling"] == {
        "sampler": "ddpm",
        "spacing": "leading",
        "variance": "large",
        "threshold": "none",
    }
    assert model.sample(1, micro_batch=1, **{**model.provenance["sampling"], "steps": 2}).array.shape == (1, 3, 16, 16)
    assert (model.info.name, model.info.shape, model.info.dtype) == ("pipeline", (3, 16, 16), "uint8")


def test_undiffuse_json_is_believed_only_where_the_other_files_agree(tmp_path):
    told = unknown_data("birds", (1, 8, 8), ("robin", "wren"))
    network = UNetConfig(base=8, multipliers=(1, 2), blocks=1, attention_levels=(), norm_groups=4)
    config = override(TrainConfig(network=network), condition=("class",), lr=0.5)
    convert(build_model(config, told), tmp_path / "out", "diffusers")
    model = load(tmp_path / "out")
    assert (model.config, model.info) == (config, told)
    edit(tmp_path / "out/scheduler/scheduler_config.json", beta_schedule="squaredcos_cap_v2")
    model = load(tmp_path / "out")
    assert (model.config.diffusion.schedule, model.config.optimizer.lr, model.info) == ("cosine", 0.5, told)
    edit(tmp_path / "out/unet/config.json", sample_size=16)
    model = load(tmp_path / "out")
    assert model.info.shape == (1, 16, 16)
    assert model.info.classes == ("0", "1", "2")  # every row of theirs is a class: nobody says that one is none


# --- processes --------------------------------------------------------------------------------------------------------

RAMP = [0.001 * (i + 1) for i in range(50)]
CHAINS = {
    "linear": {},
    "short": {"num_train_timesteps": 20, "beta_end": 0.2},
    "scaled": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    "sigmoid": {"beta_schedule": "sigmoid", "beta_end": 0.01},
    "given": {"trained_betas": RAMP, "num_train_timesteps": len(RAMP)},
    "zero-snr": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "given-zero-snr": {
        "trained_betas": RAMP,
        "num_train_timesteps": len(RAMP),
        "rescale_betas_zero_snr": True,
        "prediction_type": "sample",
    },
}


def read_scheduler(scheduler):
    values = {"_class_name": type(scheduler).__name__, **scheduler.config}
    return process(Settings(json.loads(json.dumps(values)), Path("scheduler_config.json")), learn_variance=False)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_scheduler_of_theirs_is_the_same_chain_here(chain):
    theirs = diffusers.DDPMScheduler(**CHAINS[chain])
    ours = make_schedule(read_scheduler(theirs))
    # float32 cumulative products against float64.
    torch.testing.assert_close(ours.alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "scaled-linear", "quadratic", "cosine", "sigmoid"])
@pytest.mark.parametrize("settings", [{}, {"timesteps": 50}, {"zero_terminal_snr": True, "parameterization": "v"}])
def test_a_chain_of_ours_is_the_same_there_and_back(name, settings):
    config = DiffusionConfig(schedule=name, **settings)
    values = json.loads(json.dumps(scheduler_values(config)))
    theirs = diffusers.DDPMScheduler(**{k: v for k, v in values.items() if not k.startswith("_")})
    alpha_bar = make_schedule(config).alpha_bar
    torch.testing.assert_close(alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-6)
    back = make_schedule(process(Settings(values, Path("scheduler_config.json")), learn_variance=False))
    torch.testing.assert_close(back.alpha_bar, alpha_bar, rtol=1e-12, atol=1e-15)


KINDS = (
    "DDIM PNDM LMSDiscrete EulerDiscrete EulerAncestralDiscrete HeunDiscrete KDPM2Discrete DEISMultistep "
    "DPMSolverMultistep DPMSolverSinglestep UniPCMultistep"
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, of numpy
@pytest.mark.parametrize("kind", KINDS.split())
def test_every_scheduler_over_betas_has_its_process(kind):
    scheduler = getattr(diffusers, f"{kind}Scheduler")(beta_start=0.001, beta_end=0.01, num_train_timesteps=500)
    found = read_scheduler(scheduler)
    torch.testing.assert_close(make_schedule(found).alpha_bar[1:].float(), scheduler.alphas_cumprod, rtol=1e-4, atol=0)


# --- refused ----------------------------------------------------------------------------------------------------------

REFUSED_NETWORKS = {
    "fourier": ({"time_embedding_type": "fourier"}, "'positional'"),
    "skip blocks": ({"down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"]}, "down_block_types"),
    "mish": ({"act_fn": "mish"}, "'silu'"),
    "scaled middle": ({"mid_block_scale_factor": 1.414}, "mid_block_scale_factor"),
    "widths": ({"block_out_channels": [16, 40]}, "multiples of its first"),
    "embedding": ({"time_embedding_dim": 128}, "time_embedding_dim"),
    "identity": ({"class_embed_type": "identity"}, "class_embed_type"),
    "no size": ({"sample_size": None}, "the side of the images"),
    "text": ({"_class_name": "UNet2DConditionModel"}, "UNet2DModel"),
    "in and out": ({"in_channels": 6}, "out_channels"),
    "learned": ({"out_channels": 6}, "learned_range"),
    "heads": ({"attention_head_dim": 5}, "head width 5"),
    "groups": ({"norm_num_groups": 5}, "5 groups"),
    "other groups": ({"attn_norm_num_groups": 4}, "attn_norm_num_groups"),
    "levels": ({"up_block_types": ["UpBlock2D"]}, "one for each"),
    "huge image": ({"sample_size": 10**9}, "sample_size"),
    "huge width": ({"block_out_channels": [10**9, 10**9]}, "block_out_channels"),
    "huge depth": ({"layers_per_block": 10**9}, "layers_per_block"),
    "huge table": ({"num_class_embeds": 10**9}, "num_class_embeds"),
    "wider than its weights": ({"block_out_channels": [64, 128]}, "shape"),
    "beyond floats": ({"norm_eps": 10**400}, "norm_eps"),
    "deeper than its weights": ({"layers_per_block": 3}, "lacks"),
}


@pytest.mark.parametrize("case", REFUSED_NETWORKS)
def test_a_network_that_is_none_of_ours_is_refused_in_a_sentence(pipeline, case):
    changes, words = REFUSED_NETWORKS[case]
    edit(pipeline / "unet" / "config.json", **changes)
    with pytest.raises(UndiffuseError, match=words):
        load(pipeline)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "DDPMScheduler"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
        ({"beta_schedule": "laplace"}, "beta_schedule"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ({"trained_betas": [0.1, 0.2]}, "1000 numbers"),
        ({"trained_betas": [2.0] * 1000}, "betas"),
        ({"rescale_betas_zero_snr": True}, "v_prediction"),
        ({"variance_type": "learned_range"}, "variance_type"),
    ],
)
def test_a_process_that_is_none_of_ours_is_refused_in_a_sentence(pipeline, changes, words):
    edit(pipeline / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(UndiffuseError, match=words):
        load(pipeline)


def test_what_is_missing_or_too_much_in_the_weights_is_named(pipeline):
    file = pipeline / "unet" / WEIGHTS
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if name != "conv_in.bias"}, file)
    with pytest.raises(UndiffuseError, match=r"lacks 'conv_in\.bias'"):
        load(pipeline)
    save_file({**tensors, "extra.weight": torch.zeros(1)}, file)
    with pytest.raises(UndiffuseError, match=r"has a 'extra\.weight'"):
        load(pipeline)
    save_file({**tensors, "conv_in.bias": torch.zeros(16, dtype=torch.int64)}, file)
    with pytest.raises(UndiffuseError, match="floats"):
        load(pipeline)
    file.unlink()
    with pytest.raises(UndiffuseError, match="save_pretrained"):
        load(pipeline)


def test_pipelines_of_more_parts_and_networks_without_a_process_are_refused(pipeline):
    edit(pipeline / "model_index.json", vqvae=["diffusers", "VQModel"])
    with pytest.raises(UndiffuseError, match="'vqvae'"):
        load(pipeline)
    with pytest.raises(UndiffuseError, match="what noise"):
        load(pipeline / "unet")


HOSTILE = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**9,
    10**30,
    1e308,
    -0.5,
    "",
    "x" * 99,
    [],
    {},
    [0],
    [10**9] * 2,
    [[1]],
    ["DownBlock2D"],
]


def sentence(path):
    """What is said of a folder; nothing where it is read."""
    try:
        read_folder(path)  # what `load` does before it builds the network
    except UndiffuseError as error:
        return str(error)
    return ""


def test_three_hundred_hostile_settings_give_a_sentence_or_the_network(pipeline):
    files = [pipeline / "unet" / "config.json", pipeline / "scheduler" / "scheduler_config.json"]
    pristine = [json.loads(file.read_text()) for file in files]
    dice = random.Random(0)
    said = []
    for _ in range(300):
        for file, values in zip(files, pristine, strict=True):
            names = dice.sample(sorted(values), dice.randint(0, 2))
            file.write_text(json.dumps({**values, **{name: dice.choice(HOSTILE) for name in names}}))
        said.append(sentence(pipeline))
    assert sum(bool(words) for words in said) > 150
    assert not any("\n" in words or len(words) > 600 for words in said)


def test_hostile_files_give_our_own_error(pipeline):
    contents = [b"", b"{", b"[]", b"null", b'{"a": 1, "a": 2}', b"\xff\xfe", b"[" * 100_000, b'{"_class_name": 1}']
    for file in (pipeline / "model_index.json", pipeline / "unet/config.json", pipeline / "undiffuse.json"):
        before = file.read_bytes() if file.exists() else None
        for content in contents:
            file.write_bytes(content)
            assert sentence(pipeline) or file.name == "model_index.json"  # of which nothing is needed
        file.write_bytes(before) if before is not None else file.unlink()


def test_mutated_headers_of_weights_give_a_sentence_or_the_network(pipeline):
    weights = pipeline / "unet" / WEIGHTS
    good, dice = weights.read_bytes(), random.Random(0)
    length = int.from_bytes(good[:8], "little")
    said = []
    for _ in range(60):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(8 + length)] = dice.randrange(256)
        weights.write_bytes(bytes(data[: dice.choice([len(data), 100, 7])]))
        said.append(sentence(pipeline))
    assert sum(bool(words) for words in said) > 40


# --- what cannot be written -------------------------------------------------------------------------------------------

SMALL = {"base": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "norm_groups": 4}


def test_a_continuous_process_is_refused_with_all_reasons_and_nothing_is_written(tmp_path):
    settings = {**SMALL, "schedule": "vp", "patch": 2, "norm_groups": None}
    model = build_model(override(TrainConfig(), **settings), unknown_data("x", (1, 8, 8)))
    with pytest.raises(UndiffuseError, match=r"patches of 2 x 2.*numbers? of groups.*continuous"):
        convert(model, tmp_path / "out", "diffusers")
    assert list(tmp_path.iterdir()) == []


def test_data_of_one_dimension_are_refused(tmp_path):
    model = build_model(override(TrainConfig(), **SMALL), unknown_data("x", (1, 8)))
    with pytest.raises(UndiffuseError, match="1 dimensions"):
        convert(model, tmp_path / "out", "diffusers")


@pytest.mark.parametrize(
    ("changes", "taken", "unsaid"),
    [
        ({"clip_sample": True}, {"threshold": "clip"}, []),
        ({"clip_sample_range": 3.0, "clip_sample": True}, {"threshold": "clip"}, ["clip_sample_range = 3.0"]),
        ({"clip_sample_range": 3.0, "clip_sample": False}, {"threshold": "none"}, []),
        ({"thresholding": True, "dynamic_thresholding_ratio": 0.9}, {}, ["dynamic_thresholding_ratio = 0.9"]),
        ({"dynamic_thresholding_ratio": 0.9}, {}, []),
        ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, {"spacing": "karras"}, []),
        ({"_class_name": "EulerDiscreteScheduler", "sigma_max": 9.0}, {}, ["sigma_max = 9.0"]),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_lu_lambdas": True}, {"spacing": "log-snr"}, []),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, {"sampler": "dpm++3m"}, []),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "solver_order": 2},
            {"sampler": "dpm++2m-sde"},
            [],
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver"},
            {"sampler": "dpm++2m"},
            ["algorithm_type = 'sde-dpmsolver'"],
        ),
        ({"_class_name": "UniPCMultistepScheduler", "solver_order": 5}, {"sampler": "unipc2"}, ["solver_order = 5"]),
        ({"steps_offset": 1, "solver_type": ["x"]}, {}, ["solver_type = ['x']", "steps_offset = 1"]),
    ],
)
def test_what_a_scheduler_says_of_sampling_is_taken_over_or_said_to_be_left_out(pipeline, changes, taken, unsaid):
    edit(pipeline / "scheduler" / "scheduler_config.json", **changes)
    provenance = load(pipeline).provenance
    assert taken.items() <= provenance["sampling"].items()
    assert provenance.get("sampling_left_out", []) == unsaid


def test_the_schedulers_of_diffusers_say_nothing_more_than_is_known():
    known = {*scheduler.NEUTRAL, *scheduler.CURVED, "thresholding", "clip_sample", "variance_type", "timestep_spacing"}
    known |= {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type"}
    known |= {"rescale_betas_zero_snr", "use_flow_sigmas", "solver_order", "algorithm_type"}
    known |= {"skip_prk_steps", "lower_order_final", "solver_p", "time_shift_type"}  # how steps start and end
    for name in scheduler.SAMPLERS:
        made = getattr(diffusers, name, None)
        if isinstance(made, type) and made.__module__.startswith("diffusers.schedulers.scheduling"):
            fields = set(inspect.signature(made.__init__).parameters) - {"self", "args", "kwargs"}
            assert fields <= known, name
