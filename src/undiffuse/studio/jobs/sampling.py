"""Samples as jobs: the walk of `undiffuse sample`, with its steps told as they are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from undiffuse.config.flags import in_flags
from undiffuse.config.sampling import SampleConfig
from undiffuse.data.scaling import decode
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.model.sample_request import check_numbers, cut_into_blocks, remarks
from undiffuse.model.samples import Samples
from undiffuse.provenance.png import Origin, sheet_chunk
from undiffuse.runtime.installing import install_extra
from undiffuse.studio.jobs.batched_network import Ticket
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.library.gallery import Gallery, recipe_of
from undiffuse.studio.library.models import Loaded
from undiffuse.studio.previews import data_url, look, look_at_noise
from undiffuse.visualization.animation_files import WRITERS
from undiffuse.visualization.frame import film, film_strip
from undiffuse.visualization.reverse import Moment, moments, reverse_frames
from undiffuse.visualization.strip import evenly

COUPLED = ("ode",)
"""Samplers by which a sample depends on its neighbours: their whole micro-batches are evaluated."""


@dataclass(frozen=True)
class Wanted:
    """Samples ``first`` .. ``first + n - 1`` of a seed, and how their making is shown.

    Args:
        settings: of the sampler.
        previews: how many of the pictures are shown on the way.
        every: how many steps lie between two previews.
        eps: show the predicted noise too.
        keep: in the gallery; otherwise pictures come inside their events.
    """

    settings: SampleConfig
    n: int = 1
    seed: int = 0
    first: int = 0
    previews: int = 4
    every: int = 1
    eps: bool = False
    keep: bool = True


def walk(model: Model, ticket: Ticket, settings: SampleConfig, block: range, seed: int) -> Iterator[Moment]:
    """Every moment of the micro-batch that holds the samples ``block``; only their rows are evaluated.

    The members, their noise and every operation outside the network are those of ``model.draw``.
    """
    size = settings.slots
    start = block.start // size * size
    members = range(start, start + size)
    if settings.sampler in COUPLED:
        ticket.want_all()
    else:
        ticket.want([index - start for index in block], size)
    denoiser, sampler, times = model.walk(settings, members, seed)
    yield from moments(denoiser, sampler, times, model.info.shape, members, seed, model.device)


def draw(job: Job, loaded: Loaded, gallery: Gallery, wanted: Wanted) -> None:
    """Draw samples, telling steps and pictures.

    Raises:
        CancelledError: the job was cancelled.
        UndiffuseError: settings that cannot be.
    """
    with loaded.lent(job.ticket) as model:
        settings = model.settle(wanted.settings)
        check_numbers(wanted.n, wanted.seed, wanted.first)
        blocks = cut_into_blocks(range(wanted.first, wanted.first + wanted.n), settings.slots)
        steps = len(model.walk(settings)[2]) - 1
        job.tell("started", of=steps * len(blocks), images=wanted.n)
        job.warning = in_flags(". ".join(remarks(settings, model.enlarges))) or None
        for number, block in enumerate(blocks):
            rows = [index % settings.slots for index in block]
            last = None
            for k, moment in enumerate(walk(model, job.ticket, settings, block, wanted.seed), start=1):
                if k > steps:
                    last = moment
                    break
                shown = rows[: wanted.previews] if k == 1 or k == steps or k % wanted.every == 0 else []
                previews = [_preview(moment, row, block[0] + row - rows[0], model, wanted.eps) for row in shown]
                job.at(number * steps + k, steps * len(blocks), t=moment.t, previews=previews)
            assert last is not None
            samples = _samples(model, last.x[rows], block, wanted.seed, settings)
            for index, image in zip(block, samples.images(), strict=True):
                job.tell("image", **_kept(gallery if wanted.keep else None, image, samples.origin(index), index))


def _samples(model: Model, x: torch.Tensor, block: range, seed: int, settings: SampleConfig) -> Samples:
    array = decode(x, model.info)
    return Samples(array, model.info, seed, tuple(block), settings, model.provenance, model.device.type)


def _preview(moment: Moment, row: int, index: int, model: Model, eps: bool) -> dict[str, Any]:
    shown = {
        "index": index,
        "x_t": look(moment.x[row], model.info),
        "x0": look(moment.x0[row], model.info),
    }
    if eps and moment.eps is not None:
        shown["eps"] = look_at_noise(moment.eps[row], model.info)
    return shown


def _kept(gallery: Gallery | None, image: Image.Image, origin: Origin, index: int) -> dict[str, Any]:
    identity = gallery.keep(image, origin) if gallery else None
    return {
        "index": index,
        "id": identity,
        "url": f"/v1/gallery/{identity}.png" if identity else data_url(image),
        "width": image.width,
        "height": image.height,
        "recipe": recipe_of(origin),
    }


def draw_again(job: Job, loaded: Loaded, gallery: Gallery, identity: str, made_by: Origin) -> None:
    """Make a picture of the gallery again, and say whether it is the same, pixel by pixel."""
    with loaded.lent(job.ticket) as model:
        settings = model.settle(made_by.sample)
        block = range(made_by.index, made_by.index + 1)
        steps = len(model.walk(settings)[2]) - 1
        job.tell("started", of=steps, images=1)
        row = made_by.index % settings.slots
        for k, moment in enumerate(walk(model, job.ticket, settings, block, made_by.seed), start=1):
            if k <= steps:
                job.at(k, steps, t=moment.t, previews=[_preview(moment, row, made_by.index, model, False)])
            last = moment
        samples = _samples(model, last.x[row : row + 1], block, made_by.seed, settings)
    (image,) = samples.images()
    with Image.open(gallery.path(identity), formats=["PNG"]) as old:
        same = old.size == image.size and bool(np.array_equal(np.asarray(old), np.asarray(image)))
    told = _kept(None if same else gallery, image, samples.origin(made_by.index), made_by.index)
    if same:
        told |= {"id": identity, "url": f"/v1/gallery/{identity}.png"}
    job.tell("image", **told, identical=same)


def animate(job: Job, loaded: Loaded, made_by: Origin, suffix: str, frames: int, fps: int) -> bytes:
    """The reverse process of a sample as a moving picture, or as a strip with the suffix '.png'.

    Raises:
        UndiffuseError: as `draw`, or .mp4 without PyAV.
    """
    import io

    check_suffix(suffix)
    with loaded.lent(job.ticket) as model:
        settings = model.settle(made_by.sample)
        row = made_by.index % settings.slots
        points = len(model.walk(settings)[2])
        job.tell("started", of=points - 1, images=0)

        def one() -> Iterator[Moment]:
            block = range(made_by.index, made_by.index + 1)
            for k, moment in enumerate(walk(model, job.ticket, settings, block, made_by.seed)):
                if k:
                    job.at(k, points - 1, t=moment.t, previews=[])
                yield Moment(moment.t, moment.x[row : row + 1], moment.x0[row : row + 1])

        shown = list(reverse_frames(one(), model.schedule, model.info, evenly(points, frames)))
    if suffix != ".png":
        return WRITERS[suffix]([flat.convert("RGB") for flat in film(shown)], fps)
    packed = io.BytesIO()
    film_strip(shown).save(packed, "PNG", pnginfo=sheet_chunk("a film strip"))
    return packed.getvalue()


def check_suffix(suffix: str) -> None:
    """Refuse an animation that cannot be written."""
    if suffix == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UndiffuseError(f"Writing .mp4 needs PyAV: {install_extra('video')}, or choose webp or gif") from None


def walk_in_full(
    job: Job, loaded: Loaded, settings: SampleConfig, seed: int, index: int, count: int, values: bool
) -> dict[str, Any]:
    """One sample's way out of noise: where it stood, and what the model saw from there."""
    with loaded.lent(job.ticket) as model:
        settings = model.settle(settings)
        check_numbers(1, seed, index)
        row, info = index % settings.slots, model.info
        points = len(model.walk(settings)[2])
        wanted = set(evenly(points, count))
        job.tell("started", of=points - 1, images=0)
        found = []
        for k, moment in enumerate(walk(model, job.ticket, settings, range(index, index + 1), seed)):
            job.ticket.check()
            if k not in wanted:
                continue
            q_t = model.schedule(torch.tensor(moment.t, dtype=torch.float64))
            tensors = {"x_t": moment.x[row], "x0": moment.x0[row]}
            shown: dict[str, Any] = {name: look(x, info, None) for name, x in tensors.items()}
            shown["eps"] = None
            if moment.eps is not None:
                tensors["eps"] = moment.eps[row]
                shown["eps"] = look_at_noise(moment.eps[row], info, None)
            numbers = {"alpha": float(q_t.alpha), "sigma": float(q_t.sigma), "log_snr": float(q_t.log_snr)}
            found.append({"k": k, "t": moment.t, **numbers, **shown})
            if values:
                found[-1]["values"] = {name: x.flatten().tolist() for name, x in tensors.items()}
        return {
            "model": loaded.entry.id,
            "shape": list(info.shape),
            "t_max": float(model.schedule.t_max),
            "settings_used": {"sampler": settings.sampler, "steps": settings.steps},
            "moments": found,
        }
