"""Samples as jobs: the plan of `undiffuse sample`, its steps told as they are taken."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from undiffuse.config.flags import in_flags
from undiffuse.diffusion.trajectory import SamplingStep
from undiffuse.errors import UndiffuseError
from undiffuse.model.plan import SamplePlan, check_numbers
from undiffuse.model.sample_request import beside_times, remarks
from undiffuse.model.samples import Samples
from undiffuse.provenance.edit_record import Edited
from undiffuse.provenance.png import Origin, sheet_chunk
from undiffuse.runtime.installing import install_extra
from undiffuse.studio.jobs.batched_network import RequestHandle
from undiffuse.studio.jobs.queue import Job
from undiffuse.studio.library.gallery import Gallery, recipe_of
from undiffuse.studio.library.models import Loaded
from undiffuse.studio.previews import data_url, look, look_at_noise
from undiffuse.visualization.animation_files import WRITERS
from undiffuse.visualization.frame import film, film_strip
from undiffuse.visualization.reverse import reverse_frames
from undiffuse.visualization.strip import evenly


@dataclass(frozen=True)
class SampleJob:
    """Samples ``first`` .. ``first + n - 1`` of a seed, and how their making is shown.

    Args:
        previews: how many of the pictures are shown on the way.
        every: how many steps lie between two previews.
        eps: show the predicted noise too.
        keep: in the gallery; otherwise pictures come inside their events.
    """

    plan: SamplePlan
    n: int = 1
    seed: int = 0
    first: int = 0
    previews: int = 4
    every: int = 1
    eps: bool = False
    keep: bool = True


def warning_of(plan: SamplePlan, *more: str | None) -> str | None:
    """The remarks on the settings of a job, and more."""
    said = [*remarks(plan.settings, plan.model.config.conditions.upscale > 1), *filter(None, more)]
    return in_flags(". ".join(said)) or None


def steps_of(plan: SamplePlan, handle: RequestHandle, block: range, seed: int) -> Iterator[SamplingStep]:
    """Every step of samples that lie in one micro-batch; only their rows are evaluated."""
    handle.want([index % plan.micro_batch for index in block], plan.micro_batch)
    yield from plan.iterate(block, seed)


def drawn(
    job: Job, plan: SamplePlan, block: range, seed: int, previews: Callable[[int, SamplingStep], Any], before: int = 0
) -> Samples:
    """The samples of one micro-batch, their steps told; ``before`` steps of the job were taken for others."""
    for k, step in enumerate(steps_of(plan, job.handle, block, seed), start=1):
        if k <= plan.steps:
            job.at(before + k, job.step["of"], t=step.t, previews=previews(k, step))
    return plan.samples(step, block, seed)


def draw(job: Job, loaded: Loaded, gallery: Gallery, wanted: SampleJob) -> None:
    """Draw samples, telling steps and pictures."""
    with loaded.session(job.handle) as network:
        plan = wanted.plan.with_network(network)
        blocks = plan.blocks(range(wanted.first, wanted.first + wanted.n))
        job.begin(plan.steps * len(blocks), wanted.n)
        job.warning = warning_of(plan, *beside_times(job.request.get("settings", {})))
        for number, block in enumerate(blocks):

            def previews(k: int, step: SamplingStep, block: range = block) -> list[dict[str, Any]]:
                due = k == 1 or k == plan.steps or k % wanted.every == 0
                return _previews(step, block[: wanted.previews], plan, wanted.eps) if due else []

            samples = drawn(job, plan, block, wanted.seed, previews, number * plan.steps)
            for index, image in zip(block, samples.images(), strict=True):
                job.tell("image", **kept(gallery if wanted.keep else None, image, samples.origin(index), index))


def _previews(step: SamplingStep, indices: range, plan: SamplePlan, eps: bool) -> list[dict[str, Any]]:
    info, found = plan.model.info, list[dict[str, Any]]()
    for row, index in enumerate(indices):
        found.append({"index": index, "x_t": look(step.x[row], info), "x0": look(step.x0[row], info)})
        if eps and step.eps is not None:
            found[-1]["eps"] = look_at_noise(step.eps[row], info)
    return found


def kept(
    gallery: Gallery | None,
    image: Image.Image,
    origin: Origin | Edited,
    index: int,
    request: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A picture as an event tells it, in the gallery where there is one."""
    identity = gallery.keep(image, origin, request) if gallery else None
    return {
        "index": index,
        "id": identity,
        "url": f"/v1/gallery/{identity}.png" if identity else data_url(image),
        "width": image.width,
        "height": image.height,
        "recipe": recipe_of(origin, request),
    }


def draw_again(job: Job, loaded: Loaded, gallery: Gallery, identity: str, made_by: Origin) -> None:
    """Make a picture of the gallery again, and say whether it is the same, pixel by pixel."""
    with loaded.session(job.handle) as network:
        plan = loaded.model.plan(made_by.sample).with_network(network)
        block = range(made_by.index, made_by.index + 1)
        job.begin(plan.steps, 1)
        samples = drawn(job, plan, block, made_by.seed, lambda k, step: _previews(step, block, plan, False))
    (image,) = samples.images()
    with Image.open(gallery.path(identity), formats=["PNG"]) as old:
        same = old.size == image.size and bool(np.array_equal(np.asarray(old), np.asarray(image)))
    told = kept(None if same else gallery, image, samples.origin(made_by.index), made_by.index)
    if same:
        told |= {"id": identity, "url": f"/v1/gallery/{identity}.png"}
    job.tell("image", **told, identical=same)


def animate(job: Job, loaded: Loaded, made_by: Origin, suffix: str, frames: int, fps: int) -> bytes:
    """The reverse process of a sample as a moving picture, or as a strip with the suffix '.png'."""
    check_suffix(suffix)
    with loaded.session(job.handle) as network:
        plan = loaded.model.plan(made_by.sample).with_network(network)
        job.begin(plan.steps)

        def one() -> Iterator[SamplingStep]:
            block = range(made_by.index, made_by.index + 1)
            for k, step in enumerate(steps_of(plan, job.handle, block, made_by.seed)):
                if k:
                    job.at(k, plan.steps, t=step.t, previews=[])
                yield step

        shown = list(reverse_frames(one(), plan.model.schedule, plan.model.info, evenly(plan.steps + 1, frames)))
    if suffix != ".png":
        return WRITERS[suffix]([flat.convert("RGB") for flat in film(shown)], fps)
    packed = io.BytesIO()
    film_strip(shown).save(packed, "PNG", pnginfo=sheet_chunk("a film strip"))
    return packed.getvalue()


def check_suffix(suffix: str) -> None:
    if suffix == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UndiffuseError(f"Writing .mp4 needs PyAV: {install_extra('video')}, or choose webp or gif") from None


def walk_in_full(
    job: Job, loaded: Loaded, plan: SamplePlan, seed: int, index: int, count: int, values: bool
) -> dict[str, Any]:
    """One sample's way out of noise: where it stood, and what the model saw from there."""
    with loaded.session(job.handle) as network:
        plan = plan.with_network(network)
        check_numbers(1, seed, index)
        schedule, info = plan.model.schedule, plan.model.info
        wanted = set(evenly(plan.steps + 1, count))
        job.begin(plan.steps)
        found = []
        for k, step in enumerate(steps_of(plan, job.handle, range(index, index + 1), seed)):
            job.handle.check()
            if k not in wanted:
                continue
            q_t = schedule(torch.tensor(step.t, dtype=torch.float64))
            tensors = {"x_t": step.x[0], "x0": step.x0[0]}
            shown: dict[str, Any] = {name: look(x, info, None) for name, x in tensors.items()}
            shown["eps"] = None
            if step.eps is not None:
                tensors["eps"] = step.eps[0]
                shown["eps"] = look_at_noise(step.eps[0], info, None)
            numbers = {"alpha": float(q_t.alpha), "sigma": float(q_t.sigma), "log_snr": float(q_t.log_snr)}
            found.append({"k": k, "t": step.t, **numbers, **shown})
            if values:
                found[-1]["values"] = {name: x.flatten().tolist() for name, x in tensors.items()}
        return {
            "model": loaded.entry.id,
            "shape": list(info.shape),
            "t_max": float(schedule.t_max),
            "settings_used": {"sampler": plan.settings.solver.sampler, "steps": plan.settings.solver.steps},
            "moments": found,
        }
