"""A model of ours around the network of a live pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from undiffuse.checkpoints.foreign.diffusers.network import image_size
from undiffuse.checkpoints.foreign.diffusers.scheduler import process
from undiffuse.checkpoints.foreign.settings import Settings
from undiffuse.checkpoints.saved_model import foreign_config, unknown_data
from undiffuse.config.schema import ARCHITECTURES
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.factories.schedule import make_schedule
from undiffuse.model.model import Model
from undiffuse.networks.diffusers_unet import CLASS_NAME, DiffusersUNet, is_diffusers_unet
from undiffuse.runtime.torch_modes import own_modes


@in_one_sentence
@own_modes()
def from_diffusers(pipeline: Any) -> Model:
    """The model that a live pipeline of diffusers is: the same network, the process of its scheduler.

        model = undiffuse.from_diffusers(diffusers.DDPMPipeline.from_pretrained("google/ddpm-cat-256"))
        model.sample(4, steps=50)

    Nothing is copied: what trains, moves or converts the pipeline's U-Net does so to the model's. The scheduler says
    what noise the network was trained on, what it predicts, and whether it learned a variance; samples are drawn by
    settings of ours, with x0 clipped to [-1, 1] unless ``threshold="none"`` is among them. The classes of a network
    with ``num_class_embeds`` are '0', '1', ... A file that the model is saved to has its weights, and takes the U-Net
    to be loaded: ``undiffuse.load(path, network=pipeline.unet)``.

    Args:
        pipeline: with a ``unet``, a UNet2DModel of any blocks, and a ``scheduler`` over a chain of betas: a
            DDPMPipeline, a DDIMPipeline, ``DDPMPipeline(unet=unet, scheduler=scheduler)``.

    Raises:
        UndiffuseError: a pipeline of further parts, such as those whose picture a VAE makes or a text encoder tells, or
            a network or a scheduler of another kind.
    """
    name, unet, scheduler = type(pipeline).__name__, *(getattr(pipeline, part, None) for part in ("unet", "scheduler"))
    if not is_diffusers_unet(unet) or scheduler is None:
        other = "no unet" if unet is None else f"a {type(unet).__name__} as its unet"
        raise UndiffuseError(
            f"undiffuse.from_diffusers takes a pipeline with a unet, a {CLASS_NAME}, and a scheduler, such as a "
            f"DDPMPipeline; this {name} has {'no scheduler' if is_diffusers_unet(unet) else other}"
        )
    for part, value in getattr(pipeline, "components", {}).items():
        if part not in ("unet", "scheduler") and value is not None:
            raise UndiffuseError(
                f"This {name} has a '{part}': undiffuse.from_diffusers takes pipelines of a {CLASS_NAME} and a "
                "scheduler alone, whose samples are the picture itself"
            )
    described = Settings(dict(pipeline.unet.config), Path(f"the unet of this {name}"))
    channels = described.whole("in_channels", 3, 1, 1 << 16)
    outputs = described.whole("out_channels", 3, 1, 1 << 16)
    if outputs not in (channels, 2 * channels):
        raise described.wrong("out_channels", f"{channels}, or {2 * channels} with a learned variance,")
    if "class_embed_type" in described:
        raise described.wrong("class_embed_type", "null, which is a table of classes,")
    classes = described.whole("num_class_embeds", 0, 0, 1 << 20)
    how = Settings({**scheduler.config, "_class_name": type(scheduler).__name__}, Path(f"the scheduler of this {name}"))
    ARCHITECTURES.add_given(CLASS_NAME)
    network = ARCHITECTURES.class_of(CLASS_NAME)()
    config = foreign_config("diffusers", name, network, process(how, outputs == 2 * channels), classes)
    info = unknown_data(name, (channels, *image_size(described)), range(classes))
    return Model(DiffusersUNet(unet), make_schedule(config.diffusion), config, info)
