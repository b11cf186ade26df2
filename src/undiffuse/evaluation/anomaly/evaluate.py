"""The features that anomaly scores are made of, and pictures of where an image is strange.

normal, judged = choose(heldout, model.info), choose(dataset, model.info)
standard = Standard(features(model, normal))
strangest = standard.scores(features(model, judged))[DEFAULT_SCORE].argsort()[::-1]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from undiffuse.data.masks import check_unmasked
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.evaluation.anomaly.scores import TINY, Array, Features, ReconstructionSettings, error_maps, log_errors
from undiffuse.evaluation.images import Images
from undiffuse.evaluation.likelihood.evaluate import bound, ode
from undiffuse.evaluation.options import DEFAULT, MeasureOptions
from undiffuse.modalities.images import IMAGES
from undiffuse.modalities.registry import modality_of
from undiffuse.model import Model
from undiffuse.model.cascade import check_denoiser
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.torch_modes import evaluation_mode, own_modes
from undiffuse.visualization.grid import default_scale, enlarge, grid, to_image, viewable

DEFAULT_SCORE = "ensemble"
"""What measured best; the table is in docs/measure/anomaly.md."""


@in_one_sentence
@own_modes()
def features(
    model: Model,
    images: Images,
    look: ReconstructionSettings | None = None,
    *,
    timesteps: int = 25,
    with_ode: bool = False,
    batch: int | None = None,
    progress: bool = False,
) -> Features:
    """All that scores are made of.

    Args:
        look: levels, draws and steps of the reconstructions.
        timesteps: of the bound, an image; 0 leaves it out, and so does a continuous process, which has none.
        with_ode: also the ODE's likelihood, which costs some four hundred evaluations an image.
        batch: images per evaluation of the network, as for `likelihood.bound`.
    """
    look = look or ReconstructionSettings()
    how = MeasureOptions(seed=look.seed, batch=batch, progress=progress)
    log_error = rebuild(model, images, look, how)
    bounds = None
    if timesteps and isinstance(model.schedule, DiscreteSchedule):
        bounds = bound(model, images, count=min(timesteps, model.schedule.T), how=how).total.numpy()
    return Features(log_error, bounds, ode(model, images, how=how).total.numpy() if with_ode else None)


@in_one_sentence
def rebuild(model: Model, images: Images, look: ReconstructionSettings, how: MeasureOptions = DEFAULT) -> Array:
    """The log errors of all images; their maps would fill the memory, so `heat` makes those of a few again."""
    check_denoiser(model, "an anomaly score")
    check_unmasked(images.dataset, "An anomaly score")
    rounds = math.ceil(len(images) / how.size(model)) * len(look.levels) * look.draws
    with how.asking(model, "reconstructions", rounds) as bar:
        parts = [
            log_errors(error_maps(how.denoiser(model), batch, look, bar.update))
            for batch in images.batches(how.size(model), model.device, fill=how.batch is None)
        ]
    return np.concatenate(parts)[: len(images)]


@in_one_sentence
def heat(
    model: Model, images: Images, look: ReconstructionSettings, standard: Array
) -> Float[Tensor, "images *spatial"]:
    """Maps of where images are strange: errors at the middle levels, in units of the normal mean error at each level.

    ``standard`` are the log errors of normal images, (normals, levels).
    """
    usual = torch.from_numpy(np.exp(standard).mean(0)[len(look.fine) :])
    with evaluation_mode(model.network):
        parts = [
            error_maps(model.clipped, batch, look).cpu()
            for batch in images.batches(model.micro_batch, model.device, fill=True)
        ]
    middle = torch.cat(parts)[: len(images), len(look.fine) :].double()
    return (middle / usual.reshape(-1, *[1] * (middle.ndim - 2))).mean(1)


def heat_picture(
    model: Model, shown: Sequence[Images], look: ReconstructionSettings, standard: Array, columns: int = 4
) -> Image.Image:
    """Each image beside itself with its heat laid over it, dark where it is as expected, through red to yellow.

    One scale for all of them, up to the 99.5th percentile; a mean over 3 x 3 pixels first, since the error of a single
    one is noise.

    Args:
        shown: images, perhaps of several data sets, in the order of the picture.
        columns: pairs in a row.
    """
    maps = torch.cat([heat(model, images, look, standard) for images in shown])
    smooth = torch.nn.functional.avg_pool2d(maps[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    strength = (smooth / torch.quantile(smooth.flatten(), 0.995).clamp(min=TINY)).clamp(0, 1).numpy()
    arrays = [(images.dataset.images[index], images.info) for images in shown for index in images.indices]
    tiles: list[Image.Image] = []
    for (array, info), heat_map in zip(arrays, strength, strict=True):
        plain = viewable(to_image(np.asarray(array), info)).convert("RGB")
        tiles += [_enlarged(plain), _enlarged(overlay(plain, heat_map))]
    return grid(tiles, columns=2 * columns, scale=1)


def _enlarged(image: Image.Image) -> Image.Image:
    return enlarge(image, 2 * default_scale(*image.size))


def overlay(image: Image.Image, strength: np.ndarray) -> Image.Image:
    """A grey, dimmed picture under a heat of [0, 1]: black-body colours, as opaque as they are hot."""
    gray = np.asarray(image.convert("L"), np.float64)[..., None] * 0.6
    ramp = np.stack([3 * strength, 3 * strength - 1, 3 * strength - 2], axis=-1).clip(0, 1) * 255
    opacity = np.sqrt(strength)[..., None] * 0.85
    return Image.fromarray(np.rint(gray * (1 - opacity) + ramp * opacity).astype(np.uint8))


def check_pictures(images: Images) -> None:
    """Refuse signals and volumes, whose heat maps nobody can look at."""
    if modality_of(images.info) is not IMAGES:
        raise UndiffuseError(
            f"Heat maps are drawn over pictures, and '{images.dataset.info.name}' has the shape {images.info.shape}; "
            "use `pictures=0`"
        )


def split(count: int, seed: int = 0) -> tuple[Sequence[int], Sequence[int]]:
    """Two halves of 0..count-1 at random: one to standardise on, one to judge."""
    order = np.random.default_rng(stream_seed(seed, "split")).permutation(count).tolist()
    return sorted(order[: count // 2]), sorted(order[count // 2 :])
