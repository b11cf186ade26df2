"""scheduler_config.json as a process, and back.

The schedulers of diffusers are samplers and processes in one. The process, betas and what is predicted, is the model's
and becomes a `DiffusionConfig`; the rest says how somebody sampled, and is handed on as settings for ``model.sample``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from undiffuse.checkpoints.foreign.settings import Settings
from undiffuse.config.diffusion import DiffusionConfig, ParameterizationName, ScheduleName
from undiffuse.diffusion.samplers import SAMPLERS as KNOWN
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule

TIMESTEPS = 100_000
"""The longest chain that is read."""

SAMPLERS = {
    "DDPMScheduler": "ddpm",
    "DDPMParallelScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "DDIMParallelScheduler": "ddim",
    "PNDMScheduler": "plms",
    "LMSDiscreteScheduler": "lms",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-ancestral",
    "HeunDiscreteScheduler": "heun",
    "KDPM2DiscreteScheduler": "dpm2s",
    "DEISMultistepScheduler": "deis2",
    "DPMSolverMultistepScheduler": "dpm++2m",
    "DPMSolverSinglestepScheduler": "dpm++2s",
    "DPMSolverSDEScheduler": "dpm++2m-sde",
    "UniPCMultistepScheduler": "unipc2",
}
"""Schedulers over a chain of betas, and the sampler of ours that is nearest to each."""

CURVES: dict[str, ScheduleName] = {
    "linear": "linear",
    "scaled_linear": "scaled-linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}
OF_ENDS: dict[ScheduleName, tuple[str, float, float]] = {
    "linear": ("linear", 1e-4, 0.02),
    "scaled-linear": ("scaled_linear", 0.00085, 0.012),
    "quadratic": ("scaled_linear", 1e-4, 0.02),
    "sigmoid": ("sigmoid", 1e-4, 0.02),
}
"""Our curves between a first and a last beta: their name, and the ends that they have by default at T = 1000."""
PREDICTIONS: dict[str, ParameterizationName] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
VARIANCES = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "fixed_large_log": "large"}
LEARNED = "learned_range"
SPACINGS = ("leading", "trailing", "linspace")
CURVED = {"use_karras_sigmas": "karras", "use_lu_lambdas": "log-snr"}
"""Flags of their own for spacings of ours."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "clip_sample_range": (1,),
    "dynamic_thresholding_ratio": (0.995,),
    "sample_max_value": (1,),
    "use_exponential_sigmas": (False,),
    "use_beta_sigmas": (False,),
    "sigma_min": (),
    "sigma_max": (),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "final_sigmas_type": ("zero",),
    "solver_type": ("midpoint", "logrho", "bh2"),
    "euler_at_final": (False,),
    "lambda_min_clipped": (-math.inf,),
    "predict_x0": (True,),
    "disable_corrector": ([],),
    "flow_shift": (1,),
    "use_dynamic_shifting": (False,),
    "shift_terminal": (),
    "set_alpha_to_one": (True, False),  # whether the last step ends at the data or a thousandth before
    "steps_offset": (0,),
    "noise_sampler_seed": (),
}
"""Settings of sampling that ours have no name for, and the values at which theirs do what ours do."""
OF_DYNAMIC, OF_CLIPPING = ("dynamic_thresholding_ratio", "sample_max_value"), ("clip_sample_range",)
OURS = frozenset(KNOWN)


def process(settings: Settings, learn_variance: bool) -> DiffusionConfig:
    """The process and the prediction that the file describes."""
    if settings.values.get("_class_name") not in list(SAMPLERS):  # by ==: it may be anything
        raise settings.wrong("_class_name", "a scheduler over a chain of betas, such as 'DDPMScheduler',")
    if settings.flag("use_flow_sigmas", False):
        raise settings.wrong("use_flow_sigmas", "false, a chain of betas,")
    if (settings.values.get("variance_type") == LEARNED) != learn_variance:
        expected = f"'{LEARNED}', as the network has twice the channels out," if learn_variance else "a fixed one"
        raise settings.wrong("variance_type", expected)
    prediction = settings.text("prediction_type", "epsilon", tuple(PREDICTIONS))
    found = DiffusionConfig(
        **_betas(settings),
        zero_terminal_snr=settings.flag("rescale_betas_zero_snr", False),
        parameterization=PREDICTIONS[prediction],
        learn_variance=learn_variance,
    )
    schedule = make_schedule(found)
    if found.zero_terminal_snr and found.parameterization == "epsilon":
        raise settings.wrong("prediction_type", "'v_prediction' or 'sample' on a chain that ends in pure noise")
    assert isinstance(schedule, DiscreteSchedule)
    return found


def _betas(settings: Settings) -> dict[str, Any]:
    T = settings.whole("num_train_timesteps", 1000, 2, TIMESTEPS)
    if "trained_betas" in settings:
        betas = settings.numbers("trained_betas", TIMESTEPS)
        if len(betas) != T:
            raise settings.wrong("trained_betas", f"{T} numbers, as num_train_timesteps says,")
        return {"timesteps": T, "betas": betas}
    curve = CURVES[settings.text("beta_schedule", "linear", tuple(CURVES))]
    if curve == "cosine":
        return {"timesteps": T, "schedule": curve}
    ends = (settings.number("beta_start", 1e-4, 1e-12, 1.0), settings.number("beta_end", 0.02, 1e-12, 1.0))
    if T == 1000 and ends == OF_ENDS[curve][1:]:
        return {"timesteps": T, "schedule": curve}
    return {"timesteps": T, "schedule": curve, "beta_start": ends[0], "beta_end": ends[1]}


def sampling(settings: Settings) -> dict[str, str]:
    """The scheduler's way to sample as settings for ``model.sample``, as far as ours have a name for it."""
    found = {"sampler": _sampler(settings)}
    spacing, variance = settings.values.get("timestep_spacing"), settings.values.get("variance_type")
    if spacing in SPACINGS:
        found["spacing"] = str(spacing)
    for name, ours in CURVED.items():
        if settings.values.get(name) is True:
            found["spacing"] = ours
    if found["sampler"] == "ddpm" and variance is not None:
        found["variance"] = "learned" if variance == LEARNED else VARIANCES.get(str(variance), "small")
    if settings.flag("thresholding", False):
        return {**found, "threshold": "dynamic"}
    return {**found, "threshold": "clip" if _clips(settings) else "none"}


def _sampler(settings: Settings) -> str:
    """The sampler of ours that is nearest, of the order and the kind that the file says, where we have that one."""
    name = SAMPLERS[str(settings.values["_class_name"])]
    order, kind = settings.values.get("solver_order"), settings.values.get("algorithm_type")
    if order in (1, 2, 3) and name.endswith(("deis2", "unipc2", "dpm++2m", "dpm++2s")):
        name = name.replace("2", str(order))
    if kind in ("dpmsolver", "sde-dpmsolver", "sde-dpmsolver++") and name.startswith("dpm++"):
        name = name.replace("++", "") if kind == "dpmsolver" else f"{name}-sde" if kind == "sde-dpmsolver++" else name
    return name if name in OURS else SAMPLERS[str(settings.values["_class_name"])]


def _clips(settings: Settings) -> bool:
    return settings.flag("clip_sample", SAMPLERS[str(settings.values["_class_name"])] in ("ddpm", "ddim"))


def left_out(settings: Settings) -> list[str]:
    """Settings of sampling in the file that our samplers do not have: ``name = value``."""
    found = []
    name, dynamic = _sampler(settings), settings.flag("thresholding", False)
    for field, neutral in NEUTRAL.items():
        value = settings.values.get(field)
        idle = (field in OF_DYNAMIC and not dynamic) or (field in OF_CLIPPING and (dynamic or not _clips(settings)))
        if value is not None and not idle and value not in neutral:
            found.append(f"{field} = {value!r:.40}")
    order, kind = settings.values.get("solver_order"), settings.values.get("algorithm_type")
    steps = name.endswith(("m", "s", "sde")) or name.startswith(("deis", "unipc"))  # of several orders
    if order is not None and steps and str(order) not in name:
        found.append(f"solver_order = {order!r:.40}")
    said = {"dpmsolver++": "++", "dpmsolver": "dpm", "sde-dpmsolver++": "-sde", "deis": "deis"}
    if kind is not None and steps and (not isinstance(kind, str) or said.get(kind, "?") not in name):
        found.append(f"algorithm_type = {kind!r:.40}")
    return found


def is_chain(config: DiffusionConfig) -> bool:
    return bool(config.betas) or isinstance(make_schedule(config), DiscreteSchedule)


def obstacles(config: DiffusionConfig) -> list[str]:
    """All that diffusers' DDPMScheduler does not have of a process of ours, each with what to train instead."""
    found = []
    if config.parameterization not in PREDICTIONS.values():
        found.append(
            f"it knows predictions of noise, image and v, and this model predicts '{config.parameterization}' "
            "(`parameterization=epsilon`, x0 or v)"
        )
    if not is_chain(config):
        found.append(f"it is a chain of betas, and '{config.schedule}' is continuous (`schedule=linear` or cosine)")
    if config.time_input != "index":
        found.append(
            f"it tells its networks the timestep's number, and this one was told '{config.time_input}' "
            "(`time_input=index`)"
        )
    return found


def scheduler_values(config: DiffusionConfig) -> dict[str, Any]:
    """The file of a DDPMScheduler for a process of ours."""
    if found := obstacles(config):
        raise UndiffuseError(f"diffusers' DDPMScheduler cannot be this process: {'; '.join(found)}")
    names = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.35.0",
        "num_train_timesteps": config.timesteps,
        **_beta_values(config),
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "prediction_type": names[config.parameterization],
        "variance_type": LEARNED if config.learn_variance else "fixed_small",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "timestep_spacing": "trailing",
    }


def _beta_values(config: DiffusionConfig) -> dict[str, Any]:
    if not config.betas and config.schedule == "cosine":
        return {"beta_schedule": "squaredcos_cap_v2", "trained_betas": None}
    of_ends = config.schedule in OF_ENDS and (config.beta_start is not None or config.timesteps == 1000)
    if not config.betas and of_ends:
        name, start, end = OF_ENDS[config.schedule]
        ends = (start, end) if config.beta_start is None else (config.beta_start, config.beta_end)
        return {"beta_schedule": name, "beta_start": ends[0], "beta_end": ends[1], "trained_betas": None}

    chain = make_schedule(replace(config, zero_terminal_snr=False))
    assert isinstance(chain, DiscreteSchedule)
    return {"beta_schedule": "linear", "trained_betas": list(config.betas) or chain.betas.tolist()}
