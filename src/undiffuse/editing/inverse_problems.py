"""Pictures that are known in part: low resolution, no colour, blur; holes and borders are `inpainting`.

Each is a linear measurement y = A x (`linear_operators`) and a method that makes the model's pictures explain it:

    replace   noised known pixels in place of x_t's                       masks only
    repaint   the same, going back and forth                              masks only
    ddnm      the prediction projected onto the pictures that explain y   no gradients: one evaluation a step
    pigdm     a gradient through the network, weighted by A's inverse     about twice an evaluation's time a step
    dps       a gradient through the network, of fixed length             likewise; hundreds of steps

`editing.defaults.ADVISED` has the sampler and steps for each. At the end of all of them the picture is projected
once more where y is exact: known pixels come out as they went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.guidance import DDNM, DPS, THRESHOLDS, LinearMeasurement, PiGDM, Tiled
from undiffuse.diffusion.linear_operators import LUMA, Blur, Downsample, Gray, LinearOperator, Mask
from undiffuse.diffusion.trajectory import start, trajectory
from undiffuse.editing.defaults import ROUNDING, Method, check_result
from undiffuse.editing.editor import Editor, MicroBatch, Pictures
from undiffuse.editing.options import DeblurOptions, RestoreOptions, unheeded
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.model.sample_request import warn
from undiffuse.model.student_request import check_denoises


@in_one_sentence
def restore(
    editor: Editor,
    operator: LinearOperator,
    y: Float[Tensor, "count measured_channels *measured"],
    shape: Sequence[int],
    *,
    method: Method = RestoreOptions.method,
    noise: float = 0.0,
    scale: float = RestoreOptions.scale,
) -> Pictures:
    """Pictures of the model that explain measurements by one operator; see `diffusion.guidance.inverse_problems`.

    Args:
        operator: A, the same for all pictures.
        y: in model space.
        shape: of a picture, (channels, *spatial).
        method: see the head of this file.
        noise: standard deviation of y's noise in model space; 0 for exact measurements, which are met exactly.
        scale: of the gradient, for pigdm (1 is Bayes' rule) and dps (0.3 to 1 in the paper).
    """
    warn(unheeded(RestoreOptions(method=method, scale=scale)))

    def observe(batch: MicroBatch) -> LinearMeasurement:
        return LinearMeasurement(operator, batch.of(y), noise)

    return guided_walk(editor, len(y), shape, observe, method, scale)


def guided_walk(
    editor: Editor,
    count: int,
    shape: Sequence[int],
    observe: Callable[[MicroBatch], LinearMeasurement],
    method: str,
    scale: float,
) -> Pictures:
    """The ends of walks whose denoiser is guided by measurements.

    Args:
        observe: the measurement of a micro-batch.
    """
    check_denoises(editor.model.config, f"`method={method}`")
    plan = editor.plan

    def guided(denoiser: Denoiser, observation: LinearMeasurement) -> Denoiser:
        mask = observation.operator.known if isinstance(observation.operator, Mask) else None
        if isinstance(denoiser, Tiled) and mask is not None:
            replaced = method == "ddnm" and observation.noise == 0  # what is known takes nothing of the prediction
            denoiser = replace(denoiser, settled=mask) if replaced else replace(denoiser, watched=mask)
        if method == "ddnm":
            return DDNM(denoiser, observation)
        if method == "dps":
            return DPS(denoiser, observation, plan.times, scale)
        # Its corrections are long where the network's slope is steep, and unclipped they carry x_t out of all it knows.
        return THRESHOLDS[plan.settings.guide.threshold](PiGDM(denoiser, observation, scale))

    def work(batch: MicroBatch) -> Tensor:
        observation = observe(batch)
        around = guided(editor.denoiser(batch.indices), observation)
        walk = trajectory(around, plan.sampler, plan.times, start(around, shape, batch.noise), batch.noise)
        x = batch.last(walk)
        return x if observation.noise else observation.projected(x)

    faster = "fewer `steps` take less" if method == "ddnm" else "fewer `steps`, or `method=ddnm`, take less"
    return editor.run(count, plan.steps, work, faster)


@in_one_sentence
def upscale(
    editor: Editor,
    y: Pictures,
    factor: int,
    *,
    method: Method = RestoreOptions.method,
    scale: float = RestoreOptions.scale,
) -> Pictures:
    """Pictures ``factor`` times as large, whose block means are y, by a model that never learned to enlarge."""
    shape = (y.shape[1], *(side * factor for side in y.shape[2:]))
    check_result(shape[1:])
    return restore(editor, Downsample(factor), y, shape, method=method, scale=scale)


@in_one_sentence
def colorize(
    editor: Editor,
    y: Float[Tensor, "count 1 *spatial"],
    *,
    method: Method = RestoreOptions.method,
    scale: float = RestoreOptions.scale,
    weights: tuple[float, float, float] = LUMA,
) -> Pictures:
    """Colour for grey pictures: their luma is y.

    Raises:
        UndiffuseError: the model has no three channels, or the pictures more than one.
    """
    check_color(editor.model.info)
    if y.shape[1] != 1:
        raise UndiffuseError(f"A grey picture has 1 channel; this one has {y.shape[1]}")
    return restore(editor, Gray(weights), y, (3, *y.shape[2:]), method=method, scale=scale)


@in_one_sentence
def deblur(
    editor: Editor,
    y: Pictures,
    std: float = DeblurOptions.std,
    *,
    noise: float | None = DeblurOptions.noise,
    method: Method = RestoreOptions.method,
    scale: float = RestoreOptions.scale,
) -> Pictures:
    """Sharp pictures whose blur by a Gaussian of ``std`` pixels, mirrored at the borders, is y.

    Args:
        noise: of y in model space; a blur's inverse makes it many times larger, so it should not be said to be 0. The
            default is what rounding to 8 bits does.
    """
    noise = ROUNDING if noise is None else noise
    return restore(editor, Blur.gaussian(std), y, y.shape[1:], method=method, noise=noise, scale=scale)


def check_color(info: DataInfo) -> None:
    if info.channels != 3:
        raise UndiffuseError(
            f"Only a model of colour pictures, with 3 channels, can colorize; this one has {info.channels}"
        )
