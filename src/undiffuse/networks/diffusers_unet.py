"""A U-Net of diffusers, the very object, called as our samplers and trainings call networks."""

from __future__ import annotations

from typing import TypeGuard

from jaxtyping import Float
from torch import Tensor, nn

CLASS_NAME = "UNet2DModel"


def is_diffusers_unet(network: object) -> TypeGuard[nn.Module]:
    """True for diffusers' UNet2DModel and subclasses, inside torch.compile or not; diffusers is not imported for it."""
    inside = getattr(network, "_orig_mod", network)
    return any(cls.__name__ == CLASS_NAME for cls in type(inside).__mro__)


class DiffusersUNet(nn.Module):
    """``unet(x, time, class_labels=label).sample``, in the U-Net's own number format.

    Args:
        unet: a UNet2DModel. It is shared, not copied.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        time: Float[Tensor, "batch"],
        label: Tensor | None = None,
    ) -> Float[Tensor, "batch outputs height width"]:
        dtype = next(self.unet.parameters()).dtype
        output: Tensor = self.unet(x.to(dtype), time, class_labels=label).sample
        return output
